"""What a backup asks of a source: items in path order, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from jbackupd.model.records import EntryType, Unreadable


class UnreadableError(Exception):
    """An item in scope cannot be read; the run goes on and the point is incomplete.

    Not of the tree of errors: it never leaves a run, which records it as `Unreadable`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ItemReader(Protocol):
    """An open file."""

    def read(self, length: int) -> bytes:
        """Return up to length bytes; empty at the end.

        Raises:
            UnreadableError: Reading failed; what was read so far is not to be used.
            SourceError: The whole source failed, as a command that exits with an error.
        """
        ...

    def changed(self) -> bool:
        """Tell, after the end, whether the file changed while it was read."""
        ...


class SourceItem(msgspec.Struct, frozen=True):
    """One file, folder or symlink of a source. A struct, as there are millions: a dataclass takes 1.2 us, this 0.1.

    Attributes:
        path: As in a tree: relative, components joined by b"/".
        size: Bytes, or None where nobody knows before reading.
        opener: Opens a file; None for others.
    """

    path: bytes
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    size: int | None = 0
    target: bytes = b""
    opener: Opener | None = None

    def open(self) -> AbstractContextManager[ItemReader]:
        """Open a file for reading.

        Raises:
            UnreadableError: It cannot be opened, or is no longer what was listed.
        """
        assert self.opener is not None
        return self.opener(self)


class Opener(Protocol):
    """Opens an item of a source."""

    def __call__(self, item: SourceItem, /) -> AbstractContextManager[ItemReader]:
        """Open; raises UnreadableError."""
        ...


class Source(Protocol):
    """Where a dataset's data comes from."""

    kind: str
    """As in the configuration: "files", "command"."""

    def items(self) -> Iterator[SourceItem | Unreadable]:
        """Yield everything in scope in ascending order of path components, folders before what is in them.

        What is in scope and cannot be taken is yielded as Unreadable, never left out.

        Raises:
            SourceError: The source cannot be read at all.
        """
        ...
