"""All files of an overlay that are not complete, and the journal of what they have.

    FOLDER/tree/...          the files of the point, as far as they are there; at the end whole and independent
    FOLDER/lazy/NNN.SIZE     second names of the files that lack something: number in the point, size in the point
    FOLDER/journal           what is at hand of them

A file loses its second name when it is complete and that is durable. So the tree is whole when `lazy` is empty, and
whoever finds it so needs neither the point nor its keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jbackupd.model.errors import BusyError, JbackupdError
from jbackupd.restore.lazy import Contents, LazyFile
from jbackupd.restore.lazyjournal import LazyJournal
from jbackupd.storage.beneath import sync_file_system

TREE, LAZY = "tree", "lazy"
WAIT_SECONDS = 5.0
"""A mount whose daemon was killed ends by itself, as fast as it can make durable what it has."""
@dataclass(slots=True)
class _Second:
    """A second name."""

    number: int
    size: int
    inode: int

    @property
    def name(self) -> str:
        return f"{self.number}.{self.size}"


class LazyFiles:
    """The incomplete files of one overlay folder; safe for several threads. Close it after use.

    Args:
        folder: Whose tree stands: see `lazyjournal.begin`.
        contents: Where what is missing comes from.

    Raises:
        BusyError: Another process uses it.
        DamageError: The journal is damaged.
        NotFoundError: No tree stands there.
    """

    def __init__(self, folder: str, contents: Contents) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._open: dict[int, LazyFile] = {}
        self._folder = _only_ours(os.path.join(folder, LAZY))
        try:
            self._journal = LazyJournal(folder)
        except JbackupdError:
            os.close(self._folder)
            raise
        self._seconds: dict[int, _Second] = {}
        self._numbers: dict[int, int] = {}
        for name in os.listdir(self._folder):
            self._find(name)

    @property
    def label(self) -> str:
        """Which point it is."""
        return self._journal.label

    def _find(self, name: str) -> None:
        """Look at a second name of an earlier process."""
        status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        number, size = map(int, name.split("."))
        second = _Second(number, size, status.st_ino)
        known = self._journal.known[second.number]
        # It may have been cut off and killed before that was noted.
        known.limit = min(second.size if known.limit is None else known.limit, status.st_size)
        if status.st_nlink == 1 or not known.missing_bytes:
            os.unlink(name, dir_fd=self._folder)
        else:
            self._seconds[second.number] = second
            self._numbers[second.inode] = second.number

    def numbers(self) -> list[int]:
        """Return the files that lack something, in the order of the point."""
        with self._lock:
            return sorted(n for n in self._seconds if n not in self._open or not self._open[n].is_complete)

    def missing_bytes(self) -> int:
        """Return how much is missing in all, in whole blocks."""
        with self._lock:
            return sum((self._open.get(n) or self._journal.known[n]).missing_bytes for n in self._seconds)

    def number_of(self, inode: int) -> int | None:
        """Return which file of the point has an inode number and perhaps lacks something; None for any other."""
        return self._numbers.get(inode)

    def acquire(self, number: int) -> LazyFile | None:
        """Return a file that perhaps lacks something; it stays open until `release`. None if it lacks nothing."""
        with self._lock:
            second = self._seconds.get(number)
            if second is None:
                return None
            file = self._opened(second)
            file.handles += 1
            return file

    def release(self, file: LazyFile) -> None:
        """Let a file go; one that is complete, or has no name in the tree any more, is done with."""
        with self._lock:
            file.handles -= 1
            if not file.handles:
                with contextlib.suppress(OSError):
                    # What could not be made durable keeps its second name.
                    self._settle(file)

    def sync_together(self, files: Sequence[LazyFile]) -> None:
        """Make files durable with one sync of their file system: thousands of small ones take no longer than one.

        Raises:
            OSError: It failed.
        """
        with contextlib.ExitStack() as held:
            blocks = [(file.number, held.enter_context(file.syncing())) for file in files]
            sync_file_system(self._folder)
            self._journal.note_valid([each for each in blocks if each[1]])

    def forsake(self, number: int) -> None:
        """Note that a file may have lost its last name in the tree, durably."""
        with self._lock:
            second = self._seconds.get(number)
            if second is not None and not (file := self._opened(second)).handles:
                self._settle(file)

    def close(self) -> None:
        """Make everything durable, and close; the next who opens it goes on from here.

        Raises:
            OSError: Something could not be made durable.
        """
        failed: OSError | None = None
        with self._lock:
            for file in list(self._open.values()):
                try:
                    file.sync()
                    self._settle(file)
                except OSError as error:
                    failed = failed or error
            self.abandon()
        if failed is not None:
            raise failed

    def abandon(self) -> None:
        """Close without making anything durable: as if the process was killed."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        os.close(self._folder)
        self._journal.close()

    def _opened(self, second: _Second) -> LazyFile:
        file = self._open.get(second.number)
        if file is None:
            known = self._journal.known[second.number]
            assert known.limit is not None
            file = self._open[second.number] = LazyFile(
                second.number, self._open_anyway(second.name), known.limit, known.valid, self._contents,
                note_valid=self._journal.note_valid, note_limit=self._journal.note_limit,
            )
        return file

    def _open_anyway(self, name: str) -> int:
        """Open a file of ours, also one whose owner may not write it."""
        try:
            return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except PermissionError:
            mode = os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode & 0o7777
            os.chmod(name, mode | 0o600, dir_fd=self._folder)
            try:
                return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
            finally:
                os.chmod(name, mode, dir_fd=self._folder)

    def _settle(self, file: LazyFile) -> None:
        """Take the second name of a file that needs it no more; the lock is held."""
        status = os.fstat(file.descriptor)
        forsaken = status.st_nlink == 1
        if not (file.is_complete or forsaken):
            return
        if not forsaken:
            file.sync()
        second = self._seconds.pop(file.number)
        os.unlink(second.name, dir_fd=self._folder)
        del self._numbers[second.inode], self._open[file.number]
        self._journal.known.pop(file.number, None)
        file.close()

def _only_ours(folder: str) -> int:
    """Open a folder that one process at a time uses; one that is ending is waited for.

    Raises:
        BusyError: It is in use.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(descriptor)
                raise BusyError(
                    "the overlay in {folder} is in use", "unmount it where it is mounted", folder=folder
                ) from error
            time.sleep(0.05)
        else:
            return descriptor
