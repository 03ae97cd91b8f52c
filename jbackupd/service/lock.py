"""The lock of a state folder: one daemon, or one --local command, at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from jbackupd.model.errors import BusyError, StorageError

LOCK_NAME = "lock"


@contextlib.contextmanager
def state_lock(state: str) -> Iterator[None]:
    """Hold the lock of a state folder; the kernel lets go of it whenever and however this process ends.

    Args:
        state: The folder; created (mode 0700) if it is missing.

    Raises:
        BusyError: Another process holds it; the message names its process id.
        StorageError: The folder or the file cannot be used.
    """
    path = os.path.join(state, LOCK_NAME)
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            "unable to open {path}: {reason}", "check that the service user owns the state folder",
            path=path, reason=os.strerror(error.errno or 0),
        ) from error
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            "unable to use {path}: process {pid} holds it",
            "if it is the daemon, leave out --local, or stop it with 'systemctl stop jbackupd'",
            path=path, pid=_holder(descriptor),
        ) from error
    # For people and for the message above only; the lock itself is the kernel's.
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return text if text.isdigit() else "?"
