"""What a run needs once something is new: lanes that cut, an encoder, and what to encode against.

It brings numpy and threads, a tenth of a second: a run that finds nothing new never imports this.
"""

from __future__ import annotations

from collections.abc import Iterable

from jbackupd.codec.cutting import require_compiled_cutter
from jbackupd.engine.closure import Budget, Closures
from jbackupd.engine.draft import Content
from jbackupd.engine.encode import Encoder
from jbackupd.engine.lane import Lane, framing_of
from jbackupd.engine.large import TREE_PATH
from jbackupd.engine.versions import Versions, whole
from jbackupd.format.index import IndexedPack
from jbackupd.model.ids import DatasetId
from jbackupd.model.records import Access, Preset, TreeEntry
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.vault import Vault
from jbackupd.vault.writer import PackWriter

BASES_BYTES = 32 * 1024 * 1024
"""Plaintext of bases that is kept: two frames' chains of eight. With 16 MiB a fifth more time, with 64 none less."""

HELD_BYTES_MAX = 16 * 1024 * 1024
"""Of versions of large files that are not stored yet: a first point of a million large files would hold gigabytes."""


class Making:
    """Makes frames of what is new, in one run. Used by one thread.

    Args:
        writer: Receives the frames.
        sequence: Of the point that is being made.

    Raises:
        StorageError: The cutter is not the compiled one.
    """

    def __init__(
        self, vault: Vault, writer: PackWriter, *, dataset: DatasetId, sequence: int, closures: Closures,
        budget: Budget, preset: Preset, access: Access = Access.STREAM,
    ) -> None:
        require_compiled_cutter()
        self.versions = Versions(vault, dataset, sequence, closures=closures)
        # A reader of its own: bases lie close together, and what a run may take of memory is less than a restore may.
        reader = FrameReader(vault.store, vault.catalog, vault.keys, tenant=vault.tenant, cache_bytes=BASES_BYTES)
        self.encoder = Encoder(reader, writer, closures, budget, like=self.versions.like, preset=preset)
        hashes = vault.keys.content_hash()
        self.files, self.trees = (
            Lane(
                vault.catalog, hashes, self.encoder.submit, closures=closures, budget=budget, framing=framing,
                similar=self.versions.similar,
            )
            # The tree is always read from begin to end.
            for framing in (framing_of(access), framing_of(Access.STREAM))
        )
        writer.durable = self._settle

    def begin_tree(self, pieces: Iterable[bytes]) -> None:
        """Begin the tree with the pieces of it that are known already."""
        self.trees.begin(self.versions.reference(TREE_PATH, None), alone=True, anchored=True)
        for piece in pieces:
            self.trees.feed(piece)

    def end_tree(self, last: bytes) -> Content:
        """End the tree and wait until every frame is durable; return its content."""
        self.trees.feed(last)
        content, anchors = self.trees.end()
        self.encoder.flush()
        self.versions.remember(TREE_PATH, content, anchors)
        return content

    def begin_file(self, path: bytes, earlier: TreeEntry | None, *, large: bool) -> None:
        """Begin a file, with its entry in the previous point."""
        reference = self.versions.reference(path, earlier) if large else whole(earlier)
        self.files.begin(reference, alone=large, anchored=large)

    def end_file(self, path: bytes, *, large: bool) -> Content:
        """End a file; return its content."""
        content, anchors = self.files.end()
        if large:
            self.versions.remember(path, content, anchors)
            if self.versions.held_bytes >= HELD_BYTES_MAX:
                self.encoder.settle()
                self.versions.store()
        return content

    def close(self) -> None:
        """Stop the workers; what was not flushed is thrown away."""
        self.encoder.close()

    def _settle(self, pack: IndexedPack) -> None:
        """Hear that a pack is durable and in the catalog."""
        self.files.settle(pack)
        self.trees.settle(pack)
