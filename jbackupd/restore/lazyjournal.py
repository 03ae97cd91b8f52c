"""The journal of an overlay: which blocks of which files are at hand, durably.

Records, msgpack arrays that begin with their name:

    begun  label, bytes of a block          the tree stands, every name in it is durable; the first record
    valid  [[file, [[first, end], ...]]]    these blocks of these files are durable
    limit  file, length                     nothing of the file beyond this is the point's
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from jbackupd.model.errors import DamageError, JbackupdError, NotFoundError, RefusedError
from jbackupd.restore.lazy import BLOCK_BYTES, Blocks, Run
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.journal import Journal

JOURNAL = "journal"
RUNS_MAX = 20_000
"""In one record: at most 400 kB."""


class _Begun(msgspec.Struct, tag="begun", array_like=True, frozen=True):
    """The tree stands, all names are durable."""

    label: str
    block_bytes: int


class _Valid(msgspec.Struct, tag="valid", array_like=True, frozen=True):
    """These blocks are durable."""

    files: list[Blocks]


class _Limit(msgspec.Struct, tag="limit", array_like=True, frozen=True):
    """The file was cut off here."""

    number: int
    length: int


_decoder: msgspec.msgpack.Decoder[_Begun | _Valid | _Limit] = msgspec.msgpack.Decoder(_Begun | _Valid | _Limit)
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Known:
    """What the journal says of a file."""

    limit: int | None = None
    valid: list[Run] = field(default_factory=list)

    @property
    def missing_bytes(self) -> int:
        """As `LazyFile.missing_bytes`."""
        blocks = set().union(*(range(*run) for run in self.valid))
        return (-(-(self.limit or 0) // BLOCK_BYTES) - len(blocks)) * BLOCK_BYTES


class LazyJournal:
    """The journal of one overlay folder; safe for several threads. Close it after use.

    Raises:
        DamageError: It is damaged.
        NotFoundError: No tree stands there.
    """

    def __init__(self, folder: str) -> None:
        self._lock = threading.Lock()
        self._journal = Journal.open(PosixFiles(folder), JOURNAL)
        self.known: defaultdict[int, Known] = defaultdict(Known)
        """What it said of each file when it was opened."""
        try:
            self.label = self._fold()
            """Which point it is."""
        except JbackupdError:
            self._journal.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._journal.close()

    def note_valid(self, files: list[Blocks]) -> None:
        """Note blocks that are durable; the note is durable when this returns.

        Raises:
            OSError: EIO: it could not be noted.
        """
        for piece in _pieces(files):
            self._note(_Valid(piece))

    def note_limit(self, number: int, length: int) -> None:
        """Note that a file was cut off, as `note_valid`."""
        self._note(_Limit(number, length))

    def _note(self, record: _Valid | _Limit) -> None:
        with self._lock:
            try:
                self._journal.append(_encode(record))
            except JbackupdError as error:
                raise OSError(errno.EIO, str(error)) from error

    def _fold(self) -> str:
        label = ""
        for record in self._journal.records:
            match _decode_record(record):
                case _Begun(found, block_bytes):
                    if block_bytes != BLOCK_BYTES:
                        raise RefusedError("the overlay was made by another version", "mount into a new folder")
                    label = found
                case _Valid(files):
                    for number, runs in files:
                        self.known[number].valid += runs
                case _Limit(number, length):
                    known = self.known[number]
                    known.limit = length
                    known.valid = _cut(known.valid, -(-length // BLOCK_BYTES))
        if not label:
            raise NotFoundError("the overlay was not finished")
        return label


def begin(folder: str, label: str) -> None:
    """Note that the tree of a folder stands; every name in it is durable.

    Args:
        label: Which point it is.
    """
    journal = Journal.open(PosixFiles(folder), JOURNAL)
    with contextlib.closing(journal):
        journal.append(_encode(_Begun(label, BLOCK_BYTES)))


def _pieces(files: list[Blocks]) -> Iterator[list[Blocks]]:
    """Cut a note into pieces that a record of the journal holds."""
    piece, room = list[Blocks](), RUNS_MAX
    for number, runs in files:
        for begin in range(0, len(runs), RUNS_MAX):
            part = runs[begin : begin + RUNS_MAX]
            if len(part) > room:
                yield piece
                piece, room = [], RUNS_MAX
            piece.append((number, part))
            room -= len(part)
    if piece:
        yield piece


def _decode_record(record: bytes) -> _Begun | _Valid | _Limit:
    try:
        return _decoder.decode(record)
    except msgspec.DecodeError as error:
        raise DamageError("a record of an overlay's journal is malformed", "mount into a new folder") from error


def _cut(runs: Iterable[Run], blocks: int) -> list[Run]:
    return [(first, min(last, blocks)) for first, last in runs if first < blocks]
