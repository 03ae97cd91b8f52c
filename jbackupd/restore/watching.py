"""A point that is watched while it is read: how many bytes so far, and an end between two pieces of a long file."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from jbackupd.model.errors import RefusedError
from jbackupd.model.records import Extent, TreeEntry
from jbackupd.restore.options import RestorablePoint


class WatchedPoint:
    """Reads another point; safe for several threads if that is.

    Args:
        point: The other.
    """

    def __init__(self, point: RestorablePoint) -> None:
        self._point = point
        self._ended = False
        self._lock = threading.Lock()
        self.content_hash = point.content_hash
        self.bytes_read = 0

    def end(self) -> None:
        """Let every thread that reads fail at its next piece."""
        self._ended = True

    def entries(self) -> Iterator[TreeEntry]:
        """Yield the entries in path order; raises DamageError."""
        return self._point.entries()

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield bytes.

        Raises:
            DamageError: They are damaged.
            RefusedError: The restore was stopped.
        """
        for piece in self._point.read(extents):
            if self._ended:
                raise was_stopped()
            with self._lock:
                self.bytes_read += len(piece)
            yield piece


def was_stopped() -> RefusedError:
    """Return the error of a restore that was ended before its end."""
    return RefusedError("the restore was stopped", "run it again with --resume")
