"""What reading some extents takes, decided before anything is read: which frames, and which stretches of which packs.

The frames of one day's file lie one after another in their packs, and so do those of each earlier day that they
are deltas against. So a plan looks the whole closure up level by level, in batches, and merges what is near in a
pack into one long read: a disk that turns serves 600 single frames in 5 seconds and 20 long reads in 0.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from jbackupd.catalog.database import FramePlace
from jbackupd.model.ids import FrameId, ObjectName
from jbackupd.model.records import Extent

STRETCH_BYTES_MAX = 1024 * 1024
"""A disk reads so much in the time that it needs to find it (7 ms); a longer one only fills memory."""
GAP_BYTES_MAX = 128 * 1024
"""What is passed over at the price of a tenth of a seek."""

FindFrames = Callable[[Collection[FrameId]], Mapping[FrameId, FramePlace]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a pack that are read at once.

    Attributes:
        frames: How many frames of the plan are in it.
    """

    pack: ObjectName
    offset: int
    length: int
    frames: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Frames that will be decoded once each.

    No frame of a plan needs itself by way of others: who decodes one may wait for another.

    Attributes:
        places: Where the frames are. What the vault does not have is left out: it is told when it is read.
        uses: How often each frame is needed, by the extents and as a base of other frames of the plan.
        stretches: The read that brings each frame.
    """

    places: Mapping[FrameId, FramePlace]
    uses: Mapping[FrameId, int]
    stretches: Mapping[FrameId, Stretch]


def make_plan(extents: Iterable[Extent], find_frames: FindFrames, is_known: Callable[[FrameId], bool]) -> Plan:
    """Plan the reading of extents.

    Args:
        find_frames: Looks places up, as `Catalog.find_frames`.
        is_known: Tells which frames are at hand or planned already; what they need is not planned again.
    """
    uses: Counter[FrameId] = Counter(extent.frame for extent in extents)
    places: dict[FrameId, FramePlace] = {}
    level = {frame for frame in uses if not is_known(frame)}
    while level:
        found = find_frames(level)
        places.update(found)
        needed = {base.frame for place in found.values() for base in place.record.bases}
        level = {frame for frame in needed if frame not in places and not is_known(frame)}
    places = _acyclic(places)
    for place in places.values():
        uses.update(base.frame for base in place.record.bases)
    return Plan(places, uses, _merge(places.values()))


def _acyclic(places: Mapping[FrameId, FramePlace]) -> dict[FrameId, FramePlace]:
    """Return the frames that can be decoded, bases first; a hostile vault may hold some that need each other."""
    waiting = {
        frame: {base.frame for base in place.record.bases if base.frame in places} for frame, place in places.items()
    }
    dependents: dict[FrameId, list[FrameId]] = {}
    for frame, bases in waiting.items():
        for base in bases:
            dependents.setdefault(base, []).append(frame)
    ready = [frame for frame, bases in waiting.items() if not bases]
    sorted_places: dict[FrameId, FramePlace] = {}
    while ready:
        frame = ready.pop()
        sorted_places[frame] = places[frame]
        for dependent in dependents.get(frame, ()):
            waiting[dependent].discard(frame)
            if not waiting[dependent]:
                ready.append(dependent)
    return sorted_places


def _merge(places: Iterable[FramePlace]) -> dict[FrameId, Stretch]:
    """Merge frames that are near each other in a pack into stretches."""
    stretches: dict[FrameId, Stretch] = {}
    group: list[FramePlace] = []
    for place in sorted(places, key=lambda place: (place.pack, place.record.offset)):
        if group and not _fits(group, place):
            stretches.update(_stretch(group))
            group = []
        group.append(place)
    stretches.update(_stretch(group))
    return stretches


def _fits(group: list[FramePlace], place: FramePlace) -> bool:
    first, last = group[0], group[-1]
    end = last.record.offset + last.record.sealed_length
    return (
        place.pack == last.pack
        and 0 <= place.record.offset - end <= GAP_BYTES_MAX
        and place.record.offset + place.record.sealed_length - first.record.offset <= STRETCH_BYTES_MAX
    )


def _stretch(group: list[FramePlace]) -> dict[FrameId, Stretch]:
    if not group:
        return {}
    begin = group[0].record.offset
    end = group[-1].record.offset + group[-1].record.sealed_length
    stretch = Stretch(group[0].pack, begin, end - begin, len(group))
    return {place.record.id: stretch for place in group}
