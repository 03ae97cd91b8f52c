"""A point's tree as a folder that can be read and written at once, while it is being completed.

Names, owners, modes and times are those of real files in `FOLDER/tree`; only contents come late (`lazy`). So there is
nothing to merge, nothing to mark as removed, and at the end the folder is an ordinary one. What is synced survives the
end of this process and of the machine; what was not may be lost, as on any file system.

Paths are bytes, relative to the tree, b"" for its top. Everything raises OSError as the system call of that name does.
Nothing leaves the tree: a symlink in it is never followed here.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from jbackupd.model.errors import NotFoundError, RefusedError
from jbackupd.model.records import TreeEntry
from jbackupd.restore.lazy import Contents, LazyFile
from jbackupd.restore.lazyfiles import LAZY, TREE, LazyFiles
from jbackupd.restore.lazyjournal import JOURNAL, begin
from jbackupd.restore.skeleton import make_skeleton
from jbackupd.storage.beneath import open_beneath
from jbackupd.storage.files import PosixFiles

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SYNC_FLAGS = os.O_DSYNC | os.O_SYNC
_OPEN_FLAGS = os.O_ACCMODE | _SYNC_FLAGS
"""What is passed on; O_APPEND would make pwrite(2) ignore its offset, and the kernel above us minds it already."""

Owner = tuple[int, int]
"""User and group who make something; only root gives files away."""


def make_overlay(folder: str, label: str, entries: Callable[[], Iterable[TreeEntry]]) -> None:
    """Make a point's tree in a folder, ready to be opened; harmless if it is there already. Blocks.

    Args:
        folder: Made if it is not there. One that was interrupted is made anew.
        label: Which point it is.
        entries: Gives the point's entries.

    Raises:
        RefusedError: The folder holds something else, or another point.
        NoSpaceError: The disk is full.
        DamageError: The point's tree is damaged.
    """
    files = PosixFiles(folder)
    files.make_folder("")
    others = set(files.names("")) - {TREE, LAZY, JOURNAL}
    if others:
        raise RefusedError(
            "the folder {folder} holds something else: {name}", "name a new folder", folder=folder, name=min(others)
        )
    found = overlay_label(folder)
    if found is not None:
        if found != label:
            raise RefusedError(
                "the folder {folder} holds {found}, not {wanted}", "name a new folder for another point",
                folder=folder, found=found, wanted=label,
            )
        return
    for name in (TREE, LAZY):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        files.make_folder(name)
    make_skeleton(entries(), os.path.join(folder, TREE), os.path.join(folder, LAZY))
    begin(folder, label)


def overlay_label(folder: str) -> str | None:
    """Return which point's tree stands in a folder; None if none does, or not wholly."""
    if not os.path.exists(os.path.join(folder, JOURNAL)):
        return None
    try:
        files = LazyFiles(folder, _Nothing())
    except NotFoundError:
        return None
    files.abandon()
    return files.label


def is_whole(folder: str) -> bool:
    """Tell whether an overlay's tree lacks nothing any more: it is an ordinary folder then, for whoever finds it."""
    return overlay_label(folder) is not None and is_filled(folder)


def is_filled(folder: str) -> bool:
    """Tell whether the tree of an overlay lacks nothing any more, also while it is mounted."""
    return not os.listdir(os.path.join(folder, LAZY))


class _Nothing:
    """No point is at hand."""

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Fail."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class Overlay:
    """One overlay, open; safe for several threads. Close it after use.

    Args:
        folder: As `make_overlay` left it.
        contents: Where what is missing comes from.
        touched: Told which file is about to be used, and from which byte on, while it lacks something.
    """

    def __init__(
        self, folder: str, contents: Contents, touched: Callable[[int, int], None] = lambda _number, _offset: None
    ) -> None:
        self.lazy = LazyFiles(folder, contents)
        self.path = os.path.join(folder, TREE)
        self._top = os.open(self.path, _FOLDER)
        self._touched = touched
        self._handles: dict[int, LazyFile | None] = {}
        # A name that is being replaced must not be opened in between: its file may be settled.
        self._naming = threading.Lock()

    def close(self) -> None:
        """Make everything durable and close; see `LazyFiles.close`."""
        for handle in list(self._handles):
            self.release(handle)
        os.close(self._top)
        self.lazy.close()

    # Open files.

    def open(self, path: bytes, flags: int) -> int:
        """Open a file; return its handle."""
        if flags & os.O_TRUNC:
            self.truncate(path, 0)
        with self._naming, self._above(path) as (folder, name):
            handle = os.open(name, flags & _OPEN_FLAGS | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            return self._register(handle)

    def create(self, path: bytes, mode: int, flags: int, owner: Owner | None = None) -> int:
        """Create a file; return its handle."""
        with self._naming, self._above(path) as (folder, name):
            handle = os.open(name, flags & _SYNC_FLAGS | _NEW, mode, dir_fd=folder)
            self._give(folder, name, owner)
            self._handles[handle] = None
            return handle

    def _register(self, handle: int) -> int:
        number = self.lazy.number_of(os.fstat(handle).st_ino)
        self._handles[handle] = None if number is None else self.lazy.acquire(number)
        return handle

    def release(self, handle: int) -> None:
        """Close a handle."""
        file = self._handles.pop(handle)
        os.close(handle)
        if file is not None:
            self.lazy.release(file)

    def read(self, handle: int, offset: int, length: int) -> bytes:
        """Return bytes; fewer at the file's end."""
        file = self._handles[handle]
        if file is None or file.is_complete:
            return os.pread(handle, length, offset)
        self._touched(file.number, offset)
        return file.read(offset, length)

    def write(self, handle: int, offset: int, data: bytes) -> int:
        """Write bytes; return how many."""
        file = self._handles[handle]
        if file is None:
            return os.pwrite(handle, data, offset)
        return file.write(offset, data)

    def sync(self, handle: int) -> None:
        """Make a file durable."""
        file = self._handles[handle]
        if file is None:
            os.fsync(handle)
        else:
            file.sync()

    def status(self, handle: int) -> os.stat_result:
        """Look at an open file."""
        return os.fstat(handle)

    def resize(self, handle: int, length: int) -> None:
        """Cut an open file, or let it grow."""
        file = self._handles[handle]
        if file is None:
            os.ftruncate(handle, length)
        else:
            file.truncate(length)

    def allocate(self, handle: int, offset: int, length: int) -> None:
        """Let a file have room; its content stays, and grows by zeros."""
        os.posix_fallocate(handle, offset, length)

    # Names.

    def look(self, path: bytes) -> os.stat_result:
        """Look at a name; a symlink itself."""
        with self._above(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def hidden_names(self, status: os.stat_result) -> int:
        """Return how many names of a file are ours alone."""
        return int(self.lazy.number_of(status.st_ino) is not None)

    def open_folder(self, path: bytes) -> int:
        """Open a folder; return its descriptor."""
        return open_beneath(self._top, path or b".", _FOLDER)

    def target(self, path: bytes) -> bytes:
        """Return where a symlink points to."""
        with self._above(path) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    def truncate(self, path: bytes, length: int) -> None:
        """Cut a file, or let it grow."""
        handle = self.open(path, os.O_WRONLY)
        try:
            self.resize(handle, length)
        finally:
            self.release(handle)

    def make_folder(self, path: bytes, mode: int, owner: Owner | None = None) -> None:
        """Make a folder."""
        with self._above(path) as (folder, name):
            os.mkdir(name, mode, dir_fd=folder)
            self._give(folder, name, owner)

    def make_symlink(self, path: bytes, target: bytes, owner: Owner | None = None) -> None:
        """Make a symlink."""
        with self._above(path) as (folder, name):
            os.symlink(target, name, dir_fd=folder)
            self._give(folder, name, owner)

    def link(self, source: bytes, path: bytes) -> None:
        """Give a file a further name."""
        with self._above(source) as (old, old_name), self._above(path) as (new, new_name):
            os.link(old_name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)

    def rename(self, source: bytes, path: bytes) -> None:
        """Give a file or folder another name; what has that name is replaced."""
        with self._naming, self._above(source) as (old, old_name), self._above(path) as (new, new_name):
            replaced = self._number_at(new, new_name)
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
            self._forsake(new, replaced)

    def unlink(self, path: bytes) -> None:
        """Remove a name."""
        with self._naming, self._above(path) as (folder, name):
            removed = self._number_at(folder, name)
            os.unlink(name, dir_fd=folder)
            self._forsake(folder, removed)

    def remove_folder(self, path: bytes) -> None:
        """Remove an empty folder."""
        with self._above(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def set_mode(self, path: bytes, mode: int) -> None:
        """Set a mode; a symlink has none."""
        with self._above(path) as (folder, name):
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{descriptor}", mode)
            finally:
                os.close(descriptor)

    def set_owner(self, path: bytes, uid: int, gid: int) -> None:
        """Set an owner; -1 leaves it."""
        with self._above(path) as (folder, name):
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)

    def set_times(self, path: bytes, times_ns: tuple[int, int]) -> None:
        """Set times of access and change."""
        with self._above(path) as (folder, name):
            os.utime(name, ns=times_ns, dir_fd=folder, follow_symlinks=False)

    def room(self) -> os.statvfs_result:
        """Return how full the file system is."""
        return os.fstatvfs(self._top)

    @contextmanager
    def _above(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Open the folder that holds a path; give it and the path's last name."""
        above, _, name = path.rpartition(b"/")
        folder = self.open_folder(above)
        try:
            yield folder, name or b"."
        finally:
            os.close(folder)

    def _number_at(self, folder: int, name: bytes) -> int | None:
        try:
            return self.lazy.number_of(os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino)
        except FileNotFoundError:
            return None

    def _forsake(self, folder: int, number: int | None) -> None:
        if number is not None:
            # Its content may go only when no power cut can bring the name back.
            os.fsync(folder)
            self.lazy.forsake(number)

    def _give(self, folder: int, name: bytes, owner: Owner | None) -> None:
        """Let something new belong to who made it; in a folder with setgid the group is the folder's."""
        if owner is None or os.geteuid() != 0:
            return
        above = os.fstat(folder)
        gid = above.st_gid if above.st_mode & 0o2000 else owner[1]
        os.chown(name, owner[0], gid, dir_fd=folder, follow_symlinks=False)
