"""Who reads a vault, so that nothing is removed under them: locks of the kernel, which end with their process.

    STATE/leases/TENANT/NNNNNNNN     one empty file for each removal epoch; a reader holds the newest, shared
    STATE/leases/TENANT/retention    held alone by whoever decides what stays: reclaim, hold, unhold

A removal begins a new epoch and then wants the files of all earlier ones for itself. Readers of the new epoch see what
was stated and written before it, so they need nothing of what goes; only readers from before are waited for, and a
stream of new ones delays nobody. No time plays a part, and there is nothing to expire.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from jbackupd.model.errors import BusyError, StorageError
from jbackupd.model.ids import TenantId
from jbackupd.model.reasons import reason_of

FOLDER = "leases"
DECIDING = "retention"


@contextlib.contextmanager
def reading(state: str, tenant: TenantId) -> Iterator[None]:
    """Keep everything that can be read now until this ends.

    Where the state folder cannot be written there is no lease: nobody removes anything there either, and who does so
    from another account is noticed by typed errors.
    """
    with contextlib.ExitStack() as held:
        folder = _folder(state, tenant)
        while True:
            try:
                epoch = _newest(folder) or _begin(folder, 1)
                descriptor = os.open(_path(folder, epoch), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # removed since it was listed: a newer one is there
            except OSError:
                break
            held.callback(os.close, descriptor)
            if _locked(descriptor, fcntl.LOCK_SH) and _newest(folder) == epoch:
                break
        yield


@contextlib.contextmanager
def removing(state: str, tenant: TenantId) -> Iterator[bool]:
    """Begin a new epoch; yields whether all readers from before it have gone, and keeps new ones out of the old files.

    Raises:
        StorageError: The folder cannot be used.
    """
    folder = _folder(state, tenant)
    with contextlib.ExitStack() as held:
        try:
            newest = _begin(folder, (_newest(folder) or 0) + 1)
            earlier = [epoch for epoch in _epochs(folder) if epoch < newest]
            descriptors = [os.open(_path(folder, epoch), os.O_RDONLY | os.O_CLOEXEC) for epoch in earlier]
        except OSError as error:
            raise _unusable(folder, error) from error
        for descriptor in descriptors:
            held.callback(os.close, descriptor)
        alone = all(_locked(descriptor, fcntl.LOCK_EX) for descriptor in descriptors)
        yield alone
        if alone:
            for epoch in earlier:
                with contextlib.suppress(OSError):
                    os.unlink(_path(folder, epoch))


@contextlib.contextmanager
def deciding(state: str, tenant: TenantId) -> Iterator[None]:
    """Be the only one who says what stays and what goes.

    Raises:
        BusyError: A reclaim is deciding just now.
        StorageError: The folder cannot be used.
    """
    folder = _folder(state, tenant)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(os.path.join(folder, DECIDING), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        if not _locked(descriptor, fcntl.LOCK_EX):
            raise BusyError(
                "unable to change what stays of {tenant}: a reclaim is deciding just now",
                "run the same command again in a moment", tenant=tenant,
            )
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder(state: str, tenant: TenantId) -> str:
    return os.path.join(state, FOLDER, tenant)


def _path(folder: str, epoch: int) -> str:
    return os.path.join(folder, f"{epoch:08d}")


def _epochs(folder: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def _newest(folder: str) -> int | None:
    try:
        return max(_epochs(folder), default=None)
    except FileNotFoundError:
        return None


def _begin(folder: str, epoch: int) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.close(os.open(_path(folder, epoch), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return epoch


def _unusable(folder: str, error: OSError) -> StorageError:
    return StorageError(
        "unable to use {path}: {reason}", "check that the service user owns the state folder",
        path=folder, reason=reason_of(error),
    )
