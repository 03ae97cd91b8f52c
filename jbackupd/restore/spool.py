"""Entries that wait for the end of a restore, on disk once they are many: a million folders must not fill memory.

The file lies in the target and has no name there, so it goes with the process. A record is: length of path and of
link target, mode, uid, gid, type (little endian u32 each), modification time (16 bytes, signed), path, link target.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator

from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.partial import new_partial
from jbackupd.storage.beneath import Beneath, typing

_HEAD = struct.Struct("<6I16s")
_TIME_BYTES = 16
MEMORY_BYTES = 256 * 1024
"""So much is kept before it goes to the file: the folders of a common tree never do."""


class Spool:
    """Folders and symlinks, read back in either order. Close it after use.

    Args:
        beneath: The target, where the file may lie.
    """

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath
        self._descriptor = -1
        self._written = 0
        self._offsets = array("Q")
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, entry: TreeEntry) -> None:
        """Append an entry; only what is needed to place or finish it is kept.

        Raises:
            NoSpaceError: The target's disk is full.
        """
        self._offsets.append(self._written + len(self._buffer))
        self._buffer += _HEAD.pack(
            len(entry.path), len(entry.target), entry.mode, entry.uid, entry.gid, int(entry.type),
            entry.mtime_ns.to_bytes(_TIME_BYTES, "little", signed=True),
        )
        self._buffer += entry.path
        self._buffer += entry.target
        if len(self._buffer) >= MEMORY_BYTES:
            self._flush()

    def forward(self) -> Iterator[TreeEntry]:
        """Yield the entries as they were added."""
        return map(self._entry, range(len(self)))

    def backward(self) -> Iterator[TreeEntry]:
        """Yield the entries, the last one first."""
        return map(self._entry, reversed(range(len(self))))

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _entry(self, number: int) -> TreeEntry:
        begin = self._offsets[number]
        end = self._offsets[number + 1] if number + 1 < len(self) else self._written + len(self._buffer)
        data = self._bytes(begin, end - begin)
        path_length, _, mode, uid, gid, kind, moment = _HEAD.unpack_from(data)
        path_end = _HEAD.size + path_length
        return TreeEntry(
            data[_HEAD.size : path_end], EntryType(kind), mode, uid, gid,
            int.from_bytes(moment, "little", signed=True), target=data[path_end:],
        )

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset >= self._written:
            return bytes(self._buffer[offset - self._written : offset - self._written + length])
        with typing("read", b"the list of folders", self._beneath.path):
            return os.pread(self._descriptor, length, offset)

    def _flush(self) -> None:
        if self._descriptor < 0:
            self._descriptor = self._nameless()
        with typing("write", b"the list of folders", self._beneath.path):
            view = memoryview(bytes(self._buffer))
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._written += len(self._buffer)
        self._buffer.clear()

    def _nameless(self) -> int:
        with self._beneath.inside(b"") as top:
            name = new_partial()
            descriptor = top.create(name, readable=True)
            top.remove(name)
            return descriptor
