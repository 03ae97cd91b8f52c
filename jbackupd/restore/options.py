"""What a restore is asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Protocol

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import JbackupdError
from jbackupd.model.records import Extent, TreeEntry


class ContentReading(Protocol):
    """A reading that was planned; used by one thread, closed by whoever planned it."""

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield bytes; raises DamageError."""
        ...

    def close(self) -> None:
        """Let go of what was planned; may be called twice."""
        ...


class RestorablePoint(Protocol):
    """An open point, as far as a restore needs it."""

    content_hash: ContentHash

    def entries(self) -> Iterator[TreeEntry]:
        """Yield the entries in path order; raises DamageError."""
        ...

    def expect(self, extents: Iterable[Extent]) -> ContentReading:
        """Hear what will be read next, in this order; looks at no more of it than is worth planning."""
        ...


class Conflict(Enum):
    """What to do with something that is in the target already."""

    REFUSE = "refuse"
    """The target must be empty or new."""
    SKIP = "skip"
    """What is there stays."""
    NEWER = "newer"
    """What is there stays unless the point's file is newer."""
    OVERWRITE = "overwrite"
    """What is there is replaced."""
    RENAME = "rename"
    """What is there is kept under another name."""
    IN_PLACE = "in-place"
    """What is there becomes what the point has, and only what differs is written."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore.

    Attributes:
        paths: What to restore, with everything below; empty for the whole point.
        conflict: What to do with what is there; a resumed restore keeps the rule that it began with.
        resume: Go on with an interrupted restore: what is there and right is kept, leftovers are removed.
        label: The point's name; a restore is only resumed with the same.
        allow_setuid: Keep setuid and setgid bits.
        set_owner: Give files to the owners that they had; needs root.
    """

    paths: tuple[bytes, ...] = ()
    conflict: Conflict = Conflict.REFUSE
    resume: bool = False
    label: str = ""
    allow_setuid: bool = False
    set_owner: bool = False


PROBLEMS_MAX = 10_000
"""A target that takes no file at all must not fill memory with a million reasons."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not restored as it was."""

    path: bytes
    error: JbackupdError


@dataclass(slots=True)
class Tally:
    """Counts of some entries, as in `RestoreResult`; of one thread."""

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    bytes: int = 0
    bytes_written: int = 0
    kept: int = 0
    skipped: int = 0
    owners_not_set: int = 0
    setuid_dropped: int = 0


_COUNTED = tuple(one.name for one in fields(Tally))


@dataclass(slots=True)
class RestoreResult:
    """What was restored; everything counted was durable when the restore returned.

    Attributes:
        bytes: Of the files that were placed.
        bytes_read: For files that were placed, kept or skipped, are under way, or failed: how far the work is.
        bytes_written: Of the files that were placed: less than `bytes` where a file was changed in place.
        kept: Files that were there already and right.
        skipped: Files that were left as they were because of the conflict rule.
        owners_not_set: Entries that now belong to who restored them.
        setuid_dropped: Files whose setuid or setgid bit was taken away.
        problems: At most PROBLEMS_MAX.
        problems_more: How many there were beyond those.
    """

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    bytes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    kept: int = 0
    skipped: int = 0
    owners_not_set: int = 0
    setuid_dropped: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_more: int = 0
    tree_error: JbackupdError | None = None
    """Set when the point's tree could not be read to its end."""
    _codes: set[int] = field(default_factory=set)

    def note(self, problems: Iterable[Problem]) -> None:
        """Note what was not restored as it was."""
        for problem in problems:
            self._codes.add(problem.error.exit_code)
            if len(self.problems) < PROBLEMS_MAX:
                self.problems.append(problem)
            else:
                self.problems_more += 1

    def count(self, more: Tally) -> None:
        """Add what some files came to."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    @property
    def exit_code(self) -> int:
        """0, or the exit code of the gravest problem: damage before anything else."""
        codes = set(self._codes)
        if self.tree_error is not None:
            codes.add(self.tree_error.exit_code)
        return 4 if 4 in codes else max(codes, default=0)
