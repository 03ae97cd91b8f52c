"""What a run knows of earlier points: the previous tree, and the versions to encode against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jbackupd.catalog.database import Version
from jbackupd.codec.cutting import ANCHOR, AnchorCutter, Anchors, Cutter, anchor_table
from jbackupd.engine.draft import Content, Reference
from jbackupd.engine.lane import BUFFER_BYTES, LARGE_BYTES
from jbackupd.model.errors import DamageError, KeyMissingError
from jbackupd.model.ids import DatasetId
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.policy.skip import reference_of, references_to_keep
from jbackupd.vault.vault import OpenPoint, StoredPoint, Vault

TREE_PATH = b""
"""The tree stream's name among a dataset's versions; no file has it."""
RACY_NS = 2_000_000_000
"""A file touched later than this before a run began may have changed again within its clock's grain."""
WHOLE_BYTES_MAX = 4 * LARGE_BYTES


class EarlierTree:
    """The previous point's tree, walked beside the source, both in path order.

    Args:
        point: The previous point, or none; one that cannot be read counts as none, since it only saves work.
    """

    def __init__(self, point: OpenPoint | None) -> None:
        self._begun_ns = 0 if point is None else int(point.header.begun_at.timestamp() * 1e9) - RACY_NS
        self._entries = iter(()) if point is None else _readable(point)
        self._current = next(self._entries, None)

    def find(self, path: bytes) -> TreeEntry | None:
        """Return the previous entry of a path; paths must be asked in ascending order."""
        wanted = path.split(b"/")
        while self._current is not None and self._current.path.split(b"/") < wanted:
            self._current = next(self._entries, None)
        return self._current if self._current is not None and self._current.path == path else None

    def is_unchanged(self, entry: TreeEntry, earlier: TreeEntry) -> bool:
        """Tell whether a file need not be read: same size, times and inode, and not racy."""
        return (
            earlier.type is EntryType.FILE
            and (entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)
            == (earlier.size, earlier.mtime_ns, earlier.ctime_ns, earlier.inode)
            and max(entry.mtime_ns, entry.ctime_ns) < self._begun_ns
        )


class Versions:
    """The versions of one dataset's large files, and its tree.

    Args:
        sequence: Of the point that is being made.
    """

    def __init__(self, vault: Vault, dataset: DatasetId, sequence: int) -> None:
        self._vault = vault
        self._dataset = str(dataset)
        self._sequence = sequence
        self._made: list[tuple[bytes, Content, Anchors]] = []

    def reference(self, path: bytes, earlier: TreeEntry | None) -> Reference | None:
        """Return what a large file is encoded against.

        That is its version at the point which the skip-delta rule names, or, where that is not remembered,
        its content at the previous point.
        """
        wanted = reference_of(self._sequence)
        version = None if wanted is None else self._vault.catalog.find_version(self._dataset, path, wanted)
        if version is not None:
            return Reference(version.length, version.extents, np.frombuffer(version.anchors, dtype=ANCHOR))
        if earlier is None or earlier.type is not EntryType.FILE or earlier.size < LARGE_BYTES:
            return whole(earlier)
        return self._from_content(earlier)

    def remember(self, path: bytes, content: Content, found: list[tuple[int, int]]) -> None:
        """Note a version of this point; it is stored by `store`."""
        self._made.append((path, content, anchor_table(found)))

    def carry(self, path: bytes) -> None:
        """Note that a file is what it was at the previous point."""
        self._vault.catalog.carry_version(self._dataset, path, self._sequence - 1, self._sequence)

    def store(self) -> None:
        """Store what was noted, and forget what no later point will refer to. After the commit."""
        self._vault.catalog.put_versions(self._dataset, (
            (path, Version(self._sequence, content.length, content.extents(), table.tobytes()))
            for path, content, table in self._made
        ))
        self._vault.catalog.keep_versions(self._dataset, references_to_keep(self._sequence))

    def _from_content(self, earlier: TreeEntry) -> Reference | None:
        """Read the earlier content once more to find its anchors, after the catalog was rebuilt."""
        scan = _AnchorScan(self._vault.keys.content_hash().cut_seed)
        try:
            for piece in self._vault.reader.read(earlier.extents):
                scan.feed(piece, last=False)
        except (DamageError, KeyMissingError):
            return None
        scan.feed(b"", last=True)
        return Reference(earlier.size, earlier.extents, anchor_table(scan.found))


class _AnchorScan:
    """Finds the anchors of a content that is fed in pieces."""

    def __init__(self, seed: int) -> None:
        self._cutter, self._anchor_cutter = Cutter(seed), AnchorCutter(seed ^ 1)
        self._buffer = b""
        self._position = 0
        self.found: list[tuple[int, int]] = []

    def feed(self, piece: bytes, *, last: bool) -> None:
        self._buffer += piece
        if len(self._buffer) < BUFFER_BYTES and not last:
            return
        view, offset = memoryview(self._buffer), 0
        for length in self._cutter.cut(view, last=last):
            self.found += self._anchor_cutter.anchors(view[offset : offset + length], self._position + offset)
            offset += length
        self._buffer = bytes(view[offset:])
        self._position += offset


def whole(earlier: TreeEntry | None) -> Reference | None:
    """Return an earlier small file as it is, to encode against."""
    if earlier is None or not earlier.extents or earlier.size > WHOLE_BYTES_MAX:
        return None
    return Reference(earlier.size, earlier.extents)


def open_previous(vault: Vault, chain: list[StoredPoint]) -> OpenPoint | None:
    """Open the newest point of a chain if its key is at hand and it is whole."""
    if not chain:
        return None
    try:
        return vault.open_point(chain[-1])
    except (DamageError, KeyMissingError):
        return None


def _readable(point: OpenPoint) -> Iterator[TreeEntry]:
    """Yield entries as far as they can be read."""
    try:
        yield from point.entries()
    except (DamageError, KeyMissingError):
        return
