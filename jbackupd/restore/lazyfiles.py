"""All files of an overlay that are not complete, and the journal of what they have.

    FOLDER/tree/...          the files of the point, as far as they are there; at the end whole and independent
    FOLDER/lazy/NNN.SIZE     second names of the files that lack something: number in the point, size in the point
    FOLDER/journal           what is at hand of them

A file loses its second name when it is complete and that is durable. So the tree is whole when `lazy` is empty, and
whoever finds it so needs neither the point nor its keys.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from jbackupd.model.errors import BusyError, DamageError, JbackupdError, NotFoundError, RefusedError
from jbackupd.restore.lazy import BLOCK_BYTES, Blocks, Contents, LazyFile, Run
from jbackupd.storage.beneath import sync_file_system
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.journal import Journal

TREE, LAZY, JOURNAL = "tree", "lazy", "journal"
WAIT_SECONDS = 5.0
"""A mount whose daemon was killed ends by itself, as fast as it can make durable what it has."""
RUNS_MAX = 20_000
"""In one record of the journal: at most 400 kB."""


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
class _Known:
    """What the journal says of a file."""

    limit: int | None = None
    valid: list[Run] = field(default_factory=list)

    @property
    def missing_bytes(self) -> int:
        """As `LazyFile.missing_bytes`."""
        blocks = set().union(*(range(*run) for run in self.valid))
        return (-(-(self.limit or 0) // BLOCK_BYTES) - len(blocks)) * BLOCK_BYTES


@dataclass(slots=True)
class _Second:
    """A second name."""

    number: int
    size: int
    inode: int

    @property
    def name(self) -> str:
        return f"{self.number}.{self.size}"


class LazyFiles:
    """The incomplete files of one overlay folder; safe for several threads. Close it after use.

    Args:
        folder: Whose tree stands: see `begin`.
        contents: Where what is missing comes from.

    Raises:
        BusyError: Another process uses it.
        DamageError: The journal is damaged.
        NotFoundError: No tree stands there.
    """

    def __init__(self, folder: str, contents: Contents) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._noting = threading.Lock()
        self._open: dict[int, LazyFile] = {}
        self._folder = _only_ours(os.path.join(folder, LAZY))
        try:
            self._journal = Journal.open(PosixFiles(folder), JOURNAL)
        except JbackupdError:
            os.close(self._folder)
            raise
        self._known: defaultdict[int, _Known] = defaultdict(_Known)
        try:
            self.label = self._fold()
            """Which point it is."""
        except JbackupdError:
            self._journal.close()
            os.close(self._folder)
            raise
        self._seconds: dict[int, _Second] = {}
        self._numbers: dict[int, int] = {}
        for name in os.listdir(self._folder):
            self._find(name)

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
                        self._known[number].valid += runs
                case _Limit(number, length):
                    known = self._known[number]
                    known.limit = length
                    known.valid = _cut(known.valid, -(-length // BLOCK_BYTES))
        if not label:
            raise NotFoundError("the overlay was not finished")
        return label

    def _find(self, name: str) -> None:
        """Look at a second name of an earlier process."""
        status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        number, size = map(int, name.split("."))
        second = _Second(number, size, status.st_ino)
        known = self._known[second.number]
        # It may have been cut off and killed before that was noted.
        known.limit = min(second.size if known.limit is None else known.limit, status.st_size)
        if status.st_nlink == 1 or not known.missing_bytes:
            os.unlink(name, dir_fd=self._folder)
        else:
            self._seconds[second.number] = second
            self._numbers[second.inode] = second.number

    @property
    def is_complete(self) -> bool:
        """Whether no file lacks anything; perhaps not yet durable."""
        return not self.numbers()

    def numbers(self) -> list[int]:
        """Return the files that lack something, in the order of the point."""
        with self._lock:
            return sorted(n for n in self._seconds if n not in self._open or not self._open[n].is_complete)

    def missing_bytes(self) -> int:
        """Return how much is missing in all, in whole blocks."""
        with self._lock:
            return sum(
                self._open[n].missing_bytes if n in self._open else self._known[n].missing_bytes for n in self._seconds
            )

    def number_of(self, inode: int) -> int | None:
        """Return which file of the point has an inode number and perhaps lacks something; None for any other."""
        return self._numbers.get(inode)

    def acquire(self, number: int) -> LazyFile | None:
        """Return a file that perhaps lacks something; it stays open until `release`. None if it lacks nothing."""
        with self._lock:
            second = self._seconds.get(number)
            if second is None:
                return None
            file = self._opened(second)
            file.handles += 1
            return file

    def release(self, file: LazyFile) -> None:
        """Let a file go; one that is complete, or has no name in the tree any more, is done with."""
        with self._lock:
            file.handles -= 1
            if not file.handles:
                with contextlib.suppress(OSError):
                    # What could not be made durable keeps its second name.
                    self._settle(file)

    def sync_together(self, files: Sequence[LazyFile]) -> None:
        """Make files durable with one sync of their file system: thousands of small ones take no longer than one.

        Raises:
            OSError: It failed.
        """
        with contextlib.ExitStack() as held:
            blocks = [(file.number, held.enter_context(file.syncing())) for file in files]
            sync_file_system(self._folder)
            self._note_valid([each for each in blocks if each[1]])

    def forsake(self, number: int) -> None:
        """Note that a file may have lost its last name in the tree, durably."""
        with self._lock:
            second = self._seconds.get(number)
            if second is not None and not (file := self._opened(second)).handles:
                self._settle(file)

    def close(self) -> None:
        """Make everything durable, and close; the next who opens it goes on from here.

        Raises:
            OSError: Something could not be made durable.
        """
        failed: OSError | None = None
        with self._lock:
            for file in list(self._open.values()):
                try:
                    file.sync()
                    self._settle(file)
                except OSError as error:
                    failed = failed or error
            self.abandon()
        if failed is not None:
            raise failed

    def abandon(self) -> None:
        """Close without making anything durable: as if the process was killed."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        os.close(self._folder)
        self._journal.close()

    def _opened(self, second: _Second) -> LazyFile:
        file = self._open.get(second.number)
        if file is None:
            known = self._known[second.number]
            assert known.limit is not None
            file = self._open[second.number] = LazyFile(
                second.number, self._open_anyway(second.name), known.limit, known.valid, self._contents,
                note_valid=self._note_valid, note_limit=self._note_limit,
            )
        return file

    def _open_anyway(self, name: str) -> int:
        """Open a file of ours, also one whose owner may not write it."""
        try:
            return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except PermissionError:
            mode = os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode & 0o7777
            os.chmod(name, mode | 0o600, dir_fd=self._folder)
            try:
                return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
            finally:
                os.chmod(name, mode, dir_fd=self._folder)

    def _settle(self, file: LazyFile) -> None:
        """Take the second name of a file that needs it no more; the lock is held."""
        status = os.fstat(file.descriptor)
        forsaken = status.st_nlink == 1
        if not (file.is_complete or forsaken):
            return
        if not forsaken:
            file.sync()
        second = self._seconds.pop(file.number)
        os.unlink(second.name, dir_fd=self._folder)
        del self._numbers[second.inode], self._open[file.number]
        self._known.pop(file.number, None)
        file.close()

    def _note_valid(self, files: list[Blocks]) -> None:
        for piece in _pieces(files):
            self._note(_Valid(piece))

    def _note_limit(self, number: int, length: int) -> None:
        self._note(_Limit(number, length))

    def _note(self, record: _Valid | _Limit) -> None:
        with self._noting:
            try:
                self._journal.append(_encode(record))
            except JbackupdError as error:
                raise OSError(errno.EIO, str(error)) from error


def _only_ours(folder: str) -> int:
    """Open a folder that one process at a time uses; one that is ending is waited for.

    Raises:
        BusyError: It is in use.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(descriptor)
                raise BusyError(
                    "the overlay in {folder} is in use", "unmount it where it is mounted", folder=folder
                ) from error
            time.sleep(0.05)
        else:
            return descriptor


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
