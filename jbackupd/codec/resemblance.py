"""Which stretches of an earlier content does a frame resemble? Anchors vote.

Source: the idea is stream-informed delta compression (Shilane et al., FAST'12), with anchors in
place of super-features: what matters is where in the earlier content, not only which content.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jbackupd.codec.cutting import Anchors, anchor_table, thinned

GAP_BYTES = 64 * 1024
"""Hits nearer than this belong to one stretch; a chunk's average length."""
MARGIN_BYTES = 32 * 1024
"""Taken on either side: an anchor marks a piece's begin, and edges are where edits hide. 4 KiB costs 5 %
more bytes on the register dump, 128 KiB gains nothing."""
HITS_MIN = 2
"""One anchor alone is often a coincidence of forms."""
SPACINGS = 8
"""Hits of thinned anchors may be so many times their average distance apart."""
STRETCHES_MAX = 16
"""What is new of a disk image comes from everywhere: with eight, a day cost half as much again; with 32 no less."""
STRETCH_BYTES_MAX = 8 * 1024 * 1024
"""Twice the largest frame: enough for content that grew or moved, and it bounds the decoder's memory."""
ANCHORS_MAX = 1 << 20
"""Of one content, 16 MiB in memory and in the catalog: 2 GiB at the anchors' own distance; beyond, every second one
is dropped, and again."""


class AnchorCollector:
    """Collects the anchors of a content of any length in bounded memory."""

    def __init__(self) -> None:
        self._parts: list[Anchors] = []
        self._count = 0
        self._halvings = 0

    def add(self, anchors: Anchors) -> None:
        """Take the anchors of the next chunk."""
        anchors = thinned(anchors, self._halvings)
        self._parts.append(anchors)
        self._count += len(anchors)
        if self._count > ANCHORS_MAX:
            self._halvings += 1
            self._parts = [thinned(np.concatenate(self._parts), self._halvings)]
            self._count = len(self._parts[0])

    def table(self) -> Anchors:
        """Return them sorted by hash, those left out that occur more than once."""
        return anchor_table(self._parts)


@dataclass(frozen=True, slots=True)
class Stretches:
    """What a frame has in common with an earlier content.

    Attributes:
        spans: Disjoint [begin, end) in ascending order, together at most STRETCH_BYTES_MAX bytes.
        hits: The frame's anchors that lie in them.
    """

    spans: tuple[tuple[int, int], ...] = ()
    hits: int = 0


def find_stretches(found: Anchors, reference: Anchors, reference_bytes: int) -> Stretches:
    """Return the stretches of a reference that a frame resembles most; none where it resembles nothing.

    Args:
        found: The frame's anchors, any order.
        reference: The reference's anchors, sorted by hash.
        reference_bytes: Length of the reference; stretches stay inside.
    """
    hits = _hits(found, reference)
    if not len(hits):
        return Stretches()
    gap = max(GAP_BYTES, SPACINGS * reference_bytes // len(reference))
    breaks = np.flatnonzero(np.diff(hits) > gap)
    firsts = np.concatenate(([0], breaks + 1))
    lasts = np.concatenate((breaks, [len(hits) - 1]))
    clusters = sorted(
        ((int(last - first + 1), int(hits[first]), int(hits[last])) for first, last in zip(firsts, lasts, strict=True)),
        reverse=True,
    )
    chosen: list[tuple[int, int]] = []
    room, votes_of_chosen = STRETCH_BYTES_MAX, 0
    for votes, begin, end in clusters[:STRETCHES_MAX]:
        stretch = max(0, begin - MARGIN_BYTES), min(reference_bytes, end + MARGIN_BYTES)
        if votes >= HITS_MIN and stretch[1] - stretch[0] <= room:
            chosen.append(stretch)
            room -= stretch[1] - stretch[0]
            votes_of_chosen += votes
    return Stretches(_merged(sorted(chosen)), votes_of_chosen)


def _hits(found: Anchors, reference: Anchors) -> npt.NDArray[np.int64]:
    """Return the sorted reference positions of the anchors that both have."""
    if not len(reference) or not len(found):
        return np.empty(0, dtype=np.int64)
    wanted = found["hash"]
    places = np.searchsorted(reference["hash"], wanted)
    places[places == len(reference)] = 0
    equal = reference["hash"][places] == wanted
    return np.sort(reference["position"][places[equal]].astype(np.int64))


def _merged(stretches: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join stretches that touch or overlap; they are sorted."""
    merged: list[tuple[int, int]] = []
    for begin, end in stretches:
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return tuple(merged)
