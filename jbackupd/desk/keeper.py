"""Who keeps a desk's accounts while it is open: in memory, or in a file that commands change at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from jbackupd.desk.accounts import Account, Accounts, load_accounts, save_accounts
from jbackupd.model.errors import FormatError, RefusedError, StorageError
from jbackupd.storage.files import PosixFiles

_log = logging.getLogger("jbackupd.desk")


class Did(Enum):
    """What became of an account."""

    ADDED = "added"
    REMOVED = "removed"
    STOPPED = "stopped"
    ALLOWED = "allowed"
    GRANTED = "granted"
    """Another role, end or owner."""
    RESET = "reset"
    """Somebody else drew a new password."""
    CHOSE = "chose"
    """The owner chose a password."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between the accounts before and after."""

    did: Did
    account: Account


def changes_of(before: Accounts, after: Accounts) -> list[Change]:
    """Return what differs between two states of a desk's accounts, by name."""
    found = [Change(Did.REMOVED, account) for account in before if after.get(account.name) is None]
    for account in after:
        old = before.get(account.name)
        if old is None:
            found.append(Change(Did.ADDED, account))
            continue
        if old.stopped != account.stopped:
            found.append(Change(Did.STOPPED if account.stopped else Did.ALLOWED, account))
        if old.grant != account.grant:
            found.append(Change(Did.GRANTED, account))
        if old.salt != account.salt:
            found.append(Change(Did.RESET if account.first else Did.CHOSE, account))
    return found


Decide = Callable[[Accounts], Accounts]
Note = Callable[[list[Change]], None]
"""Records changes before they hold; what it raises stops them."""


class Keeper:
    """Keeps accounts in memory, for as long as the desk is open; may be used from several threads."""

    def __init__(self, accounts: Accounts) -> None:
        self._lock = threading.Lock()
        self._accounts = accounts

    @property
    def current(self) -> Accounts:
        """The accounts as they were seen last."""
        return self._accounts

    def refresh(self, note: Note) -> None:
        """See what others have changed; blocks."""

    def change(self, decide: Decide, note: Note) -> Accounts:
        """Replace the accounts by what is decided of them, recorded first; blocks.

        Raises:
            JbackupdError: It is refused, cannot be recorded or cannot be kept; nothing has changed.
        """
        with self._lock:
            after = decide(self._accounts)
            note(changes_of(self._accounts, after))
            self._accounts = after
            return after


class FileKeeper(Keeper):
    """Keeps accounts in a file, durably; several programs may change it.

    Args:
        files: Where, on this machine's disk.
        path: The file; a missing one holds no account.
        beside: Accounts of this process only, which never stand in the file.
    """

    def __init__(self, files: PosixFiles, path: str, *, beside: Iterable[Account] = ()) -> None:
        self._files = files
        self._path = path
        self._beside = tuple(beside)
        self._seen = self._identity()
        super().__init__(self._with_beside(load_accounts(files, path)))

    def refresh(self, note: Note) -> None:
        """See what others have changed; a glance at the file unless they have."""
        if self._identity() == self._seen:
            return
        with self._lock:
            self._read(note)

    def change(self, decide: Decide, note: Note) -> Accounts:
        """See `Keeper.change`; nobody else changes the file in between."""
        with self._lock, changing(self._files, self._path):
            self._read(note)
            if self._identity() != self._seen:
                raise RefusedError("the desk's accounts are not readable", "tell the operator: the file is damaged")
            after = decide(self._accounts)
            note(changes_of(self._accounts, after))
            kept = after
            for account in self._beside:
                kept = kept.without(account.name)
            save_accounts(self._files, self._path, kept)
            self._seen, self._accounts = self._identity(), self._with_beside(kept)
            return self._accounts

    def _read(self, note: Note) -> None:
        seen = self._identity()
        if seen == self._seen:
            return
        try:
            after = self._with_beside(load_accounts(self._files, self._path))
        except FormatError as error:
            # A counter goes on with the accounts that it knows; nothing is written over the damaged file.
            _log.error("%s", error)
            return
        note(changes_of(self._accounts, after))
        self._seen, self._accounts = seen, after

    def _with_beside(self, accounts: Accounts) -> Accounts:
        for account in self._beside:
            accounts = accounts.with_account(account)
        return accounts

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(os.path.join(self._files.root, self._path))
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def changing(files: PosixFiles, path: str) -> Iterator[None]:
    """Be the only one of all programs that changes a file of accounts; waits for the one that does, for milliseconds.

    Raises:
        StorageError: The lock beside it cannot be made.
    """
    lock = os.path.join(files.root, f"{path}.lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            "unable to lock the desk's accounts {path}: {reason}", "check that its folder exists and may be written",
            path=lock, reason=os.strerror(error.errno or 0),
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def stopped(accounts: Accounts, name: str, *, stop: bool) -> Accounts:
    """Return accounts with one stopped, or allowed again; without one of this name they stay as they are."""
    account = accounts.get(name)
    return accounts if account is None else accounts.with_account(replace(account, stopped=stop))
