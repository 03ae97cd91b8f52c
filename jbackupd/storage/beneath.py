"""Path operations that cannot leave a folder, whatever its content or a name in a vault tries.

Every step is one openat2 with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS, then calls
on the descriptor. So neither "..", nor an absolute path, nor a symlink that lies in the target, nor
one that is swapped in meanwhile leads outside.

Source: openat2(2), Linux 5.6.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from jbackupd.model.errors import ConfinementError, InvariantError, NoSpaceError, NotFoundError, StorageError

_OPENAT2 = 437  # The same number on every architecture: it is newer than the unified table.
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
_PATH_BYTES_MAX = 4000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(folder: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open a path below a folder and return its descriptor.

    Args:
        folder: Descriptor of the folder that must not be left.
        path: Relative; b"." for the folder itself.

    Raises:
        OSError: As the kernel says; ELOOP and EXDEV mean that the path would leave the folder.
    """
    if len(path) > _PATH_BYTES_MAX and b"/" in path[:_PATH_BYTES_MAX]:
        # The kernel takes at most 4,096 bytes at once: walk a part of the way, just as confined.
        part = path[: path.rindex(b"/", 0, _PATH_BYTES_MAX)]
        below = open_beneath(folder, part, _FOLDER)
        try:
            return open_beneath(below, path[len(part) + 1 :], flags, mode)
        finally:
            os.close(below)
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, _RESOLVE)
    while True:
        descriptor: int = _libc.syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path), ctypes.c_char_p(how),
            ctypes.c_size_t(len(how)),
        )
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code))


class Beneath:
    """A folder that nothing done here leaves. Close it after use.

    Args:
        path: The folder; it must exist.

    Raises:
        StorageError: It cannot be opened, or the kernel is older than 5.6.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._folder = os.open(path, _FOLDER)
            os.close(open_beneath(self._folder, b".", _FOLDER))
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise StorageError(
                    "unable to restore safely: this kernel ({release}) has no openat2",
                    "restore on a machine with Linux 5.6 or newer", release=platform.release(),
                ) from error
            raise self._typed(error, "open", b".") from error

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)

    def make_folder(self, path: bytes) -> None:
        """Create a folder, mode 0700; harmless if there is one.

        Raises:
            ConfinementError: Something on the way is a symlink or leaves the folder.
        """
        with self._parent(path, "create") as (parent, name):
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                # Opening it shows whether it is a folder of ours or a link that was put there.
                os.close(open_beneath(parent, name, _FOLDER))

    def create(self, path: bytes) -> int:
        """Create a new file, mode 0600, and return its descriptor."""
        with self._typing(path, "create"):
            return open_beneath(self._folder, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def open_file(self, path: bytes) -> int:
        """Open an existing file for reading and return its descriptor."""
        with self._typing(path, "open"):
            return open_beneath(self._folder, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)

    def status(self, path: bytes) -> os.stat_result | None:
        """Return what is at a path, links not followed; None if nothing is."""
        try:
            with self._parent(path, "look at") as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except NotFoundError:
            return None

    def rename(self, source: bytes, target: bytes) -> None:
        """Move a file within one folder over a name."""
        with self._parent(source, "rename") as (parent, name):
            os.rename(name, target.rsplit(b"/", 1)[-1], src_dir_fd=parent, dst_dir_fd=parent)

    def remove(self, path: bytes) -> None:
        """Remove a file or a symlink."""
        with self._parent(path, "remove") as (parent, name):
            os.unlink(name, dir_fd=parent)

    def symlink(self, path: bytes, target: bytes) -> None:
        """Create a symlink; where it points to is not looked at."""
        with self._parent(path, "create") as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def set_link_owner(self, path: bytes, uid: int, gid: int) -> None:
        """Give a symlink to an owner."""
        with self._parent(path, "change") as (parent, name):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    def set_link_time(self, path: bytes, mtime_ns: int) -> None:
        """Set a symlink's modification time."""
        with self._parent(path, "change") as (parent, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int]:
        """Give the descriptor of a folder below."""
        with self._typing(path, "open"):
            descriptor = open_beneath(self._folder, path or b".", _FOLDER)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Make everything on the folder's file system durable."""
        with self._typing(b".", "sync"):
            if _libc.syncfs(ctypes.c_int(self._folder)) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))

    @contextmanager
    def _parent(self, path: bytes, verb: str) -> Iterator[tuple[int, bytes]]:
        """Give the descriptor of the folder that a path lies in, and the path's last component."""
        above, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            raise ConfinementError(
                "unable to {verb} {path}: it would leave the target {target}", verb=verb, path=repr(path),
                target=self.path,
            )
        with self._typing(path, verb), self.folder(above) as parent:
            yield parent, name

    @contextmanager
    def _typing(self, path: bytes, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._typed(error, verb, path) from error

    def _typed(self, error: OSError, verb: str, path: bytes) -> Exception:
        fields = {"verb": verb, "path": os.fsdecode(path), "target": self.path, "reason": os.strerror(error.errno or 0)}
        if error.errno in (errno.ELOOP, errno.EXDEV):
            return ConfinementError(
                "unable to {verb} {path}: it would leave the target {target}",
                "somebody put a symlink there; restore into a new, empty folder", **fields,
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return NoSpaceError(
                "unable to {verb} {path} in {target}: {reason}",
                "free space there and run the same command with --resume", **fields,
            )
        if error.errno == errno.ENOENT:
            return NotFoundError("unable to {verb} {path} in {target}: it does not exist", **fields)
        if error.errno == errno.EBADF:
            return InvariantError(f"{verb}: the target was closed")
        return StorageError(
            "unable to {verb} {path} in {target}: {reason}", "check the target's file system and rights", **fields
        )
