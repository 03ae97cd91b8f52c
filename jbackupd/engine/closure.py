"""Closures: all frames that are needed to read a frame, bases of bases included."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.model.errors import MissingObjectError
from jbackupd.model.ids import FrameId, ObjectName
from jbackupd.model.records import Extent

CLOSURE_FRAMES_MAX = 24
CLOSURE_BYTES_MAX = 64 * 1024 * 1024
_CACHED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Budget:
    """What a reader must at most decode for one frame, the frame itself included.

    Attributes:
        frames: Number of frames.
        plain_bytes: Their plaintext together.
    """

    frames: int = CLOSURE_FRAMES_MAX
    plain_bytes: int = CLOSURE_BYTES_MAX

    def allows(self, closure: dict[FrameId, int]) -> bool:
        """Tell whether a frame may be encoded against bases with this joint closure."""
        return len(closure) < self.frames and sum(closure.values()) < self.plain_bytes


class Closures:
    """Looks closures up in a catalog and remembers them; safe for several threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._known: dict[FrameId, dict[FrameId, int]] = {}

    def of(self, extent: Extent) -> dict[FrameId, int]:
        """Return the closure of an extent's frame: frame ids with plain lengths.

        Raises:
            MissingObjectError: A needed frame is not in the catalog.
        """
        with self._lock:
            known = self._known.get(extent.frame)
        if known is None:
            known = {}
            reach(self._catalog, [extent.frame], plain_lengths=known)
            with self._lock:
                if len(self._known) >= _CACHED_MAX:
                    self._known.clear()
                self._known[extent.frame] = known
        return known

    def has(self, extents: Iterable[Extent]) -> bool:
        """Tell whether everything that these extents need is in the catalog."""
        try:
            for extent in extents:
                self.of(extent)
        except MissingObjectError:
            return False
        return True


def reach(
    catalog: Catalog, frames: Iterable[FrameId], *, plain_lengths: dict[FrameId, int] | None = None
) -> set[ObjectName]:
    """Return the packs that hold frames and everything that these need.

    Args:
        catalog: Where to look.
        frames: Where to begin.
        plain_lengths: Filled with every reached frame and its plain length, if given.

    Raises:
        MissingObjectError: A frame is not in the catalog.
    """
    seen: set[FrameId] = set()
    packs: set[ObjectName] = set()
    level: Collection[FrameId] = set(frames)
    while level:
        places = catalog.find_frames(level)
        if len(places) != len(level):
            lost = next(frame for frame in level if frame not in places)
            raise MissingObjectError(
                "frame {frame} is not in the vault",
                "run 'jbackupd vault rebuild-catalog TENANT', then fetch what is missing from a peer",
                frame=lost.hex(),
            )
        seen.update(level)
        packs.update(place.pack for place in places.values())
        if plain_lengths is not None:
            plain_lengths.update((frame, place.record.plain_length) for frame, place in places.items())
        level = {base.frame for place in places.values() for base in place.record.bases} - seen
    return packs
