"""Records that several floors share: what a point consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from jbackupd.model.ids import FrameId


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes inside the plaintext of a frame."""

    frame: FrameId
    offset: int
    length: int


class Encoding(IntEnum):
    """How a frame's plaintext became its payload; numbers are part of format 1."""

    STORED = 0
    ZSTD = 1
    ZSTD_PREFIX = 2


class Preset(StrEnum):
    """What a dataset's backups spend processor time on."""

    FAST = "fast"
    BALANCED = "balanced"
    THIN_LINE = "thin-line"


class Access(StrEnum):
    """How a dataset's files are read before they are restored."""

    STREAM = "stream"
    """From begin to end: long frames, the fewest bytes."""
    RANDOM = "random"
    """Here and there, as a disk image or a database is: short frames that need few others."""


class EntryType(IntEnum):
    """What a tree entry is; numbers are part of format 1."""

    FILE = 1
    FOLDER = 2
    SYMLINK = 3


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file, folder or symlink of a point.

    Attributes:
        path: Relative to the restore target, components joined by b"/", no empty, "." or ".." component.
        mode: Permission bits, 0 to 0o7777.
        mtime_ns: Modification time in nanoseconds since 1970, may be negative.
        ctime_ns: Change time at the source, to recognise an unchanged file; never restored.
        size: Bytes of content; 0 for folders and symlinks.
        digest: Keyed BLAKE3-256 of a file's content, empty for others.
        extents: A file's content in order.
        target: A symlink's target as bytes.
    """

    path: bytes
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    size: int = 0
    digest: bytes = b""
    extents: tuple[Extent, ...] = ()
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in scope that could not be taken."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a point consists of, in numbers; bytes are bytes.

    Attributes:
        changed_files: Files that changed while they were read. Only the run itself counts them: format 1 has no
            field for the number, but their entries have a ctime of 0.
    """

    files: int = 0
    folders: int = 0
    symlinks: int = 0
    source_bytes: int = 0
    chunks: int = 0
    new_chunks: int = 0
    new_frames: int = 0
    delta_frames: int = 0
    unreadable: tuple[Unreadable, ...] = field(default=())
    changed_files: int = 0
