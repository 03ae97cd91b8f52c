"""Removing what a recovery run laid out: restored data, desks, passwords, caches. Its journal stays. Blocks."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from jbackupd.model.errors import StorageError
from jbackupd.model.reasons import reason_of

KEPT = "journal"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a run laid out.

    Attributes:
        path: In the run's folder: data/juki@3, desk/desk, catalog.sqlite.
        files: Everything but folders.
        bytes: Of regular files, as their lengths say.
    """

    path: str
    files: int
    bytes: int


def parts_of(folder: str) -> list[Part]:
    """Return what lies in a run's folder beside its journal; folders that cannot be read count as empty."""
    found: list[Part] = []
    for name in sorted(_names(folder) - {KEPT}):
        path = os.path.join(folder, name)
        below = sorted(_names(path)) if name in ("data", "desk") and os.path.isdir(path) else []
        found += [_counted(folder, os.path.join(name, each)) for each in below] or [_counted(folder, name)]
    return found


def clear(folder: str) -> tuple[int, int]:
    """Remove everything in a run's folder but its journal; return how many files and bytes that were.

    May be repeated after a kill. The folder is read again at the end: what is counted is gone, durably.

    Raises:
        StorageError: Something could not be removed, or lies on another file system, mounted there.
    """
    try:
        top = os.open(folder, _FOLDER)
        try:
            counts = _clear(top)
            os.fsync(top)
        finally:
            os.close(top)
        left = _names(folder) - {KEPT}
    except OSError as error:
        raise StorageError(
            "unable to remove what the run laid out in {folder}: {reason}", "see to it, and call the command again",
            folder=folder, reason=reason_of(error),
        ) from error
    if left:
        raise StorageError(
            "something is still there in {folder} after it was removed: {names}",
            "end what writes there, and call the command again", folder=folder, names=", ".join(sorted(left)),
        )
    return counts


def _clear(top: int) -> tuple[int, int]:
    """Empty an open folder.

    Folders are moved up before they are emptied: so no path grows long and nothing recurses, however deep a tree is.
    """
    files = size = 0
    device = os.fstat(top).st_dev
    while names := [name for name in os.listdir(top) if name != KEPT]:
        for name in names:
            status = os.stat(name, dir_fd=top, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=top)
                files, size = files + 1, size + _length(status)
                continue
            with _opened(name, top, device) as below:
                for child in os.listdir(below):
                    status = os.stat(child, dir_fd=below, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        with _opened(child, below, device):
                            # An inode's number names one thing of a file system, so no two folders meet there.
                            os.rename(child, f"removed.{status.st_ino}", src_dir_fd=below, dst_dir_fd=top)
                    else:
                        os.unlink(child, dir_fd=below)
                        files, size = files + 1, size + _length(status)
            os.rmdir(name, dir_fd=top)
    return files, size


@contextlib.contextmanager
def _opened(name: str, parent: int, device: int) -> Iterator[int]:
    """Open a folder of ours, made writable first: restored folders have the modes of their source."""
    os.chmod(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_dev != device:
            raise StorageError(
                "another file system is mounted at {name} in what the run laid out", "unmount it", name=name
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _counted(folder: str, path: str) -> Part:
    files = size = 0
    waiting = [os.path.join(folder, path)]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(OSError):
            status = os.lstat(here)
            if stat.S_ISDIR(status.st_mode):
                waiting += [os.path.join(here, name) for name in os.listdir(here)]
            else:
                files, size = files + 1, size + _length(status)
    return Part(path, files, size)


def _length(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _names(folder: str) -> set[str]:
    return set(os.listdir(folder))
