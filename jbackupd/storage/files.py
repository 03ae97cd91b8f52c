"""The port to a file system, and its driver for the real one.

Everything that must survive a crash (vault, journals, keyring, incoming objects) goes through
`Files`, so that the crash rig can run the real code on a file system in memory that forgets
what was not synced. Calls block; none is atomic or durable unless it says so. Paths are
relative to the driver's root, joined by "/", never with "." or ".." components.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Protocol

from jbackupd.model.errors import BusyError, JbackupdError, NoSpaceError, NotFoundError, StorageError

_ZEROS_BYTES = 1 << 20


class Handle(Protocol):
    """An open file that is being written."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the bytes; not durable."""
        ...

    def sync(self) -> None:
        """Make the file's bytes durable; its name is durable only after `sync_folder`."""
        ...

    def close(self) -> None:
        """Close; may be called twice."""
        ...


class Files(Protocol):
    """A file system below one root. Raises NotFoundError, NoSpaceError, StorageError only."""

    def read(self, path: str) -> bytes:
        """Return a whole file."""
        ...

    def read_at(self, path: str, offset: int, length: int) -> bytes:
        """Return up to length bytes from an offset; shorter only at the file's end."""
        ...

    def size(self, path: str) -> int:
        """Return a file's length in bytes."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        ...

    def names(self, path: str) -> list[str]:
        """Return a folder's entries, sorted; a missing folder is an error, never an empty list."""
        ...

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents, durable, mode 0700; harmless if there."""
        ...

    def create(self, path: str) -> Handle:
        """Create a new file, mode 0600; an existing one is an error."""
        ...

    def append(self, path: str) -> Handle:
        """Open a file for appending; creates it if it is missing."""
        ...

    def truncate(self, path: str, length: int) -> None:
        """Cut a file to a length and sync it."""
        ...

    def overwrite(self, path: str) -> None:
        """Write zeros over all bytes of a file, in place, and sync it."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Move a file over a name, atomically; durable only after `sync_folder` of both folders."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; durable only after `sync_folder`; a missing file is an error."""
        ...

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        ...


@contextlib.contextmanager
def _typed(verb: str, path: str) -> Iterator[None]:
    """Turn OSError into our tree, once, here."""
    try:
        yield
    except JbackupdError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError("unable to {verb} {path}: it does not exist", verb=verb, path=path) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpaceError(
                "unable to {verb} {path}: {reason}",
                "free space on this file system, then run the same command again; what was committed is safe",
                verb=verb, path=path, reason=reason,
            ) from error
        if error.errno == errno.EWOULDBLOCK:
            raise BusyError("unable to {verb} {path}: it is in use", verb=verb, path=path) from error
        raise StorageError(
            "unable to {verb} {path}: {reason}",
            "check the disk and that the service user may use this path",
            verb=verb, path=path, reason=reason,
        ) from error


class _PosixHandle:
    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        with _typed("write", self._path):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        with _typed("sync", self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with _typed("close", self._path):
                os.close(descriptor)


class PosixFiles:
    """`Files` on the real file system.

    Args:
        root: Folder that all paths are relative to; created on first `make_folder`.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self._durable_folders: set[str] = set()

    def _at(self, path: str) -> str:
        return os.path.join(self.root, path) if path else self.root

    def read(self, path: str) -> bytes:
        """Return a whole file."""
        with _typed("read", self._at(path)), open(self._at(path), "rb") as file:
            return file.read()

    def read_at(self, path: str, offset: int, length: int) -> bytes:
        """Return up to length bytes from an offset; shorter only at the file's end."""
        with _typed("read", self._at(path)), open(self._at(path), "rb", buffering=0) as file:
            pieces: list[bytes] = []
            while length:
                piece = os.pread(file.fileno(), length, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, path: str) -> int:
        """Return a file's length in bytes."""
        with _typed("stat", self._at(path)):
            return os.stat(self._at(path)).st_size

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder is there."""
        with _typed("stat", self._at(path)):
            try:
                os.stat(self._at(path))
            except FileNotFoundError:
                return False
            return True

    def names(self, path: str) -> list[str]:
        """Return a folder's entries, sorted."""
        with _typed("list", self._at(path)):
            return sorted(os.listdir(self._at(path)))

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents, durable."""
        if path in self._durable_folders:
            return
        full = self._at(path)
        with _typed("create", full):
            for folder in reversed(self._unsure_folders(full)):
                try:
                    os.mkdir(folder, 0o700)
                except FileExistsError:
                    if not os.path.isdir(folder):
                        raise
                _sync_folder(os.path.dirname(folder))
        self._durable_folders.add(path)

    def _unsure_folders(self, full: str) -> list[str]:
        """Return the folders, deepest first, that are missing or may not be durable.

        One that is there may have been made by a process that was killed before it synced. A root
        that is there was made by somebody else, in a folder that we may not be allowed to open.
        """
        folders = [full]
        while folders[-1] != self.root:
            folders.append(os.path.dirname(folders[-1]))
        if os.path.isdir(self.root):
            folders.pop()
        while folders and not os.path.isdir(os.path.dirname(folders[-1])):
            folders.append(os.path.dirname(folders[-1]))
        return folders

    def create(self, path: str) -> Handle:
        """Create a new file; an existing one is an error."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        with _typed("create", self._at(path)):
            return _PosixHandle(self._at(path), os.open(self._at(path), flags, 0o600))

    def append(self, path: str) -> Handle:
        """Open a file for appending; creates it if it is missing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with _typed("open", self._at(path)):
            return _PosixHandle(self._at(path), os.open(self._at(path), flags, 0o600))

    def truncate(self, path: str, length: int) -> None:
        """Cut a file to a length and sync it."""
        with _typed("truncate", self._at(path)):
            descriptor = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, length)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def overwrite(self, path: str) -> None:
        """Write zeros over all bytes of a file, in place, and sync it."""
        with _typed("overwrite", self._at(path)):
            descriptor = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
            try:
                left = os.fstat(descriptor).st_size
                while left:
                    left -= os.write(descriptor, bytes(min(left, _ZEROS_BYTES)))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Move a file over a name, atomically."""
        with _typed("rename", self._at(source)):
            os.rename(self._at(source), self._at(target))

    def remove(self, path: str) -> None:
        """Remove a file."""
        with _typed("remove", self._at(path)):
            os.unlink(self._at(path))

    def free_bytes(self) -> int | None:
        """Return how many bytes may still be written to the disk of the root; None if nobody can tell."""
        try:
            status = os.statvfs(self.root)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        with _typed("sync", self._at(path)):
            _sync_folder(self._at(path))


def _sync_folder(full: str) -> None:
    descriptor = os.open(full, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
