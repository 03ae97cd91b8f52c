"""Points as a folder that can only be read: the calls of the kernel, answered from views."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

from jbackupd.model.errors import JbackupdError, NotFoundError, UsageError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.fileview import FileView
from jbackupd.restore.view import PointView

_KINDS = {EntryType.FILE: stat.S_IFREG, EntryType.FOLDER: stat.S_IFDIR, EntryType.SYMLINK: stat.S_IFLNK}
BLOCK_BYTES = 4096

Report = Callable[[bytes, JbackupdError], None]
"""Told which file could not be read, and why."""


class ViewOperations:
    """One point; called by libfuse from several threads.

    Args:
        view: The point.
        report: Told of damage; each file once.
    """

    def __init__(self, view: PointView, report: Report) -> None:
        self._view = view
        self._report = report
        self._files: dict[int, tuple[bytes, FileView]] = {}
        self._folders: dict[int, bytes] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._reported: set[bytes] = set()

    def getattr(self, path: str | None, handle: int | None = None) -> dict[str, Any]:
        """Look at a name."""
        if path is None:
            path = "/" + os.fsdecode(self._files[handle or 0][0])
        return _attributes(self._found(tree_path(path)))

    def opendir(self, path: str) -> int:
        """Open a folder."""
        handle = next(self._numbers)
        self._folders[handle] = tree_path(path)
        return handle

    def readdir(self, path: str | None, handle: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """List a folder."""
        yield from ((name, {"st_mode": stat.S_IFDIR}, 0) for name in (".", ".."))
        try:
            for entry in self._view.children(self._folders[handle]):
                yield os.fsdecode(entry.path.rpartition(b"/")[2]), {"st_mode": _KINDS[entry.type]}, 0
        except JbackupdError as error:
            raise _refused(error) from error

    def releasedir(self, path: str | None, handle: int) -> None:
        """Close a folder."""
        del self._folders[handle]

    def readlink(self, path: str) -> str:
        """Return where a symlink points to."""
        return os.fsdecode(self._found(tree_path(path)).target)

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        raw = tree_path(path)
        try:
            file = self._view.open(raw)
        except JbackupdError as error:
            raise _refused(error) from error
        with self._lock:
            handle = next(self._numbers)
            self._files[handle] = raw, file
        return handle

    def read(self, path: str | None, size: int, offset: int, handle: int) -> bytes:
        """Read; what is damaged gives EIO and is told."""
        raw, file = self._files[handle]
        try:
            return file.read(offset, size)
        except JbackupdError as error:
            with self._lock:
                is_new = raw not in self._reported
                self._reported.add(raw)
            if is_new:
                self._report(raw, error)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error

    def release(self, path: str | None, handle: int) -> None:
        """Close a file."""
        with self._lock:
            del self._files[handle]

    def statfs(self, path: str) -> dict[str, int]:
        """Say how large names may be; there is no room."""
        return {"f_bsize": BLOCK_BYTES, "f_frsize": BLOCK_BYTES, "f_namemax": 255}

    def _found(self, path: bytes) -> TreeEntry:
        try:
            return self._view.stat(path)
        except JbackupdError as error:
            raise _refused(error) from error


def tree_path(path: str) -> bytes:
    """Return a path of the kernel as a tree has it."""
    return os.fsencode(path).strip(b"/")


def _attributes(entry: TreeEntry) -> dict[str, Any]:
    time = entry.mtime_ns
    size = len(entry.target) if entry.type is EntryType.SYMLINK else entry.size
    return {
        "st_mode": _KINDS[entry.type] | entry.mode, "st_nlink": 1, "st_uid": entry.uid, "st_gid": entry.gid,
        "st_size": size, "st_blocks": -(-size // 512), "st_blksize": BLOCK_BYTES,
        "st_atime": time, "st_mtime": time, "st_ctime": time,
    }


def _refused(error: JbackupdError) -> OSError:
    code = {NotFoundError: errno.ENOENT, UsageError: errno.EISDIR}.get(type(error), errno.EIO)
    return OSError(code, os.strerror(code))
