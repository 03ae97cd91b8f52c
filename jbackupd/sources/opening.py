"""Opening and reading one file of a folder: the one that was listed, never what was put in its place."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

import msgspec

from jbackupd.sources.port import ItemReader, SourceItem, UnreadableError

# NONBLOCK: a file that was swapped for a FIFO must not hold the run for ever.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileOpener(msgspec.Struct, frozen=True):
    """Opens a file through its folder's descriptor, which is open as long as the item is current."""

    folder: int
    name: bytes
    listed: os.stat_result

    @contextlib.contextmanager
    def __call__(self, item: SourceItem) -> Iterator[ItemReader]:
        """Open the file; see `sources.port.Opener`."""
        try:
            descriptor = os.open(self.name, _FLAGS, dir_fd=self.folder)
        except OSError as error:
            raise UnreadableError(reason_of(error)) from error
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or (opened.st_dev, opened.st_ino) != (
                self.listed.st_dev, self.listed.st_ino
            ):
                raise UnreadableError("it was replaced between listing and opening")
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield FileReader(descriptor, opened, self.listed)
        finally:
            os.close(descriptor)


class FileReader:
    """Reads a file up to the size it had when it was opened: one that grows for ever ends."""

    def __init__(self, descriptor: int, opened: os.stat_result, listed: os.stat_result) -> None:
        self._descriptor = descriptor
        self._opened = opened
        self._listed = listed
        self._left = opened.st_size
        self._other_size = False

    def read(self, length: int) -> bytes:
        """Return up to length bytes; empty at the end."""
        try:
            # At the end one byte more is asked for: some file systems name a size that is not the content's.
            block = os.read(self._descriptor, min(length, self._left) or 1)
        except OSError as error:
            raise UnreadableError(reason_of(error)) from error
        if bool(block) != bool(self._left):
            self._other_size = True
            return b""
        self._left -= len(block)
        return block

    def changed(self) -> bool:
        """Tell whether the file is another one than when it was listed."""
        now = os.fstat(self._descriptor)
        return self._other_size or any(
            (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (s.st_size, s.st_mtime_ns, s.st_ctime_ns)
            for s in (self._opened, self._listed)
        )


def reason_of(error: OSError) -> str:
    """Return why a call failed, in the system's words."""
    return os.strerror(error.errno) if error.errno else str(error)
