"""Choosing the stretches that a draft is encoded against."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jbackupd.codec.cutting import Anchors, joined
from jbackupd.codec.resemblance import STRETCH_BYTES_MAX, Stretches, find_stretches
from jbackupd.engine.closure import Budget, Closure
from jbackupd.engine.draft import Draft, Reference, slice_extents
from jbackupd.model.ids import FrameId
from jbackupd.model.records import Extent

KNOWN_PART = 0.5
"""A frame whose earlier version has fewer of its anchors is looked for elsewhere too: it was moved here, or
the path holds something else now."""
NEAR_BYTES = 16 * 1024
"""A record of a base takes fifty bytes, in the pack and in the index."""
WORTH_PART = 0.05
"""With fewer of a frame's anchors in common, a content is no help."""

Like = Callable[[Anchors, tuple[int, ...]], list[Reference]]


def choose_bases(
    draft: Draft, *, like: Like, closure_of: Callable[[Extent], Closure],
    budget: Budget,
) -> tuple[Extent, ...]:
    """Return the stretches that a draft is encoded against, within a budget, and note its lineage for its stream.

    Args:
        draft: Closed.
        like: Returns contents that resemble a frame, wherever they are; also those of given lineages.
        closure_of: Returns what an extent's frame needs.
    """
    small = [extent for reference in draft.references if reference.anchors is None for extent in reference.extents]
    candidates = _merged(small)
    for reference, stretches in _resembled(draft, like):
        if draft.kinship is not None:
            draft.kinship.note(reference.lineage)
        for begin, end in stretches.spans:
            candidates.extend(slice_extents(reference.extents, begin, end))
    return affordable(candidates, closure_of, budget)


def affordable(
    candidates: Iterable[Extent], closure_of: Callable[[Extent], Closure], budget: Budget
) -> tuple[Extent, ...]:
    """Return the candidates, in order, whose joint closure stays within a budget.

    An extent that would exceed it is left out, and later ones may still fit.
    """
    chosen: list[Extent] = []
    joint: dict[FrameId, int] = {}
    room = STRETCH_BYTES_MAX
    for extent in dict.fromkeys(candidates):
        closure = closure_of(extent)
        more = joint | closure.frames
        if extent.length <= room and closure.depth < budget.depth and budget.allows(more):
            chosen.append(extent)
            joint = more
            room -= extent.length
    return tuple(chosen)


def _merged(extents: list[Extent]) -> list[Extent]:
    """Return extents with those of one frame joined that are near each other."""
    merged: list[Extent] = []
    for extent in sorted(extents, key=lambda extent: (extent.frame, extent.offset)):
        last = merged[-1] if merged else None
        if last is not None and last.frame == extent.frame and extent.offset - last.offset - last.length <= NEAR_BYTES:
            end = max(last.offset + last.length, extent.offset + extent.length)
            merged[-1] = Extent(last.frame, last.offset, end - last.offset)
        else:
            merged.append(extent)
    return merged


def _resembled(draft: Draft, like: Like) -> list[tuple[Reference, Stretches]]:
    """Return contents that a draft resembles, with the stretches of each, what resembles it most first."""
    anchors = joined(draft.anchors)
    if not len(anchors):
        return []
    found = [_compared(anchors, reference) for reference in draft.references if reference.anchors is not None]
    if sum(stretches.hits for _, stretches in found) < KNOWN_PART * len(anchors):
        lineages = {reference.lineage for reference, _ in found} - {None}
        expected = tuple(draft.kinship.lineages) if draft.kinship is not None else ()
        found += [_compared(anchors, other) for other in like(anchors, expected) if other.lineage not in lineages]
    worth = [pair for pair in found if pair[1].hits > WORTH_PART * len(anchors)]
    return sorted(worth, key=lambda pair: pair[1].hits, reverse=True)


def _compared(anchors: Anchors, reference: Reference) -> tuple[Reference, Stretches]:
    assert reference.anchors is not None
    return reference, find_stretches(anchors, reference.anchors, reference.length)
