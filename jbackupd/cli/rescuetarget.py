"""The folder that a rescue writes into: with nothing but the system's own calls, and never through a symlink."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jbackupd.codec.hashing import ContentHash
from jbackupd.format.tree import check_path
from jbackupd.model.errors import (
    ConfinementError,
    DamageError,
    JbackupdError,
    NoSpaceError,
    RefusedError,
    StorageError,
)
from jbackupd.model.records import EntryType, TreeEntry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Target:
    """A new folder that is written component by component, never through a symlink."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.listdir(path):
            raise RefusedError("unable to rescue into {target}: it is not empty", "name a new folder", target=path)
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._folders: list[TreeEntry] = []

    def place(self, entry: TreeEntry, content: Iterator[bytes], hashes: ContentHash) -> None:
        """Write one entry; a file only stays if its digest matches.

        Raises:
            FormatError: Its path would leave the folder; a decoder says so first, and this does not rely on it.
            NoSpaceError: The disk is full.
            StorageError: It cannot be written; others may.
        """
        check_path(entry.path)
        above, _, name = entry.path.rpartition(b"/")
        parent = self._open_folder(above)
        try:
            with _writing(entry.path):
                if entry.type is EntryType.FOLDER:
                    os.mkdir(name, 0o700, dir_fd=parent)
                    self._folders.append(entry)
                elif entry.type is EntryType.SYMLINK:
                    os.symlink(entry.target, name, dir_fd=parent)
                    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
                else:
                    self._write_file(entry, name, parent, content, hashes)
        finally:
            os.close(parent)

    def finish(self) -> None:
        """Give the folders their modes and times, deepest first."""
        for entry in reversed(self._folders):
            folder = self._open_folder(entry.path)
            try:
                with _writing(entry.path):
                    os.fchmod(folder, entry.mode & 0o1777)
                    os.utime(folder, ns=(entry.mtime_ns, entry.mtime_ns))
                    os.fsync(folder)
            finally:
                os.close(folder)

    def _open_folder(self, path: bytes) -> int:
        folder = os.dup(self._folder)
        for part in path.split(b"/") if path else ():
            try:
                below = os.open(part, _FOLDER, dir_fd=folder)
            except OSError as error:
                raise ConfinementError(
                    "unable to write below {path}: it is not a folder of this rescue", path=shown(path)
                ) from error
            finally:
                os.close(folder)
            folder = below
        return folder

    @staticmethod
    def _write_file(
        entry: TreeEntry, name: bytes, parent: int, content: Iterator[bytes], hashes: ContentHash
    ) -> None:
        partial = b".jb-partial-" + secrets.token_hex(8).encode()
        try:
            with open(os.open(partial, _NEW_FILE, 0o600, dir_fd=parent), "wb") as file:
                for piece in checked(entry, content, hashes):
                    file.write(piece)
                file.flush()
                os.fchmod(file.fileno(), stat.S_IMODE(entry.mode) & 0o777)
                os.utime(file.fileno(), ns=(entry.mtime_ns, entry.mtime_ns))
                os.fsync(file.fileno())
            os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)
        except (JbackupdError, OSError):
            with suppress(OSError):
                os.unlink(partial, dir_fd=parent)
            raise


def checked(entry: TreeEntry, content: Iterator[bytes], hashes: ContentHash) -> Iterator[bytes]:
    """Pass a file's content on, and fail after its end if it is not what was taken."""
    digest = hashes.file_digest()
    for piece in content:
        digest.update(piece)
        yield piece
    if digest.digest() != entry.digest:
        raise DamageError("the content of {path} is not what was taken", path=shown(entry.path))


@contextmanager
def _writing(path: bytes) -> Iterator[None]:
    """Say on what a write failed, and whether the disk is full."""
    try:
        yield
    except OSError as error:
        kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
        raise kind("unable to write {path}: {reason}", path=shown(path), reason=error.strerror) from error


def shown(path: bytes) -> str:
    """Return a path as text in which nothing can steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fsdecode(path))
