"""The audit log: append-only lines, each bound to the one before it by its digest. See docs/format/audit.md.

    DIGEST SP JSON LF           DIGEST = hex SHA-256("jbackupd audit 1" LF PREVIOUS LF JSON)

A change, a removal or an exchange of lines breaks the chain at the first line concerned. Cutting lines
off at the end does not: deposit the head (sequence and digest) elsewhere from time to time.

SHA-256 and plain lines, so that an auditor can check it with tools of his own.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jbackupd.model.clock import Clock
from jbackupd.model.errors import BusyError, DamageError, JbackupdError
from jbackupd.model.texts import to_translate
from jbackupd.storage.files import Files, Handle

GENESIS = "0" * 64
LINE_BYTES_MAX = 64 * 1024
"""An entry has a few hundred bytes; a longer line is damage, and memory stays bounded."""
_BLOCK_BYTES = 4096
"""After a power cut a block of a file is there or is zeros. Entries of one sync begin in one block, so that no whole
line can stand behind zeros: that would be damage, not a torn end."""
_DOMAIN = b"jbackupd audit 1\n"
_READ_BYTES = 1 << 20
_LINE = re.compile(rb"([0-9a-f]{64}) (\{.*\})\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Attributes:
        sequence: 1 for the first.
        at: When it was written, RFC 3339 in UTC, as it stands in the line.
        fields: What it says; plain JSON values.
        digest: 64 hex digits.
    """

    sequence: int
    at: str
    fields: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a log is not what was written."""

    line: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a check of a whole log found.

    Attributes:
        entries: Whole and unbroken entries from the start on.
        size: Their bytes.
        head: Digest of the last of them; GENESIS if there is none.
        broken: The first broken line, if any.
        torn_bytes: Bytes after the last whole line: an entry that was being written when the power went.
    """

    entries: int
    size: int
    head: str
    broken: Break | None = None
    torn_bytes: int = 0


@dataclass(slots=True)
class _Waiting:
    """An entry that somebody waits for, and what became of it."""

    fields: Mapping[str, Any]
    entry: Entry | None = None
    error: BaseException | None = None


class AuditChain:
    """The one writer of an audit log; may be used from several threads.

    Entries that come while others are being synced are written together and share one sync, as far as they begin in one
    block of the file: twenty clerks who search at once wait for two or three syncs, not for twenty.

    Args:
        files: Where; the folder of the path must exist.
        path: The log; created with the first entry.
        clock: For the entries' times.

    Raises:
        DamageError: The log is broken in the middle; it is never repaired unasked.
    """

    def __init__(self, files: Files, path: str, clock: Clock) -> None:
        self._files = files
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._handle: Handle | None = None
        self._known: ChainReport | None = None
        # The lines whose writing failed; whatever stands of them in the file was never reported as durable.
        self._unsure = b""
        with self._lock:
            self._open()

    @property
    def head(self) -> ChainReport:
        """The state after the last durable entry."""
        assert self._known is not None
        return self._known

    def append(self, fields: Mapping[str, Any]) -> Entry:
        """Add an entry; it is durable when this returns.

        After a failure the log is cut back to its last durable entry and opened anew by the next call; all entries
        that were written together have failed.

        Raises:
            NoSpaceError, StorageError: It could not be written; what it speaks of must not happen.
            BusyError: Somebody else writes this log.
        """
        mine = _Waiting(fields)
        self._waiting.append(mine)
        with self._lock:
            # Whoever had the lock before may have written this entry as well.
            while mine.entry is None and mine.error is None:
                self._write()
        if mine.entry is None:
            assert mine.error is not None
            raise mine.error
        return mine.entry

    def _write(self) -> None:
        """Make waiting entries durable, all of these or none, and tell each what became of it."""
        together: list[_Waiting] = []
        try:
            entries = self._append(together)
        except BaseException as error:
            for waiting in together or [self._waiting.popleft()]:
                waiting.error = error
            return
        for waiting, entry in zip(together, entries, strict=True):
            waiting.entry = entry

    def _append(self, together: list[_Waiting]) -> list[Entry]:
        """Write and sync waiting entries; `together` gets those that were taken."""
        handle = self._handle or self._open()
        before = known = self.head
        entries, lines = [], b""
        while self._waiting and known.size // _BLOCK_BYTES == before.size // _BLOCK_BYTES:
            together.append(self._waiting.popleft())
            entry, line = _entry_line(known, self._clock, together[-1].fields)
            known = ChainReport(entry.sequence, known.size + len(line), entry.digest)
            entries.append(entry)
            lines += line
        try:
            self._expect_size(before.size)
            self._unsure = lines
            handle.write(lines)
            handle.sync()
            if before.entries == 0:
                self._sync_folder()
        except JbackupdError:
            self._close()
            # At once, for the next call may be another process's, which would take it for durable.
            with contextlib.suppress(JbackupdError):
                self._withdraw(before.size)
            raise
        self._unsure = b""
        self._known = known
        return entries

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in order, those that are durable now; blocks.

        Raises:
            DamageError: A line is broken; everything before it has been yielded.
        """
        durable = self.head.entries
        return itertools.islice(read_chain(self._files, self._path), durable) if durable else iter(())

    def close(self) -> None:
        """Let go of the file; the next entry opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(JbackupdError):
                handle.close()

    def _open(self) -> Handle:
        if self._known is not None:
            self._withdraw(self._known.size)
        report = verify_chain(self._files, self._path)
        if report.broken is not None:
            raise DamageError(
                "the audit log {path} is broken in line {line}: {reason}",
                "keep the file as evidence, move it away and start the desk again; a new log begins",
                path=self._path, line=report.broken.line, reason=report.broken.reason,
            )
        if report.torn_bytes:
            self._files.truncate(self._path, report.size)
        self._known = ChainReport(report.entries, report.size, report.head)
        self._handle = self._files.append(self._path)
        if report.entries:
            # A process that was killed may have left an entry, or the log's name, unsynced.
            try:
                self._handle.sync()
                self._sync_folder()
            except JbackupdError:
                self._close()
                raise
        return self._handle

    def _sync_folder(self) -> None:
        self._files.sync_folder(self._path.rpartition("/")[0])

    def _withdraw(self, size: int) -> None:
        """Cut off what a failed write left behind: after a failed sync it must not be taken for durable."""
        if not self._files.exists(self._path) and not size:
            return
        tail = self._files.read_at(self._path, size, len(self._unsure) + 1)
        if tail and self._unsure.startswith(tail):
            self._files.truncate(self._path, size)
        self._expect_size(size)
        self._unsure = b""

    def _expect_size(self, size: int) -> None:
        if self._files.size(self._path) != size:
            raise BusyError(
                "unable to write the audit log {path}: somebody else changed it",
                "make sure that one desk only uses this folder, then check it with jbackupd audit verify",
                path=self._path,
            )


def verify_chain(files: Files, path: str) -> ChainReport:
    """Check a whole log in bounded memory; a missing file is an empty log.

    Raises:
        StorageError: It cannot be read.
    """
    if not files.exists(path):
        return ChainReport(0, 0, GENESIS)
    reader = _Reader(files, path)
    for _entry in reader:
        pass
    return reader.report()


def read_chain(files: Files, path: str) -> Iterator[Entry]:
    """Yield the entries of a log in order, up to its end.

    Raises:
        NotFoundError: There is no such log.
        DamageError: A line is broken; everything before it has been yielded.
    """
    reader = _Reader(files, path)
    yield from reader
    broken = reader.report().broken
    if broken is not None:
        raise DamageError(
            "the audit log {path} is broken in line {line}: {reason}", "keep the file as evidence",
            path=path, line=broken.line, reason=broken.reason,
        )


class _Reader:
    """Walks a log line by line and stops at the first that does not fit."""

    def __init__(self, files: Files, path: str) -> None:
        self._lines = _lines(files, path)
        self._entries = 0
        self._size = 0
        self._head = GENESIS
        self._broken: Break | None = None
        self._torn = 0

    def __iter__(self) -> Iterator[Entry]:
        for line, last in self._lines:
            # A power cut leaves a part of the last line, or blocks of it as zeros; JSON never holds a zero byte.
            if last and (not line.endswith(b"\n") or b"\0" in line):
                self._torn = len(line)
                return
            entry = self._check(line)
            if entry is None:
                return
            self._entries, self._size, self._head = entry.sequence, self._size + len(line), entry.digest
            yield entry

    def report(self) -> ChainReport:
        return ChainReport(self._entries, self._size, self._head, self._broken, self._torn)

    def _check(self, line: bytes) -> Entry | None:
        match = _LINE.fullmatch(line)
        if match is None:
            return self._break(to_translate("it does not have the form of an entry"))
        digest = match[1].decode("ascii")
        if digest != _digest(self._head, match[2]):
            return self._break(to_translate("its digest does not follow from the line before and its content"))
        try:
            fields = json.loads(match[2])
            sequence, at = fields.pop("sequence"), fields.pop("at")
        except (ValueError, KeyError, RecursionError):
            return self._break(to_translate("it does not have the form of an entry"))
        if sequence != self._entries + 1:
            return self._break(to_translate("its number does not follow"))
        return Entry(sequence, str(at), fields, digest)

    def _break(self, reason: str) -> Entry | None:
        self._broken = Break(self._entries + 1, self._size, reason)
        return None


def _lines(files: Files, path: str) -> Iterator[tuple[bytes, bool]]:
    """Yield a file's lines with their line feed, each with whether it is the last."""
    size = files.size(path)
    rest = b""
    offset = 0
    while offset < size:
        piece = files.read_at(path, offset, min(_READ_BYTES, size - offset))
        offset = offset + len(piece) if piece else size
        *whole, rest = (rest + piece).split(b"\n")
        for index, line in enumerate(whole):
            yield line + b"\n", offset >= size and not rest and index == len(whole) - 1
        if len(rest) > LINE_BYTES_MAX and offset < size:
            yield rest, False
            return
    if rest:
        yield rest, True


def _entry_line(known: ChainReport, clock: Clock, fields: Mapping[str, Any]) -> tuple[Entry, bytes]:
    assert not {"sequence", "at"} & set(fields)
    sequence = known.entries + 1
    at = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # Surrogates cannot be written as UTF-8; a hostile client may send them in a name.
    text = json.dumps({"sequence": sequence, "at": at, **fields}, ensure_ascii=False, separators=(",", ":"))
    body = text.encode("utf-8", "backslashreplace")
    digest = _digest(known.head, body)
    return Entry(sequence, at, dict(fields), digest), digest.encode("ascii") + b" " + body + b"\n"


def _digest(previous: str, body: bytes) -> str:
    return hashlib.sha256(_DOMAIN + previous.encode("ascii") + b"\n" + body).hexdigest()
