"""A point to look around in: entries found by path, folders listed, files read at any offset. Nothing is restored.

The tree is read once, when the view opens, into a file without a name. An entry takes 8 bytes of memory, whatever its
path and however many frames its content lies in: a tree of ten million entries can be mounted on a small machine.
Entries lie in the order of their path components, so one is found by halving, and a folder is listed by jumping from
each child to what follows everything below it.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol

import msgspec

from jbackupd.format.tree import TreeRecord
from jbackupd.model.errors import NoSpaceError, NotFoundError, StorageError, UsageError
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.fileview import Extents, FileView
from jbackupd.vault.reader import CACHE_BYTES, FrameReader
from jbackupd.vault.vault import StoredPoint, Vault

TOP = TreeEntry(b"", EntryType.FOLDER, 0o755, 0, 0, 0)
"""The folder that holds everything; a tree has no entry for it."""
BUFFER_BYTES = 1 << 20
_HEAD = struct.Struct("<III")
_record = msgspec.msgpack.Decoder(TreeRecord)
_encode = msgspec.msgpack.Encoder().encode


class ViewablePoint(Protocol):
    """An open point, as far as a view needs it; `OpenPoint` is one."""

    def records(self) -> Iterator[tuple[bytes, TreeRecord]]:
        """Yield the tree's records in path order; raises DamageError."""
        ...

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents in order; safe for several threads; raises DamageError."""
        ...


class PointView:
    """One point, read only; safe for several threads. Close it after use.

    Opening reads the whole tree and checks it against the point.

    Args:
        point: What to look at. Its reader's cache is shared by all files of the view; it stays the caller's.
        folder: Where the list of entries may lie; the system's temporary folder without. About 150 bytes an entry.

    Raises:
        DamageError: The tree is damaged.
        KeyMissingError: The session's key is not at hand.
        NoSpaceError: The list does not fit.
    """

    def __init__(self, point: ViewablePoint, *, folder: str | None = None) -> None:
        self._point = point
        self._list = _EntryList(folder)
        try:
            for _, record in point.records():
                self._list.add(record)
            self._list.flush()
        except BaseException:
            self._list.close()
            raise

    def __len__(self) -> int:
        """Return how many entries there are, the top not counted."""
        return len(self._list)

    def close(self) -> None:
        """Let the list go; the view cannot be used any more. May be called twice."""
        self._list.close()

    def stat(self, path: bytes) -> TreeEntry:
        """Return an entry without its extents, which may be many.

        Args:
            path: As in a tree; empty for the top.

        Raises:
            NotFoundError: There is no such entry.
        """
        return self._list.short(self._found(path)) if path else TOP

    def children(self, path: bytes) -> Iterator[TreeEntry]:
        """Yield what lies directly in a folder, in order, each without its extents.

        Raises:
            NotFoundError: There is no such entry, or it is no folder.
        """
        first = 0
        if path:
            first = self._found(path) + 1
            if self._list.short(first - 1).type is not EntryType.FOLDER:
                raise NotFoundError("{path} is not a folder of the point", path=_shown(path))
        return self._children(path, first)

    def open(self, path: bytes) -> FileView:
        """Return a file's bytes, to be read at any offset; each call finds and decodes its entry again.

        Raises:
            NotFoundError: There is no such entry.
            UsageError: It is no file.
        """
        number = self._found(path) if path else -1
        if number < 0 or self._list.short(number).type is not EntryType.FILE:
            raise UsageError("{path} is not a file", "name a file", path=_shown(path))
        return self.open_number(number)

    def entries(self) -> Iterator[TreeEntry]:
        """Yield all entries in order, each without its extents."""
        return map(self._list.short, range(len(self)))

    def entry(self, number: int) -> TreeEntry:
        """Return an entry by its place in the order of `entries`, without its extents."""
        return self._list.short(number)

    def open_number(self, number: int) -> FileView:
        """Return the bytes of a file by its place in the order of `entries`."""
        return FileView(self._point.read, Extents(self._list.extents(number)))

    def _found(self, path: bytes) -> int:
        number = self._list.first_from(path.split(b"/"))
        if number == len(self._list) or self._list.path(number) != path:
            raise NotFoundError("the point holds no {path}", path=_shown(path))
        return number

    def _children(self, folder: bytes, number: int) -> Iterator[TreeEntry]:
        depth = folder.count(b"/") + 2 if folder else 1
        prefix = folder + b"/" if folder else b""
        while number < len(self._list):
            entry = self._list.short(number)
            if not entry.path.startswith(prefix):
                return
            yield entry
            number += 1
            if entry.type is EntryType.FOLDER and self._lies_deeper(number, depth):
                # The next name in this folder is the least that is greater than everything below the entry.
                number = self._list.first_from([*entry.path.split(b"/")[:-1], _after(entry.path)], number)

    def _lies_deeper(self, number: int, depth: int) -> bool:
        return number < len(self._list) and self._list.path(number).count(b"/") >= depth


@contextmanager
def opened_view(
    vault: Vault, stored: StoredPoint, *, cache_bytes: int = CACHE_BYTES, folder: str | None = None
) -> Iterator[PointView]:
    """Open a view of a point of a vault, with frames of its own at hand.

    Args:
        cache_bytes: Plaintext of frames that is kept at most, for all files of the view together.
        folder: As for `PointView`.

    Raises:
        As `PointView`, and as `Vault.open_point`.
    """
    reader = FrameReader(vault.store, vault.catalog, vault.keys, tenant=vault.tenant, cache_bytes=cache_bytes)
    with closing(reader), closing(PointView(vault.open_point(stored, reader), folder=folder)) as view:
        yield view


class _EntryList:
    """Entries on disk. Of each: lengths of path, of the record without extents, of the extents; and these three."""

    def __init__(self, folder: str | None) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise _failed(error) from error
        self._offsets = array("Q")
        self._buffer = bytearray()
        self._written = 0

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, record: TreeRecord) -> None:
        self._offsets.append(self._written + len(self._buffer))
        short = _encode(msgspec.structs.replace(record, extents=[]))
        extents = _encode(record.extents) if record.extents else b""
        self._buffer += _HEAD.pack(len(record.path), len(short), len(extents))
        for part in (record.path, short, extents):
            self._buffer += part
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        view = memoryview(bytes(self._buffer))
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _failed(error) from error
        self._written += len(self._buffer)
        self._buffer.clear()

    def close(self) -> None:
        self._file.close()

    def path(self, number: int) -> bytes:
        offset, lengths = self._head(number)
        return self._bytes(offset, lengths[0])

    def short(self, number: int) -> TreeEntry:
        offset, lengths = self._head(number)
        return _record.decode(self._bytes(offset + lengths[0], lengths[1])).entry()

    def extents(self, number: int) -> list[tuple[bytes, int, int]]:
        offset, lengths = self._head(number)
        data = self._bytes(offset + lengths[0] + lengths[1], lengths[2])
        return _extents.decode(data) if data else []

    def first_from(self, parts: list[bytes], low: int = 0) -> int:
        """Return the number of the first entry, from one on, whose components are not less than some."""
        high = len(self._offsets)
        while low < high:
            middle = (low + high) // 2
            if self.path(middle).split(b"/") < parts:
                low = middle + 1
            else:
                high = middle
        return low

    def _head(self, number: int) -> tuple[int, tuple[int, ...]]:
        offset = self._offsets[number]
        return offset + _HEAD.size, _HEAD.unpack(self._bytes(offset, _HEAD.size))

    def _bytes(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise _failed(error) from error


_extents = msgspec.msgpack.Decoder(list[tuple[bytes, int, int]])


def _after(path: bytes) -> bytes:
    """Return the least name that is greater than a path's last component."""
    return path.rpartition(b"/")[2] + b"\0"


def _shown(path: bytes) -> str:
    return os.fsdecode(path)


def _failed(error: OSError) -> StorageError | NoSpaceError:
    kind = NoSpaceError if error.errno == errno.ENOSPC else StorageError
    return kind(
        "unable to keep the list of entries of a point: {reason}", "set TMPDIR to a folder with room",
        reason=os.strerror(error.errno or 0),
    )
