"""What new content is encoded against: earlier versions of it by path, by lineage, or by resemblance."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from jbackupd.catalog.versions import Version, VersionTable
from jbackupd.codec.cutting import ANCHOR, AnchorCutter, Anchors, Cutter, sampled
from jbackupd.codec.resemblance import AnchorCollector
from jbackupd.engine.closure import Closures
from jbackupd.engine.draft import Content, Reference
from jbackupd.engine.lane import BUFFER_BYTES
from jbackupd.engine.large import LARGE_BYTES
from jbackupd.model.errors import DamageError, KeyMissingError
from jbackupd.model.ids import DatasetId
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.policy.skip import reference_of
from jbackupd.vault.vault import Vault

WHOLE_BYTES_MAX = 4 * LARGE_BYTES
LIKE_MAX = 3
"""So many lineages are looked at more closely for one frame."""
LIKE_CACHED_MAX = 8
VERSION_BYTES = 1000
"""About what a noted version takes beside its anchors."""
SKETCHES_AT_ONCE = 5000


class Versions:
    """The versions of one dataset's large files, and its tree; the sketches of its small files.

    Used by the thread of the run, but for `like`.

    Args:
        closures: Tells what is still there.
        sequence: Of the point that is being made.
    """

    def __init__(self, vault: Vault, dataset: DatasetId, sequence: int, *, closures: Closures) -> None:
        self._vault = vault
        self._table = VersionTable(vault.catalog)
        self._dataset = str(dataset)
        self._sequence = sequence
        self._closures = closures
        self._made: list[tuple[bytes, Content, Anchors]] = []
        self.held_bytes = 0
        """About what is noted and not stored yet."""
        self._sketches: list[tuple[int, Extent]] = []
        self._has_sketches = self._table.has_sketches()
        self._lock = threading.Lock()
        self._liked: dict[int, Reference | None] = {}

    def reference(self, path: bytes, earlier: TreeEntry | None) -> Reference | None:
        """Return what a large file is encoded against.

        That is its version at the point which the skip-delta rule names, or, where that is not remembered,
        its content at the previous point. None where nothing has this path: then `like` finds what resembles it.
        """
        wanted = reference_of(self._sequence)
        version = None if wanted is None else self._table.find(self._dataset, path, wanted)
        # Retention may have removed what lay at that point.
        if version is not None and self._closures.has(version.extents):
            return _as_reference(version)
        if earlier is None or earlier.type is not EntryType.FILE or earlier.size < LARGE_BYTES:
            return whole(earlier)
        return self._from_content(earlier)

    def like(self, anchors: Anchors, expected: tuple[int, ...]) -> list[Reference]:
        """Return versions of the lineages that have most in common with a frame. For several threads.

        Args:
            anchors: The frame's.
            expected: Lineages to look at in any case: a short frame may have no hook.
        """
        lineages = self._table.lineages_like(sampled(anchors["hash"]).tolist(), LIKE_MAX)
        found = (self._of_lineage(lineage) for lineage in dict.fromkeys((*lineages, *expected)))
        return [reference for reference in found if reference is not None]

    def similar(self, sketch: tuple[int, ...]) -> Reference | None:
        """Return the small file of an earlier point that a small file resembles most."""
        if not self._has_sketches:
            return None
        for extent in self._table.find_sketches(sketch):
            if self._closures.has([extent]):
                return Reference(extent.length, (extent,))
        return None

    def remember(self, path: bytes, content: Content, found: AnchorCollector) -> None:
        """Note a version of this point; it is stored by `store`."""
        anchors = found.table()
        self._made.append((path, content, anchors))
        self.held_bytes += anchors.nbytes + VERSION_BYTES

    def remember_small(self, content: Content) -> None:
        """Note where a small file lies whose frames are closed."""
        extents = content.extents()
        if len(extents) == 1:
            self._sketches += ((value, extents[0]) for value in content.sketch)
        if len(self._sketches) >= SKETCHES_AT_ONCE:
            self._put_sketches()

    def store(self) -> None:
        """Store what was noted; everything submitted is encoded. Harmless if no commit follows: these are hints."""
        self._table.put(self._version(path, content, anchors) for path, content, anchors in self._made)
        self._made, self.held_bytes = [], 0
        self._put_sketches()

    def _version(self, path: bytes, content: Content, anchors: Anchors) -> tuple[bytes, Version, list[int]]:
        known = [self._table.lineage_of(self._dataset, path), *content.kinship.lineages]
        lineage = next((one for one in known if one is not None), None) or self._new_lineage(path)
        version = Version(
            self._dataset, self._sequence, self._sequence, lineage, content.length, content.extents(), anchors.tobytes()
        )
        return path, version, sampled(anchors["hash"]).tolist()

    def _new_lineage(self, path: bytes) -> int:
        digest = blake2b(b"%s\0%d\0%s" % (self._dataset.encode(), self._sequence, path), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def _put_sketches(self) -> None:
        self._table.put_sketches(self._sketches)
        self._sketches = []

    def _of_lineage(self, lineage: int) -> Reference | None:
        with self._lock:
            if lineage in self._liked:
                return self._liked[lineage]
        wanted = reference_of(self._sequence) or self._sequence
        version = self._table.find_in_lineage(lineage, self._dataset, wanted)
        reference = None if version is None or not self._closures.has(version.extents) else _as_reference(version)
        with self._lock:
            if len(self._liked) >= LIKE_CACHED_MAX:
                self._liked.clear()
            self._liked[lineage] = reference
        return reference

    def _from_content(self, earlier: TreeEntry) -> Reference | None:
        """Read the earlier content once more to find its anchors, after the catalog was rebuilt."""
        try:
            anchors = _scan(self._vault.reader.read(earlier.extents), self._vault.keys.content_hash().cut_seed)
        except (DamageError, KeyMissingError):
            return None
        return Reference(earlier.size, earlier.extents, anchors)


def whole(earlier: TreeEntry | None) -> Reference | None:
    """Return an earlier small file as it is, to encode against."""
    if earlier is None or not earlier.extents or earlier.size > WHOLE_BYTES_MAX:
        return None
    return Reference(earlier.size, earlier.extents)


def _as_reference(version: Version) -> Reference:
    anchors = np.frombuffer(version.anchors, dtype=ANCHOR)
    return Reference(version.length, version.extents, anchors, version.lineage)


def _scan(pieces: Iterable[bytes], seed: int) -> Anchors:
    """Return the anchors of a content that comes in pieces, as a lane with this seed finds them."""
    cutter, anchor_cutter, found = Cutter(seed), AnchorCutter(seed ^ 1), AnchorCollector()
    buffer, position = bytearray(), 0

    def cut(*, last: bool) -> None:
        nonlocal buffer, position
        view, offset = memoryview(buffer), 0
        for length in cutter.cut(view, last=last):
            found.add(anchor_cutter.anchors(view[offset : offset + length], position + offset))
            offset += length
        buffer, position = bytearray(view[offset:]), position + offset

    for piece in pieces:
        buffer += piece
        if len(buffer) >= BUFFER_BYTES:
            cut(last=False)
    cut(last=True)
    return found.table()
