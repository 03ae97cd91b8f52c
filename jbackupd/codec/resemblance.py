"""Which stretches of an earlier version does a frame resemble? Anchors vote.

Source: the idea is stream-informed delta compression (Shilane et al., FAST'12), with anchors in
place of super-features, because the earlier version of the same file is known: what matters is
where in it, not which file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jbackupd.codec.cutting import Anchors

GAP_BYTES = 64 * 1024
"""Hits nearer than this belong to one stretch; a chunk's average length."""
MARGIN_BYTES = 32 * 1024
"""Taken on either side: an anchor marks a piece's begin, and edges are where edits hide. 4 KiB costs 5 %
more bytes on the register dump, 128 KiB gains nothing."""
HITS_MIN = 2
"""One anchor alone is often a coincidence of forms."""
STRETCHES_MAX = 8
STRETCH_BYTES_MAX = 8 * 1024 * 1024
"""Twice the largest frame: enough for content that grew or moved, and it bounds the decoder's memory."""


def find_stretches(
    found: Sequence[tuple[int, int]], reference: Anchors, reference_bytes: int
) -> list[tuple[int, int]]:
    """Return the stretches [begin, end) of a reference that a frame resembles most.

    Args:
        found: The frame's anchors, any order.
        reference: The reference's anchors, sorted by hash.
        reference_bytes: Length of the reference; stretches stay inside.

    Returns:
        Disjoint stretches in ascending order, together at most STRETCH_BYTES_MAX bytes; empty where
        the frame resembles nothing.
    """
    hits = _hits(found, reference)
    if not len(hits):
        return []
    breaks = np.flatnonzero(np.diff(hits) > GAP_BYTES)
    firsts = np.concatenate(([0], breaks + 1))
    lasts = np.concatenate((breaks, [len(hits) - 1]))
    clusters = sorted(
        ((int(last - first + 1), int(hits[first]), int(hits[last])) for first, last in zip(firsts, lasts, strict=True)),
        reverse=True,
    )
    chosen: list[tuple[int, int]] = []
    room = STRETCH_BYTES_MAX
    for votes, begin, end in clusters[:STRETCHES_MAX]:
        stretch = max(0, begin - MARGIN_BYTES), min(reference_bytes, end + MARGIN_BYTES)
        if votes >= HITS_MIN and stretch[1] - stretch[0] <= room:
            chosen.append(stretch)
            room -= stretch[1] - stretch[0]
    return _merged(sorted(chosen))


def _hits(found: Sequence[tuple[int, int]], reference: Anchors) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the sorted reference positions of the anchors that both have."""
    if not len(reference) or not found:
        return np.empty(0, dtype=np.int64)
    wanted = np.array([anchor[0] for anchor in found], dtype=np.uint64)
    places = np.searchsorted(reference["hash"], wanted)
    places[places == len(reference)] = 0
    equal = reference["hash"][places] == wanted
    return np.sort(reference["position"][places[equal]].astype(np.int64))


def _merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches that touch or overlap; they are sorted."""
    merged: list[tuple[int, int]] = []
    for begin, end in stretches:
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged
