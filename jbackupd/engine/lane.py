"""A lane: streams are cut into chunks, known chunks referred to, new ones gathered into drafts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.codec.cutting import CHUNK_MAX, FINE_AVERAGE, AnchorCutter, Anchors, Cutter, smallest
from jbackupd.codec.hashing import ContentHash
from jbackupd.codec.resemblance import AnchorCollector
from jbackupd.engine.closure import Budget, Closures
from jbackupd.engine.draft import Content, Draft, Reference
from jbackupd.format.index import IndexedPack
from jbackupd.model.ids import ChunkId
from jbackupd.model.records import Access

FRAME_BYTES_MIN = 1024 * 1024
FRAME_BYTES_MAX = 4 * 1024 * 1024
RANDOM_BYTES_MIN = 64 * 1024
RANDOM_BYTES_MAX = 256 * 1024
"""Frames of what is read here and there: at 10 Mbit/s the longest takes 0.21 s, should it not compress at all."""
PASSED_BYTES_MAX = 8 * 1024 * 1024
"""A draft of scattered new chunks is closed after so much of the stream, so that its bases stay near."""
BOUNDARY_MASK = 0x0F
"""One chunk in sixteen may end a frame: frames end at the same content every day, so that a frame's
base is one earlier frame and closures stay narrow."""
RANDOM_BOUNDARY_MASK = 0x01
BUFFER_BYTES = 4 * 1024 * 1024
SKETCHED_BYTES_MIN = 2 * 1024
"""Below, what a sketch costs is more than what it saves."""
SKETCH_HASHES = 2


@dataclass(frozen=True, slots=True)
class Framing:
    """How long frames are.

    Attributes:
        bytes_min: Of plaintext, before a frame may end at a boundary.
        bytes_max: Of plaintext.
        boundary_mask: Which chunks may end one.
    """

    bytes_min: int
    bytes_max: int
    boundary_mask: int


def framing_of(access: Access) -> Framing:
    """Return how long the frames of a dataset's files are."""
    if access is Access.RANDOM:
        return Framing(RANDOM_BYTES_MIN, RANDOM_BYTES_MAX, RANDOM_BOUNDARY_MASK)
    return Framing(FRAME_BYTES_MIN, FRAME_BYTES_MAX, BOUNDARY_MASK)


@dataclass(slots=True)
class LaneCounts:
    """What went through a lane."""

    bytes: int = 0
    chunks: int = 0
    new_chunks: int = 0


class Lane:
    """Makes drafts of one sort of stream. Used by one thread.

    Args:
        catalog: Tells which chunks the vault has.
        hashes: Names chunks and frames.
        submit: Takes a closed draft.
        closures: Knows what references need.
        budget: What a frame may need.
        framing: How long frames are.
        similar: Returns a small content by its sketch.
    """

    def __init__(
        self, catalog: Catalog, hashes: ContentHash, submit: Callable[[Draft], None], *, closures: Closures,
        budget: Budget, framing: Framing, similar: Callable[[tuple[int, ...]], Reference | None],
    ) -> None:
        self._catalog = catalog
        self._hashes = hashes
        self._submit = submit
        self._closures = closures
        self._budget = budget
        self._framing = framing
        self._similar = similar
        self._cutter = Cutter(hashes.cut_seed)
        self._anchor_cutter = AnchorCutter(hashes.cut_seed ^ 1)
        self._fine_cutter = AnchorCutter(hashes.cut_seed ^ 2, FINE_AVERAGE)
        self._draft = Draft()
        self._recent: dict[ChunkId, tuple[Draft, int]] = {}
        self._buffer = bytearray()
        self._content = Content()
        self._reference: Reference | None = None
        self._has_adopted = False
        self._alone = False
        self._found: AnchorCollector | None = None
        self.counts = LaneCounts()

    def begin(self, reference: Reference | None, *, alone: bool, anchored: bool) -> None:
        """Begin a stream.

        Args:
            reference: An earlier version of it.
            alone: Its frames hold nothing else.
            anchored: Collect anchors, returned by `end`.
        """
        if alone:
            self.close_draft()
        self._content = Content()
        self._digest = self._hashes.file_digest()
        self._alone = alone
        self._found = AnchorCollector() if anchored else None
        self._refer_to(reference)

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the stream."""
        self._digest.update(block)
        self._buffer += block
        if len(self._buffer) >= BUFFER_BYTES:
            self._cut(last=False)

    def end(self) -> tuple[Content, AnchorCollector]:
        """End the stream; return its content and the anchors that were collected."""
        if not self._alone and not self._content.length:
            self._sketch()
        self._cut(last=True)
        self._content.digest = self._digest.digest()
        if self._alone:
            self.close_draft()
        return self._content, self._found or AnchorCollector()

    def abandon(self) -> None:
        """End a stream whose reading failed; what was taken of it stays as unreferred chunks."""
        self._buffer.clear()

    def close_draft(self) -> None:
        """Close the current draft, if there is anything in it, and begin another."""
        draft, self._draft = self._draft, Draft()
        self._has_adopted = False
        if draft.content:
            draft.frame = self._hashes.frame_id(draft.content)
            self._submit(draft)

    def settle(self, pack: IndexedPack) -> None:
        """Forget what the catalog now knows."""
        for frame in pack.frames:
            for chunk in frame.chunks:
                self._recent.pop(chunk.id, None)

    def _sketch(self) -> None:
        """Sketch a small file that is here whole; one without an earlier version may resemble another file."""
        if len(self._buffer) < SKETCHED_BYTES_MIN:
            return
        anchors = self._fine_cutter.anchors(memoryview(self._buffer), 0)
        self._content.sketch = tuple(smallest(anchors["hash"], SKETCH_HASHES).tolist())
        if self._reference is None:
            self._refer_to(self._similar(self._content.sketch))

    def _cut(self, *, last: bool) -> None:
        view = memoryview(self._buffer)
        cuts: list[tuple[ChunkId, memoryview]] = []
        position = 0
        for length in self._cutter.cut(view, last=last):
            piece = view[position : position + length]
            cuts.append((self._hashes.chunk_id(piece), piece))
            position += length
        self._buffer = bytearray(view[position:])
        self._take(cuts)

    def _take(self, cuts: list[tuple[ChunkId, memoryview]]) -> None:
        unknown = [chunk for chunk, _ in cuts if chunk not in self._recent]
        known = self._catalog.find_chunks(unknown) if unknown else {}
        for chunk, piece in cuts:
            self.counts.chunks += 1
            self.counts.bytes += len(piece)
            found = None
            if self._found is not None:
                found = self._anchor_cutter.anchors(piece, self._content.length)
                self._found.add(found)
            if chunk in known:
                self._content.add_known(known[chunk])
            elif chunk in self._recent:
                draft, offset = self._recent[chunk]
                self._content.add_pending(draft, offset, len(piece))
            else:
                self._add_new(chunk, piece, found)
            self._draft.passed_bytes += len(piece)
            if self._at_boundary(chunk):
                self.close_draft()

    def _add_new(self, chunk: ChunkId, piece: memoryview, anchors: Anchors | None) -> None:
        if len(self._draft.content) + len(piece) > self._framing.bytes_max:
            self.close_draft()
        if not self._has_adopted:
            self._adopt_reference()
        offset = self._draft.add(chunk, piece)
        if anchors is not None:
            self._draft.anchors.append(anchors)
        self._recent[chunk] = self._draft, offset
        self._content.add_pending(self._draft, offset, len(piece))
        self.counts.new_chunks += 1

    def _at_boundary(self, chunk: ChunkId) -> bool:
        if chunk[0] & self._framing.boundary_mask:
            return False
        return len(self._draft.content) >= self._framing.bytes_min or self._draft.passed_bytes >= PASSED_BYTES_MAX

    def _refer_to(self, reference: Reference | None) -> None:
        """Let what is new in the stream be encoded against an earlier content."""
        self._reference = reference
        self._has_adopted = False

    def _adopt_reference(self) -> None:
        """Let the draft know the earlier content, if that is still there; what its other frames resemble, too."""
        if self._reference is not None and not self._closures.has(self._reference.extents):
            self._reference = None
        if self._reference is not None and not self._has_room_for(self._reference):
            self.close_draft()
        self._has_adopted = True
        if self._alone:
            self._draft.kinship = self._content.kinship
        if self._reference is not None:
            self._draft.references.append(self._reference)
            if self._reference.anchors is None:
                for extent in self._reference.extents:
                    self._draft.closure |= self._closures.of(extent).frames

    def _has_room_for(self, reference: Reference) -> bool:
        """Tell whether the current draft may need this reference as well."""
        if reference.anchors is not None:
            return not self._draft.content
        joint = dict(self._draft.closure)
        for extent in reference.extents:
            joint |= self._closures.of(extent).frames
        return self._budget.allows(joint)


assert min(FRAME_BYTES_MAX, RANDOM_BYTES_MAX) >= CHUNK_MAX
