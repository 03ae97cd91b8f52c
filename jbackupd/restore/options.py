"""What a restore is asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import JbackupdError
from jbackupd.model.records import Extent, TreeEntry


class RestorablePoint(Protocol):
    """An open point, as far as a restore needs it."""

    content_hash: ContentHash

    def entries(self) -> Iterator[TreeEntry]:
        """Yield the entries in path order; raises DamageError."""
        ...

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield bytes; raises DamageError."""
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


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not restored as it was."""

    path: bytes
    error: JbackupdError


@dataclass(slots=True)
class RestoreResult:
    """What was restored; everything counted was durable when the restore returned.

    Attributes:
        bytes: Of the files that were placed.
        bytes_read: For files that were placed, are under way, or failed: how far the work is.
        kept: Files that were there already and right.
        skipped: Files that were left as they were because of the conflict rule.
        owners_not_set: Entries that now belong to who restored them.
        setuid_dropped: Files whose setuid or setgid bit was taken away.
    """

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    bytes: int = 0
    bytes_read: int = 0
    kept: int = 0
    skipped: int = 0
    owners_not_set: int = 0
    setuid_dropped: int = 0
    problems: list[Problem] = field(default_factory=list)
    tree_error: JbackupdError | None = None
    """Set when the point's tree could not be read to its end."""

    @property
    def exit_code(self) -> int:
        """0, or the exit code of the gravest problem: damage before anything else."""
        errors = [problem.error for problem in self.problems]
        if self.tree_error is not None:
            errors.append(self.tree_error)
        codes = {error.exit_code for error in errors}
        return 4 if 4 in codes else max(codes, default=0)
