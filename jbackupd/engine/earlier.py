"""The previous point's tree: what need not be read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from jbackupd.engine.closure import Closures
from jbackupd.format.tree import TreeRecord
from jbackupd.model.errors import DamageError, KeyMissingError
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent
from jbackupd.sources.port import SourceItem
from jbackupd.vault.vault import OpenPoint, StoredPoint, Vault

RACY_NS = 2_000_000_000
"""A file touched later than this before a run began may have changed again within its clock's grain."""
BATCH = 1000
"""Records that are looked up together: some 600 KB."""



@dataclass(frozen=True, slots=True)
class Tree:
    """A tree stream that is durable in the vault."""

    extents: tuple[Extent, ...]
    length: int
    digest: bytes


_FILE = int(EntryType.FILE)
Known = tuple[bytes, TreeRecord]
"""A record of the previous point, as its bytes and as what they say."""


class EarlierTree:
    """The previous point's tree, walked beside the source, both in path order.

    Args:
        point: The previous point, or none; one that cannot be read counts as none, since it only saves work.
        closures: Tells what the vault has lost: that is read and stored again, unchanged or not.
    """

    def __init__(self, point: OpenPoint | None, closures: Closures) -> None:
        self._point = point
        self._begun_ns = 0 if point is None else int(point.header.begun_at.timestamp() * 1e9) - RACY_NS
        self._records = iter(()) if point is None else point.records()
        self._closures = closures
        self._batch: list[Known] = []
        self._position = 0
        self._is_damaged = False
        self._whole: set[FrameId] = set()
        self._lost: set[FrameId] = set()
        self.passed_over = 0
        """Records that were not asked for."""

    def find(self, path: bytes) -> Known | None:
        """Return the previous record of a path and its bytes; paths must be asked once each, in ascending order."""
        wanted: list[bytes] | None = None
        while self._position < len(self._batch) or self._load():
            found = self._batch[self._position]
            if found[1].path == path:
                self._position += 1
                return found
            wanted = wanted or path.split(b"/")
            if found[1].path.split(b"/") > wanted:
                break
            self._position += 1
            self.passed_over += 1
        return None

    def is_unchanged(self, item: SourceItem, record: TreeRecord) -> bool:
        """Tell whether a file need not be read: same size, times and inode, not racy, and not lost."""
        return (
            record.type == _FILE
            and item.size == record.size and item.mtime_ns == record.mtime_ns
            and item.ctime_ns == record.ctime_ns and item.inode == record.inode
            and self._is_settled(record)
        )

    def is_same(self, item: SourceItem, record: TreeRecord) -> bool:
        """Tell whether an item's record is the same bytes as before; of a file, whether it is unchanged as well."""
        return (
            item.mtime_ns == record.mtime_ns and item.ctime_ns == record.ctime_ns and item.inode == record.inode
            and item.size == record.size and item.type == record.type and item.mode == record.mode
            and item.uid == record.uid and item.gid == record.gid and item.target == record.target
            and (record.type != _FILE or self._is_settled(record))
        )

    def whole(self, length: int) -> Tree | None:
        """Return the tree itself, if all of it was asked for, it has this length, and the vault still has all of it."""
        if self.passed_over or self._position < len(self._batch) or self._load():
            return None
        if self._point is None or self._is_damaged:
            return None
        body = self._point.body
        if body.tree_bytes != length or self._closures.lost({extent.frame for extent in body.tree}):
            return None
        return Tree(body.tree, body.tree_bytes, body.tree_digest)

    def stream(self, length: int) -> Iterator[bytes]:
        """Yield the tree's first bytes once more.

        Raises:
            DamageError: They cannot be read any more.
        """
        assert self._point is not None
        for piece in self._point.read(self._point.body.tree):
            yield piece[:length]
            length -= len(piece)
            if length <= 0:
                break

    def _is_settled(self, record: TreeRecord) -> bool:
        """Tell whether a file was old enough when it was taken, and whether the vault still has it."""
        if record.mtime_ns >= self._begun_ns or record.ctime_ns >= self._begun_ns:
            return False
        return not self._lost or self._lost.isdisjoint(extent[0] for extent in record.extents)

    def _load(self) -> bool:
        """Read the next records, and look up what the vault has of their contents; false at the end."""
        self._batch, self._position = [], 0
        try:
            for record in islice(self._records, BATCH):
                self._batch.append(record)
        except (DamageError, KeyMissingError):
            self._records, self._is_damaged = iter(()), True  # as far as it can be read
        frames = {FrameId(extent[0]) for _, record in self._batch for extent in record.extents}
        frames -= self._whole
        lost = self._closures.lost(frames)
        self._lost |= lost
        self._whole |= frames - lost
        return bool(self._batch)


def open_previous(vault: Vault, chain: list[StoredPoint]) -> OpenPoint | None:
    """Open the newest point of a chain if its key is at hand and it is whole."""
    if not chain:
        return None
    try:
        return vault.open_point(chain[-1])
    except (DamageError, KeyMissingError):
        return None
