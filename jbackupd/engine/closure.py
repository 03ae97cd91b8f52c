"""Closures: all frames that are needed to read a frame, bases of bases included."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice

from jbackupd.catalog.database import Catalog, FramePlace
from jbackupd.model.errors import MissingObjectError
from jbackupd.model.ids import FrameId, ObjectName
from jbackupd.model.records import Access, Extent
from jbackupd.policy.skip import DEPTH_MAX

CLOSURE_FRAMES_MAX = 64
CLOSURE_BYTES_MAX = 160 * 1024 * 1024
"""A chain of eight days, of which each frame lies over two or three of the day before. With 24 frames and 64 MiB whole
frames were stored plain from the fifth day on. Decoded alone, the widest takes a tenth of a second."""
RANDOM_FRAMES_MAX = 8
RANDOM_CLOSURE_BYTES_MAX = 2 * 1024 * 1024
"""Of what is read here and there: all that one read may have to fetch over a thin line."""
_CACHED_MAX = 4_000
"""Of 64 frames each: 25 MB."""
LOOKED_UP = 5_000


@dataclass(frozen=True, slots=True)
class Budget:
    """What a reader must at most decode for one frame, the frame itself included.

    Attributes:
        frames: Number of frames.
        plain_bytes: Their plaintext together.
        depth: Bases of bases that are decoded one after the other.
    """

    frames: int = CLOSURE_FRAMES_MAX
    plain_bytes: int = CLOSURE_BYTES_MAX
    depth: int = DEPTH_MAX

    def allows(self, closure: dict[FrameId, int]) -> bool:
        """Tell whether a frame may be encoded against bases with this joint closure."""
        return len(closure) < self.frames and sum(closure.values()) < self.plain_bytes


def budget_of(access: Access) -> Budget:
    """Return what the frames of a dataset may need."""
    return Budget(RANDOM_FRAMES_MAX, RANDOM_CLOSURE_BYTES_MAX) if access is Access.RANDOM else Budget()


@dataclass(frozen=True, slots=True)
class Closure:
    """What a frame needs to be decoded.

    Attributes:
        frames: Itself, its bases and theirs, with their plain lengths.
        depth: How many are decoded one after the other before it; 0 without a base.
    """

    frames: dict[FrameId, int]
    depth: int


class Closures:
    """Looks closures up in a catalog and remembers them; safe for several threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._known: dict[FrameId, Closure] = {}

    def of(self, extent: Extent) -> Closure:
        """Return the closure of an extent's frame.

        Raises:
            MissingObjectError: A needed frame is not in the catalog.
        """
        with self._lock:
            known = self._known.get(extent.frame)
        if known is None:
            places = find_all(self._catalog, [extent.frame])
            lengths = {frame: place.record.plain_length for frame, place in places.items()}
            known = Closure(lengths, _depth(extent.frame, places, {}))
            with self._lock:
                if len(self._known) >= _CACHED_MAX:
                    self._known.clear()
                self._known[extent.frame] = known
        return known

    def lost(self, frames: Collection[FrameId]) -> set[FrameId]:
        """Return those of the frames for which something is not in the catalog; many are looked up at once."""
        try:
            find_all(self._catalog, frames)
        except MissingObjectError:
            return {frame for frame in frames if not self.has([Extent(frame, 0, 1)])}
        return set()

    def has(self, extents: Iterable[Extent]) -> bool:
        """Tell whether everything that these extents need is in the catalog."""
        try:
            for extent in extents:
                self.of(extent)
        except MissingObjectError:
            return False
        return True


def reach(catalog: Catalog, frames: Iterable[FrameId]) -> set[ObjectName]:
    """Return the packs that hold frames and everything that these need.

    Raises:
        MissingObjectError: A frame is not in the catalog.
    """
    packs: set[ObjectName] = set()
    seen = set(frames)
    level: Collection[FrameId] = seen
    while level:
        bases: set[FrameId] = set()
        asked = iter(tuple(level))
        # In pieces: the places of a point of ten million chunks are some 100 MB.
        while piece := tuple(islice(asked, LOOKED_UP)):
            places = _places(catalog, piece)
            packs.update(place.pack for place in places.values())
            bases.update(base.frame for place in places.values() for base in place.record.bases)
        level = bases - seen
        seen |= level
    return packs


def find_all(catalog: Catalog, frames: Iterable[FrameId]) -> dict[FrameId, FramePlace]:
    """Return the places of frames and of everything that these need.

    Raises:
        MissingObjectError: A frame is not in the catalog.
    """
    found: dict[FrameId, FramePlace] = {}
    level: Collection[FrameId] = set(frames)
    while level:
        places = _places(catalog, level)
        found.update(places)
        level = {base.frame for place in places.values() for base in place.record.bases} - found.keys()
    return found


def _places(catalog: Catalog, frames: Collection[FrameId]) -> dict[FrameId, FramePlace]:
    places = catalog.find_frames(frames)
    if len(places) != len(frames):
        lost = next(frame for frame in frames if frame not in places)
        raise MissingObjectError(
            "frame {frame} is not in the vault",
            "run 'jbackupd vault rebuild-catalog TENANT', then fetch what is missing from a peer",
            frame=lost.hex(),
        )
    return places


def _depth(frame: FrameId, places: dict[FrameId, FramePlace], known: dict[FrameId, int]) -> int:
    if frame not in known:
        bases = {base.frame for base in places[frame].record.bases}
        known[frame] = max((1 + _depth(base, places, known) for base in bases), default=0)
    return known[frame]
