r"""Disks to serve: a file of a point, and a file of a point that takes writes, which go to an overlay beside it.

An overlay is a folder of two files:

    data     sparse, as long as the disk: what was written, at its place
    map      4096 bytes of head, then a bit for each block of 4096 bytes: 1 where `data` holds it

    map:  offset  size  field
          0       8     magic "JBOVER\x01\x00"
          8       8     size of the disk in bytes, little endian
          16      32    digest of the file (format.tree): an overlay fits whatever point has the same content
          48      32    BLAKE3-256 of the first 48 bytes
          80      ...   zeros, up to 4096

A bit is written only after the data that it speaks of was synced. So whatever instant the power goes at, a block is
either wholly the point's or was wholly written; what was flushed is there. Bits only ever become 1.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jbackupd.codec.hashing import name_of
from jbackupd.model.errors import FormatError, JbackupdError, RefusedError
from jbackupd.restore.fileview import FileView
from jbackupd.storage.sparse import SparseFile, typed

BLOCK_BYTES = 4096
MAGIC = b"JBOVER\x01\x00"
HEAD_BYTES = 4096
_HEAD = struct.Struct("<8sQ32s")
_PAGE_BYTES = 4096
"""The map is written in pages of so many bytes: each speaks of 128 MiB of the disk."""


class PointDisk:
    """A file of a point as a disk that takes no writes; see `nbdserver.Device`."""

    read_only = True

    def __init__(self, file: FileView) -> None:
        self._file = file
        self.size = file.size

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes."""
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Refuse."""
        raise RefusedError("a point takes no writes")

    def zero(self, offset: int, length: int) -> None:
        """Refuse."""
        raise RefusedError("a point takes no writes")

    def flush(self) -> None:
        """Nothing was written."""


class OverlayDisk:
    """A file of a point as a disk that takes writes; see `nbdserver.Device`. Close it after use.

    Args:
        base: The file.
        folder: Of the overlay; made when it is not there, gone on with when it is.
        digest: Of the file's content, as its entry has it.

    Raises:
        BusyError: The overlay is in use.
        RefusedError: The folder holds something else, or the overlay of another content.
        FormatError: The overlay is damaged.
        NoSpaceError: It does not fit.
    """

    read_only = False

    def __init__(self, base: FileView, folder: str, *, digest: bytes) -> None:
        self.size = base.size
        self.folder = folder
        self._base = base
        self._ranges = _Ranges()
        self._flushing = threading.Lock()
        self._changing = threading.Lock()
        self._changed: set[int] = set()
        is_new = _prepared(folder)
        self._map = SparseFile(os.path.join(folder, "map"), alone=True)
        try:
            self._data = SparseFile(os.path.join(folder, "data"))
            # A head of zeros was never synced: nothing was ever written to that overlay.
            is_new = is_new or not any(self._map.read(0, HEAD_BYTES))
            self._bits = self._new(digest) if is_new else self._found(digest)
        except BaseException:
            self.close()
            raise

    @property
    def written_bytes(self) -> int:
        """How much of the disk the overlay holds."""
        return sum(byte.bit_count() for byte in self._bits) * BLOCK_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes, of each block as it was written last."""
        pieces = [
            self._data.read(begin, end - begin) if ours else self._base.read(begin, end - begin)
            for begin, end, ours in self._runs(offset, offset + length)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Write; of a block that is changed for the first time, the rest is read first."""
        if not data:
            return
        end = offset + len(data)
        first, last = offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        with self._ranges.alone(first, last):
            for block in {first, last - 1}:
                self._complete(block, offset, end)
            self._data.write(offset, data)
            self._mark(first, last)

    def zero(self, offset: int, length: int) -> None:
        """Let bytes be zeros; whole blocks of them take no room."""
        first, last = -(-offset // BLOCK_BYTES), (offset + length) // BLOCK_BYTES
        if offset + length == self.size:
            last = -(-self.size // BLOCK_BYTES)
        if first >= last:
            self.write(offset, bytes(length))
            return
        with self._ranges.alone(first, last):
            end = min(last * BLOCK_BYTES, self.size)
            self._data.punch(first * BLOCK_BYTES, end - first * BLOCK_BYTES)
            self._mark(first, last)
        self.write(offset, bytes(first * BLOCK_BYTES - offset))
        self.write(end, bytes(offset + length - end))

    def flush(self) -> None:
        """Make all writes durable that have returned."""
        with self._flushing:
            with self._changing:
                # Taken before the sync: a bit that is set meanwhile may speak of data that the sync does not see.
                pages = {number: self._page(number) for number in self._changed}
                self._changed.clear()
            try:
                self._data.sync()
                for number, page in pages.items():
                    self._map.write(HEAD_BYTES + number * _PAGE_BYTES, page)
                self._map.sync()
            except JbackupdError:
                with self._changing:
                    self._changed.update(pages)
                raise

    def close(self) -> None:
        """Close without a flush; harmless twice."""
        for file in (self._map, getattr(self, "_data", None)):
            if file is not None:
                file.close()

    # Opening.

    def _head(self, digest: bytes) -> bytes:
        head = _HEAD.pack(MAGIC, self.size, digest)
        return head + name_of(head)

    def _new(self, digest: bytes) -> bytearray:
        self._data.set_size(self.size)
        self._data.sync()
        self._map.set_size(HEAD_BYTES + self._map_bytes)
        self._map.write(0, self._head(digest))
        self._map.sync()
        _sync_folder(self.folder)
        _sync_folder(os.path.dirname(self.folder) or ".")
        return bytearray(self._map_bytes)

    def _found(self, digest: bytes) -> bytearray:
        head = self._map.read(0, HEAD_BYTES)
        plain = head[: _HEAD.size]
        if len(head) != HEAD_BYTES or head[_HEAD.size : _HEAD.size + 32] != name_of(plain):
            raise self._damaged()
        if head[: _HEAD.size + 32] != self._head(digest):
            raise RefusedError(
                "the overlay {folder} belongs to other content than this", "name the point that it was made for",
                folder=self.folder,
            )
        bits = bytearray(self._map.read(HEAD_BYTES, self._map_bytes))
        if self._data.size != self.size or len(bits) != self._map_bytes:
            raise self._damaged()
        return bits

    def _damaged(self) -> FormatError:
        return FormatError("the overlay {folder} is damaged", "begin a new one in another folder", folder=self.folder)

    @property
    def _map_bytes(self) -> int:
        """Whole pages of bits, enough for every block."""
        return -(-self.size // (BLOCK_BYTES * 8 * _PAGE_BYTES)) * _PAGE_BYTES

    # Blocks.

    def _has(self, block: int) -> bool:
        return bool(self._bits[block >> 3] >> (block & 7) & 1)

    def _runs(self, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the stretches of a range, each with whether the overlay holds it."""
        while begin < end:
            block = begin // BLOCK_BYTES
            ours = self._has(block)
            while (block + 1) * BLOCK_BYTES < end and self._has(block + 1) is ours:
                block += 1
            stop = min(end, (block + 1) * BLOCK_BYTES)
            yield begin, stop, ours
            begin = stop

    def _complete(self, block: int, begin: int, end: int) -> None:
        """Bring what a write leaves of a block that the overlay does not have."""
        first, last = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, self.size)
        if not self._has(block) and (begin > first or end < last):
            self._data.write(first, self._base.read(first, last - first))

    def _mark(self, first: int, last: int) -> None:
        with self._changing:
            for block in range(first, last):
                self._bits[block >> 3] |= 1 << (block & 7)
            self._changed.update(range((first >> 3) // _PAGE_BYTES, ((last - 1) >> 3) // _PAGE_BYTES + 1))

    def _page(self, number: int) -> bytes:
        return bytes(self._bits[number * _PAGE_BYTES : (number + 1) * _PAGE_BYTES])


class _Ranges:
    """Blocks that somebody is changing: two who change the same ones wait for each other."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._taken: list[tuple[int, int]] = []

    @contextmanager
    def alone(self, first: int, last: int) -> Iterator[None]:
        with self._free:
            self._free.wait_for(lambda: all(last <= begin or end <= first for begin, end in self._taken))
            self._taken.append((first, last))
        try:
            yield
        finally:
            with self._free:
                self._taken.remove((first, last))
                self._free.notify_all()


def _prepared(folder: str) -> bool:
    """Make the folder if it is not there; return whether there is no overlay in it yet."""
    with typed("create", folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        names = set(os.listdir(folder))
    if names - {"map", "data"}:
        raise RefusedError(
            "the folder {folder} holds something else than an overlay", "name a new folder", folder=folder
        )
    return "map" not in names


def _sync_folder(folder: str) -> None:
    with typed("sync", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
