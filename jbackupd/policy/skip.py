"""Which earlier point is a point encoded against? Skip-deltas, so that no chain is longer than eight.

The points n = sequence - 1 = 0, 1, 2, ... are laid out in runs. A run of level 1 is a plain chain: each point is
encoded against the one before. A run of level l is a row of runs of level l - 1; the first point of each is encoded
against the first point of the one before it, which takes one of the depth away from the runs that follow. So
C(d + l, l) points find room in a run of depth d and level l: 9 points at the first level, 45 at the second, 165 at
the third, 495 at the fourth, and no point needs more than eight others. The price is that the first point of a run
spans more than a day: on average 1.0 days over the first week, 1.9 over a month, 2.7 over four months.

Source: the binomial schedule of Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse
automatic differentiation", 1992, which covers the most steps for a given depth and number of levels; skip-deltas as in
Subversion's file system. Digits to base 4, which stood here before, need a depth of nine for 64 points and span 2.1
days over a month.
"""

from __future__ import annotations

from math import comb

DEPTH_MAX = 8
"""Frames that are decoded one after the other before a frame can be."""


def reference_of(sequence: int) -> int | None:
    """Return the sequence of the point that this one is encoded against; None for the first.

    Args:
        sequence: From 1.
    """
    before = _runs(sequence - 1)[1]
    return None if before is None else before + 1


def references_to_keep(sequence: int) -> set[int]:
    """Return the sequences that points after this one will be encoded against, this one included."""
    return {first + 1 for first in _runs(sequence - 1)[0]}


def _runs(n: int) -> tuple[list[int], int | None]:
    """Return where the runs begin that a point lies in, down to itself, and the point that it is encoded against."""
    first, before = 0, None
    depth, level = DEPTH_MAX, 0
    while comb(depth + level, level) <= n:
        level += 1
    firsts = [0]
    while first < n:
        level -= 1
        while n - first >= (room := comb(depth + level, level)):
            before, first, depth = first, first + room, depth - 1
        firsts.append(first)
    return firsts, before
