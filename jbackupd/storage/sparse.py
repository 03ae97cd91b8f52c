"""A file that is written at any place, with holes; what it lacks is zeros. Blocking, for several threads."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator

from jbackupd.model.errors import BusyError, JbackupdError, NoSpaceError, NotFoundError, StorageError

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
ZEROS_BYTES = 1 << 20


class SparseFile:
    """One open file. Close it after use.

    A failed sync is final: what it dropped may never be written, and a second sync may report success. So from then
    on nothing is written or synced any more.

    Args:
        path: Whole path; made, mode 0600, when it is not there.
        alone: Refuse where another process, or another one of these, has it open so.

    Raises:
        BusyError: Somebody else has it.
        StorageError: It cannot be opened.
    """

    def __init__(self, path: str, *, alone: bool = False) -> None:
        self.path = path
        self._failed = False
        with typed("open", path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if alone:
                self._take()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How long it is."""
        with typed("stat", self.path):
            return os.fstat(self._descriptor).st_size

    def set_size(self, size: int) -> None:
        """Cut it, or let it end in a hole."""
        with self._writing("truncate"):
            os.ftruncate(self._descriptor, size)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes; shorter only at the file's end."""
        pieces: list[bytes] = []
        with typed("read", self.path):
            while length:
                piece = os.pread(self._descriptor, length, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of the bytes; not durable.

        Raises:
            NoSpaceError: They do not fit; some of them may be there.
        """
        view = memoryview(data)
        with self._writing("write"):
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written

    def punch(self, offset: int, length: int) -> None:
        """Let bytes be zeros, and give their room back where the file system can; not durable."""
        if not length:
            return
        with self._writing("write"):
            done = _libc.fallocate(
                self._descriptor, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_long(offset), ctypes.c_long(length)
            )
            code = ctypes.get_errno()
            if done and code not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise OSError(code, os.strerror(code))
        if done:
            for begin in range(offset, offset + length, ZEROS_BYTES):
                self.write(begin, bytes(min(ZEROS_BYTES, offset + length - begin)))

    def sync(self) -> None:
        """Make everything that was written durable; the file's name is so only after a sync of its folder.

        Raises:
            StorageError: It failed, now or before.
        """
        with self._writing("sync"):
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                self._failed = True
                raise

    def close(self) -> None:
        """Close; harmless twice."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                "unable to use {path}: somebody else writes it", "end the other export or run first", path=self.path
            ) from error

    @contextlib.contextmanager
    def _writing(self, verb: str) -> Iterator[None]:
        if self._failed:
            raise StorageError(
                "unable to {verb} {path}: a sync of it failed before", "check the disk, then begin again",
                verb=verb, path=self.path,
            )
        with typed(verb, self.path):
            yield


@contextlib.contextmanager
def typed(verb: str, path: str) -> Iterator[None]:
    """Turn what the system says about a file into an error of ours."""
    try:
        yield
    except JbackupdError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError("unable to {verb} {path}: it does not exist", verb=verb, path=path) from error
    except OSError as error:
        kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
        raise kind(
            "unable to {verb} {path}: {reason}", "check the file system and the rights of the user",
            verb=verb, path=path, reason=os.strerror(error.errno or 0),
        ) from error
