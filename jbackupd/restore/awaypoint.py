"""A point of which frames may lie elsewhere: all that a read needs is brought at once, then it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jbackupd.engine.brings import Brings
from jbackupd.format.tree import TreeRecord
from jbackupd.model.records import Extent
from jbackupd.vault.away import AwayStore
from jbackupd.vault.vault import OpenPoint


class AwayPoint:
    """An open point; see `view.ViewablePoint`. Never used on the loop that brings.

    Args:
        point: Of a vault over the store.
        brings: Brings what is missing.
    """

    def __init__(self, point: OpenPoint, store: AwayStore, brings: Brings) -> None:
        self.stored = point.stored
        self.content_hash = point.content_hash
        self._point = point
        self._store = store
        self._brings = brings

    def records(self) -> Iterator[tuple[bytes, TreeRecord]]:
        """Yield the tree's records in path order; the whole tree is brought first."""
        self._brings.frames(self._point.body.tree, self._store.is_here)
        yield from self._point.records()

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents in order.

        Raises:
            PeerError: No site gives what is missing.
            DamageError: Something is not what was written, whoever gave it.
        """
        wanted = list(extents)
        self._brings.frames(wanted, self._store.is_here)
        return self._point.read(wanted)
