"""Frames in the making: a draft gathers new chunks until it is closed and encoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from jbackupd.codec.cutting import Anchors
from jbackupd.format.pack import ChunkRecord
from jbackupd.model.ids import ChunkId, FrameId
from jbackupd.model.records import Extent

LINEAGES_MAX = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """Earlier content that a draft may resemble.

    Attributes:
        extents: Where the content is.
        anchors: To find the stretches that resemble; without them the whole content is taken.
        lineage: Of the version that it is (catalog.versions).
    """

    length: int
    extents: tuple[Extent, ...]
    anchors: Anchors | None = None
    lineage: int | None = None


@dataclass(slots=True)
class Kinship:
    """What the frames of one stream were found to resemble, of use to its later frames.

    Attributes:
        lineages: See catalog.versions; the first found comes first, at most LINEAGES_MAX.
    """

    lineages: list[int] = field(default_factory=list)

    def note(self, lineage: int | None) -> None:
        """Note what a frame resembles."""
        if lineage is not None and lineage not in self.lineages and len(self.lineages) < LINEAGES_MAX:
            self.lineages.append(lineage)


@dataclass(slots=True)
class Draft:
    """New chunks that will be one frame."""

    content: bytearray = field(default_factory=bytearray)
    chunks: list[ChunkRecord] = field(default_factory=list)
    anchors: list[Anchors] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    closure: dict[FrameId, int] = field(default_factory=dict)
    """Frames that the references need, with their plain lengths."""
    passed_bytes: int = 0
    """Bytes of the stream that went by while this draft was open, known chunks included."""
    frame: FrameId | None = None
    """Set when the draft is closed."""
    kinship: Kinship | None = None
    """Of the stream whose frames hold nothing else."""

    def add(self, chunk: ChunkId, data: bytes | memoryview) -> int:
        """Append a chunk and return its offset."""
        offset = len(self.content)
        self.content += data
        self.chunks.append(ChunkRecord(chunk, len(data)))
        return offset

    def let_go(self) -> None:
        """Keep nothing but the frame: what a file of terabytes consists of refers to its drafts until it ends."""
        self.content = bytearray()
        self.chunks, self.anchors, self.references = [], [], []
        self.closure, self.kinship = {}, None


@dataclass(slots=True)
class PendingExtent:
    """An extent of a draft that may still be open."""

    draft: Draft
    offset: int
    length: int


@dataclass(slots=True)
class Content:
    """What a file consists of, while its last frames are still being made.

    Attributes:
        sketch: Hashes that similar contents share; only of small files.
        kinship: What it resembles; known when every frame has been encoded.
    """

    pieces: list[Extent | PendingExtent] = field(default_factory=list)
    length: int = 0
    digest: bytes = b""
    sketch: tuple[int, ...] = ()
    kinship: Kinship = field(default_factory=Kinship)

    def add_known(self, extent: Extent) -> None:
        """Append bytes of a frame that exists."""
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, Extent) and last.frame == extent.frame and last.offset + last.length == extent.offset:
            self.pieces[-1] = Extent(last.frame, last.offset, last.length + extent.length)
        else:
            self.pieces.append(extent)
        self.length += extent.length

    def add_pending(self, draft: Draft, offset: int, length: int) -> None:
        """Append bytes of a draft."""
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, PendingExtent) and last.draft is draft and last.offset + last.length == offset:
            last.length += length
        else:
            self.pieces.append(PendingExtent(draft, offset, length))
        self.length += length

    @property
    def settled(self) -> bool:
        """Whether every frame of the content is closed."""
        return all(isinstance(piece, Extent) or piece.draft.frame is not None for piece in self.pieces)

    def extents(self) -> tuple[Extent, ...]:
        """Return the final extents; the content must be settled."""
        final = Content()
        for piece in self.pieces:
            if isinstance(piece, Extent):
                final.add_known(piece)
            else:
                assert piece.draft.frame is not None
                final.add_known(Extent(piece.draft.frame, piece.offset, piece.length))
        return tuple(piece for piece in final.pieces if isinstance(piece, Extent))


def slice_extents(extents: tuple[Extent, ...], begin: int, end: int) -> list[Extent]:
    """Return the extents of the bytes [begin, end) of a content."""
    found: list[Extent] = []
    position = 0
    for extent in extents:
        first, last = max(begin, position), min(end, position + extent.length)
        if first < last:
            found.append(Extent(extent.frame, extent.offset + first - position, last - first))
        position += extent.length
        if position >= end:
            break
    return found
