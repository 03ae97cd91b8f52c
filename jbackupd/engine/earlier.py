"""The previous point's tree: what need not be read again."""

from __future__ import annotations

from collections.abc import Iterator

from jbackupd.model.errors import DamageError, KeyMissingError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.vault.vault import OpenPoint, StoredPoint, Vault

RACY_NS = 2_000_000_000
"""A file touched later than this before a run began may have changed again within its clock's grain."""


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
