"""Mounting: the one place that knows libfuse. It is loaded by `mount` alone.

`serve` answers the kernel until the folder is unmounted or the process gets SIGINT, SIGTERM or SIGHUP. A process that
was killed leaves a folder on which every call fails with ENOTCONN; `clear_stale` takes such a mount away.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from jbackupd.model.errors import NotFoundError, RefusedError, StorageError

DEVICE = "/dev/fuse"
CACHE_SECONDS = 3600
"""Names and attributes change through the mount only: the kernel need not ask twice."""
_MNT_DETACH = 2
THREADS = 8
"""Calls that are answered at once: one that waits for a thin line must not stop the others."""
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
"""In the place of nanoseconds. Source: utimensat(2)."""
READ_BYTES = 1024 * 1024
"""The kernel reads ahead so much, and asks for so much at once where it can: each call costs the same."""


def check_mountable(folder: str) -> None:
    """Check that a folder can be mounted on.

    Raises:
        NotFoundError: There is no FUSE here, or no such folder.
        RefusedError: The folder is not empty.
        StorageError: It cannot be looked at.
    """
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise NotFoundError(
            "unable to mount: {device} cannot be used: {reason}",
            "install fuse3; in a container or a unit of systemd allow the device; without it use 'jbackupd restore'",
            device=DEVICE, reason=os.strerror(error.errno or 0),
        ) from error
    clear_stale(folder)
    try:
        names = os.listdir(folder)
    except FileNotFoundError as error:
        raise NotFoundError("there is no folder {folder}", "make it first", folder=folder) from error
    except OSError as error:
        raise StorageError(
            "unable to mount on {folder}: {reason}", "name an empty folder of yours", folder=folder,
            reason=os.strerror(error.errno or 0),
        ) from error
    if names or os.path.ismount(folder):
        raise RefusedError("the folder {folder} is not empty", "mount on an empty folder", folder=folder)


def clear_stale(folder: str) -> bool:
    """Take away what a killed process left mounted on a folder; tell whether there was something.

    Raises:
        StorageError: It could not be taken away.
    """
    try:
        # Of its attributes the kernel may still know some.
        os.statvfs(folder)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            return False
        unmount(folder)
        return True
    return False


def unmount(folder: str) -> None:
    """Unmount a folder, even while it is in use.

    Raises:
        StorageError: It could not be unmounted.
    """
    if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(folder), _MNT_DETACH) == 0:
        return
    # Without the right to unmount there is a program that has it.
    try:
        subprocess.run(
            ["fusermount3", "-u", "-z", "--", folder], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode("utf-8", "replace") if isinstance(error, subprocess.CalledProcessError) else error
        raise StorageError(
            "unable to unmount {folder}: {reason}", "try 'umount -l {folder}' as root", folder=folder,
            reason=str(said).strip()[-300:],
        ) from error


def caller() -> tuple[int, int]:
    """Return the user and group of whose call is being answered."""
    import mfusepy

    uid, gid, _ = mfusepy.fuse_get_context()
    return uid, gid


def serve(
    operations: Any, folder: str, *, name: str, writable: bool, ready: Callable[[], None] = lambda: None
) -> None:
    """Mount a folder and answer until it is unmounted. Blocks; from the main thread only.

    Args:
        operations: As mfusepy calls them.
        folder: As `check_mountable` wants it.
        name: Shown in the list of mounts.
        writable: Whether anything may be changed.
        ready: Called when the folder answers.

    Raises:
        StorageError: libfuse refused.
    """
    import mfusepy

    class Mounted(mfusepy.FUSE):  # type: ignore[misc]
        """Passes on what mfusepy 3.1 leaves out: flags of rename(2), handles of open files, special times."""

        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> Any:
            # RENAME_NOREPLACE must not replace: who asks for it asks again without it.
            return -errno.EINVAL if flags else super().rename_fuse_3(old, new, flags)

        def truncate_fuse_3(self, path: bytes | None, length: int, file: Any) -> Any:
            return self.operations.truncate(_text(path), length, _handle(file))

        def chmod_fuse_3(self, path: bytes | None, mode: int, file: Any) -> Any:
            return self.operations.chmod(_text(path), mode, _handle(file))

        def chown_fuse_3(self, path: bytes | None, uid: int, gid: int, file: Any) -> Any:
            return self.operations.chown(_text(path), _id(uid), _id(gid), _handle(file))

        def utimens_fuse_3(self, path: bytes | None, times: Any, file: Any) -> Any:
            both = _time(times.contents.actime), _time(times.contents.modtime)
            return self.operations.utimens(_text(path), both, _handle(file))

    logging.getLogger("fuse").setLevel(logging.CRITICAL)
    operations.use_ns = True
    operations.flag_nopath = operations.flag_nullpath_ok = True
    said = _Said()
    operations.init_with_config = lambda connection, _: _begin(connection, said, ready)
    allow = {"allow_other": True} if os.geteuid() == 0 else {}
    options = {
        "fsname": name.replace(",", "_"), "subtype": "jbackupd", "default_permissions": True, "kernel_cache": True,
        "attr_timeout": CACHE_SECONDS, "entry_timeout": CACHE_SECONDS, "hard_remove": True, "use_ino": writable,
        "ro": not writable, "max_threads": THREADS, **allow,
    }
    # libfuse goes to the root folder, since a file system must not keep another one busy.
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        Mounted(operations, folder, foreground=True, **{key: value for key, value in options.items() if value})
    except RuntimeError as error:
        if said.is_over:
            return  # It was mounted; libfuse calls it an error when a signal has ended it.
        raise StorageError(
            "unable to mount on {folder}: {reason}", "only root, or who owns the folder, may mount; no unit of systemd "
            "with NoNewPrivileges", folder=folder, reason=said.end() or str(error),
        ) from error
    finally:
        said.end()
        with contextlib.suppress(OSError):
            os.fchdir(before)
        os.close(before)


def _begin(connection: Any, said: _Said, ready: Callable[[], None]) -> None:
    said.end()
    if connection is not None:
        connection.max_readahead = READ_BYTES
    ready()


class _Said:
    """What libfuse and fusermount3 write to stderr while they mount: a reason if they fail, else of no interest."""

    def __init__(self) -> None:
        self._before = os.dup(2)
        self._taken = os.memfd_create("stderr")
        os.dup2(self._taken, 2)

    @property
    def is_over(self) -> bool:
        """Whether stderr is stderr again: the folder is mounted."""
        return self._before < 0

    def end(self) -> str:
        """Let stderr be stderr again; return what was written. May be called twice."""
        if self._before >= 0:
            os.dup2(self._before, 2)
            os.close(self._before)
            self._before = -1
        return os.pread(self._taken, 1000, 0).decode("utf-8", "replace").strip()


def _text(path: bytes | None) -> str | None:
    return None if path is None else os.fsdecode(path)


def _handle(file: Any) -> int | None:
    return file.contents.fh if file else None


def _id(number: int) -> int:
    """Return a user or group; -1, for none, comes as the greatest number."""
    return -1 if number == 0xFFFF_FFFF else number


def _time(moment: Any) -> int | None:
    """Return nanoseconds; None for a time that stays."""
    if moment.tv_nsec == _UTIME_OMIT:
        return None
    return time.time_ns() if moment.tv_nsec == _UTIME_NOW else moment.tv_sec * 1_000_000_000 + moment.tv_nsec
