"""An overlay as a folder that can be read and written: the calls of the kernel, passed on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from jbackupd.restore.fuseview import tree_path
from jbackupd.restore.overlay import Overlay, Owner

_FIELDS = (
    "st_mode", "st_ino", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize", "st_rdev",
)
Times = tuple[int | None, int | None]
"""Of access and of change, in nanoseconds; None for one that stays."""
_ROOM = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_namemax")


class OverlayOperations:
    """One overlay; called by libfuse from several threads. What is not here the kernel does by itself, or refuses.

    Args:
        overlay: The overlay.
        caller: Returns who called.
    """

    def __init__(self, overlay: Overlay, caller: Callable[[], Owner]) -> None:
        self._overlay = overlay
        self._caller = caller

    def getattr(self, path: str | None, handle: int | None = None) -> dict[str, Any]:
        """Look at a name, or at an open file."""
        overlay = self._overlay
        found = overlay.look(tree_path(path)) if path is not None else overlay.status(handle or 0)
        attributes = {name: getattr(found, name) for name in _FIELDS}
        attributes["st_nlink"] = found.st_nlink - overlay.hidden_names(found)
        for time in ("st_atime", "st_mtime", "st_ctime"):
            attributes[time] = getattr(found, f"{time}_ns")
        return attributes

    def opendir(self, path: str) -> int:
        """Open a folder."""
        return self._overlay.open_folder(tree_path(path))

    def readdir(self, path: str | None, handle: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """List a folder."""
        inode = os.fstat(handle).st_ino
        yield from ((name, {"st_mode": stat.S_IFDIR, "st_ino": inode}, 0) for name in (".", ".."))
        with os.scandir(handle) as entries:
            for entry in entries:
                yield entry.name, {"st_mode": _kind(entry), "st_ino": entry.inode()}, 0

    def releasedir(self, path: str | None, handle: int) -> None:
        """Close a folder."""
        os.close(handle)

    def readlink(self, path: str) -> str:
        """Return where a symlink points to."""
        return os.fsdecode(self._overlay.target(tree_path(path)))

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        return self._overlay.open(tree_path(path), flags)

    def create(self, path: str, mode: int, flags: int) -> int:
        """Make a file and open it."""
        return self._overlay.create(tree_path(path), mode & 0o7777, flags, self._caller())

    def read(self, path: str | None, size: int, offset: int, handle: int) -> bytes:
        """Read."""
        return self._overlay.read(handle, offset, size)

    def write(self, path: str | None, data: bytes, offset: int, handle: int) -> int:
        """Write."""
        return self._overlay.write(handle, offset, data)

    def fsync(self, path: str | None, datasync: int, handle: int) -> None:
        """Make a file durable."""
        self._overlay.sync(handle)

    def fsyncdir(self, path: str | None, datasync: int, handle: int) -> None:
        """Make the names in a folder durable."""
        os.fsync(handle)

    def release(self, path: str | None, handle: int) -> None:
        """Close a file."""
        self._overlay.release(handle)

    def truncate(self, path: str | None, length: int, handle: int | None = None) -> None:
        """Cut a file, or let it grow."""
        if handle is not None:
            self._overlay.resize(handle, length)
        else:
            self._overlay.truncate(tree_path(path or ""), length)

    def fallocate(self, path: str | None, mode: int, offset: int, length: int, handle: int) -> None:
        """Let a file have room."""
        if mode:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        self._overlay.allocate(handle, offset, length)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a folder."""
        self._overlay.make_folder(tree_path(path), mode & 0o7777, self._caller())

    def symlink(self, path: str, target: str) -> None:
        """Make a symlink."""
        self._overlay.make_symlink(tree_path(path), os.fsencode(target), self._caller())

    def link(self, path: str, source: str) -> None:
        """Give a file a further name."""
        self._overlay.link(tree_path(source), tree_path(path))

    def rename(self, old: str, new: str) -> None:
        """Give something another name."""
        self._overlay.rename(tree_path(old), tree_path(new))

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._overlay.unlink(tree_path(path))

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self._overlay.remove_folder(tree_path(path))

    def chmod(self, path: str | None, mode: int, handle: int | None = None) -> None:
        """Set a mode."""
        if path is None:
            os.fchmod(handle or 0, mode & 0o7777)
        else:
            self._overlay.set_mode(tree_path(path), mode & 0o7777)

    def chown(self, path: str | None, uid: int, gid: int, handle: int | None = None) -> None:
        """Set an owner."""
        if path is None:
            os.fchown(handle or 0, uid, gid)
        else:
            self._overlay.set_owner(tree_path(path), uid, gid)

    def utimens(self, path: str | None, times: Times, handle: int | None = None) -> None:
        """Set times."""
        found = self._overlay.status(handle or 0) if path is None else self._overlay.look(tree_path(path))
        accessed = found.st_atime_ns if times[0] is None else times[0]
        changed = found.st_mtime_ns if times[1] is None else times[1]
        if path is None:
            os.utime(handle or 0, ns=(accessed, changed))
        else:
            self._overlay.set_times(tree_path(path), (accessed, changed))

    def statfs(self, path: str) -> dict[str, int]:
        """Say how full it is."""
        room = self._overlay.room()
        return {name: getattr(room, name) for name in _ROOM}


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG
