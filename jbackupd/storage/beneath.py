"""Path operations that cannot leave a folder, whatever its content or a name in a vault tries.

Every step is one openat2 with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS, then calls
on the descriptor. So neither "..", nor an absolute path, nor a symlink that lies in the target, nor
one that is swapped in meanwhile leads outside.

Source: openat2(2), Linux 5.6; renameat2(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from jbackupd.model.errors import ConfinementError, InvariantError, NoSpaceError, NotFoundError, StorageError

_OPENAT2 = 437  # The same number on every architecture: it is newer than the unified table.
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
_RENAME_NOREPLACE = 1
_PATH_BYTES_MAX = 4000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)


def open_beneath(folder: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open a path below a folder and return its descriptor.

    Args:
        folder: Descriptor of the folder that must not be left.
        path: Relative; b"." for the folder itself.

    Raises:
        OSError: As the kernel says; ELOOP and EXDEV mean that the path would leave the folder.
    """
    if b"\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
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


class Inside:
    """A folder below a target, held open: what is done here is done to names in it, and follows no symlink.

    Args:
        descriptor: The folder's; whoever made this closes it.
        path: The folder's path below the target, for messages.
        target: The target, for messages.
    """

    def __init__(self, descriptor: int, path: bytes, target: str) -> None:
        self.descriptor = descriptor
        self._path = path
        self._target = target

    def names(self) -> list[bytes]:
        """Return what is in the folder, sorted."""
        with typing("list", self._path or b".", self._target):
            return sorted(map(os.fsencode, os.listdir(self.descriptor)))

    def status(self, name: bytes) -> os.stat_result | None:
        """Return what has a name, or None if nothing has."""
        try:
            _check_name(name)
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._typed(error, "look at", name) from error

    def create(self, name: bytes, *, readable: bool = False) -> int:
        """Create a new file, mode 0600, and return its descriptor."""
        access = os.O_RDWR if readable else os.O_WRONLY
        try:
            _check_name(name)
            return os.open(name, access | _NEW_FILE, 0o600, dir_fd=self.descriptor)
        except OSError as error:
            raise self._typed(error, "create", name) from error

    def open_file(self, name: bytes, *, writable: bool = False) -> int:
        """Open an existing file and return its descriptor; a FIFO does not block."""
        with self._typing("open", name):
            access = os.O_RDWR if writable else os.O_RDONLY
            return os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor)

    def make_folder(self, name: bytes, *, reopen: bool = False) -> bool:
        """Create a folder, mode 0700, if there is none; return whether it is new.

        Args:
            name: The folder's.
            reopen: Give its owner all rights on one that is there.

        Raises:
            ConfinementError: There is a symlink of that name.
            StorageError: There is something else of that name.
        """
        with self._typing("create", name):
            try:
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
            except FileExistsError:
                # Opening it shows whether it is a folder of ours or a link that was put there.
                found = open_beneath(self.descriptor, name, os.O_PATH | os.O_DIRECTORY)
                try:
                    mode = os.fstat(found).st_mode & 0o7777
                    if reopen and mode & 0o700 != 0o700:
                        os.chmod(f"/proc/self/fd/{found}", mode | 0o700)
                finally:
                    os.close(found)
                return False
            return True

    def rename(self, source: bytes, target: bytes) -> None:
        """Give a file another name; what has that name is replaced."""
        try:
            _check_name(source)
            _check_name(target)
            os.rename(source, target, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except OSError as error:
            raise self._typed(error, "rename", source) from error

    def rename_to_new(self, source: bytes, target: bytes) -> bool:
        """Give a file a name that nothing has; false when something has it, or the file system cannot tell."""
        try:
            _check_name(source)
            _check_name(target)
        except OSError as error:
            raise self._typed(error, "rename", source) from error
        # One call instead of a look and a rename, and nothing can come in between.
        folder = ctypes.c_int(self.descriptor)
        if _renameat2 is None:
            return False
        return not _renameat2(folder, source, folder, target, ctypes.c_uint(_RENAME_NOREPLACE))

    def sync(self) -> None:
        """Make the names in the folder durable."""
        with typing("sync", self._path or b".", self._target):
            os.fsync(self.descriptor)

    def remove(self, name: bytes) -> None:
        """Remove a file or a symlink."""
        with self._typing("remove", name):
            os.unlink(name, dir_fd=self.descriptor)

    def symlink(self, name: bytes, target: bytes) -> None:
        """Create a symlink; where it points to is not looked at."""
        with self._typing("create", name):
            os.symlink(target, name, dir_fd=self.descriptor)

    def set_link_owner(self, name: bytes, uid: int, gid: int) -> None:
        """Give a symlink to an owner."""
        with self._typing("change", name):
            os.chown(name, uid, gid, dir_fd=self.descriptor, follow_symlinks=False)

    def set_link_time(self, name: bytes, mtime_ns: int) -> None:
        """Set a symlink's modification time."""
        with self._typing("change", name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self.descriptor, follow_symlinks=False)

    def _typing(self, verb: str, name: bytes) -> _Typing:
        return _Typing(verb, self._path, self._target, name)

    def _typed(self, error: OSError, verb: str, name: bytes) -> Exception:
        return _typed(error, verb, self._path + b"/" + name if self._path else name, self._target)


class Beneath:
    """A folder that nothing done here leaves. Close it after use.

    Args:
        path: The folder; it must exist.

    Raises:
        StorageError: It cannot be opened, or the kernel is older than 5.6.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with typing("open", b".", path):
            self._folder = os.open(path, _FOLDER)
            try:
                os.close(open_beneath(self._folder, b".", _FOLDER))
            except OSError as error:
                os.close(self._folder)
                if error.errno != errno.ENOSYS:
                    raise
                raise StorageError(
                    "unable to restore safely: this kernel ({release}) has no openat2",
                    "use Linux 5.6 or newer; a unit of systemd must not have RestrictSUIDSGID=",
                    release=platform.release(),
                ) from error

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)

    @contextmanager
    def inside(self, path: bytes) -> Iterator[Inside]:
        """Give a folder below; b"" is the target itself.

        Raises:
            ConfinementError: Something on the way is a symlink, or leaves the target.
            NotFoundError: It does not exist.
        """
        with typing("open", path, self.path):
            descriptor = open_beneath(self._folder, path or b".", _FOLDER)
        try:
            yield Inside(descriptor, path, self.path)
        finally:
            os.close(descriptor)

    def status(self, path: bytes) -> os.stat_result | None:
        """Return what is at a path; None if nothing is."""
        above, _, name = path.rpartition(b"/")
        try:
            with self.inside(above) as inside:
                return inside.status(name)
        except NotFoundError:
            return None

    def open_file(self, path: bytes) -> int:
        """Open an existing file for reading and return its descriptor."""
        above, _, name = path.rpartition(b"/")
        with self.inside(above) as inside:
            return inside.open_file(name)

    def sync(self) -> None:
        """Make everything on the folder's file system durable."""
        with typing("sync", b".", self.path):
            sync_file_system(self._folder)


def sync_file_system(descriptor: int) -> None:
    """Make everything durable on the file system of an open file or folder.

    Raises:
        OSError: As the kernel says.
    """
    if _libc.syncfs(ctypes.c_int(descriptor)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class _Typing:
    """Types what the system says. Not a generator: a million small files pass several of these each."""

    __slots__ = ("_name", "_path", "_target", "_verb")

    def __init__(self, verb: str, path: bytes, target: str, name: bytes | None = None) -> None:
        self._verb = verb
        self._path = path
        self._target = target
        self._name = name

    def __enter__(self) -> None:
        if self._name is not None:
            try:
                _check_name(self._name)
            except OSError as error:
                self.__exit__(OSError, error, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (OSError, OverflowError)):
            path = self._path
            if self._name is not None:
                path = path + b"/" + self._name if path else self._name
            raise _typed(error, self._verb, path, self._target) from error


def typing(verb: str, path: bytes, target: str) -> _Typing:
    """Turn what the system says about a path below a target into an error of ours, within a `with` block."""
    return _Typing(verb, path, target)


def _check_name(name: bytes) -> None:
    if name in (b"", b".", b"..") or b"/" in name:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    if b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _typed(error: OSError | OverflowError, verb: str, path: bytes, target: str) -> Exception:
    code = error.errno if isinstance(error, OSError) else None
    fields = {
        "verb": verb, "path": os.fsdecode(path), "target": target, "reason": os.strerror(code) if code else str(error)
    }
    if code in (errno.ELOOP, errno.EXDEV):
        return ConfinementError(
            "unable to {verb} {path}: it would leave the target {target}",
            "somebody put a symlink there; restore into a new, empty folder", **fields,
        )
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpaceError(
            "unable to {verb} {path} in {target}: {reason}",
            "free space there and run the same command with --resume", **fields,
        )
    if code == errno.ENOENT:
        return NotFoundError("unable to {verb} {path} in {target}: it does not exist", **fields)
    if code == errno.EBADF:
        return InvariantError(f"{verb}: the target was closed")
    return StorageError(
        "unable to {verb} {path} in {target}: {reason}", "check the target's file system and rights", **fields
    )
