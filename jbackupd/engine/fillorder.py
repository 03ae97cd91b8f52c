"""What is fetched next when nobody waits: what lies behind that which was read last, then everything in order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jbackupd.model.ids import ObjectName

NEAR_BYTES = 2 * 1024 * 1024
"""Fetched behind every place that is read: a reader that goes on finds its next frames on their way. At 10 Mbit/s
1.7 seconds of the line, so a reader that jumps about soon gets another place's neighbourhood."""
TOUCHES_MAX = 64
"""Places that are remembered; a booting system reads some thousand, and the oldest do not matter any more."""

FirstHole = Callable[[ObjectName, int], tuple[int, int] | None]
"""Returns the first range of a pack, from an offset on, that is neither here nor on its way; None without any."""


@dataclass(slots=True)
class _Touch:
    """A place that was read: where filling goes on, and how much of it is left."""

    pack: int
    offset: int
    left: int


class FillOrder:
    """Decides what to fetch next. Not safe for several threads.

    Args:
        packs: Of what is filled, in its order, none twice.
        near_bytes: Fetched behind a place that was read.
    """

    def __init__(self, packs: Sequence[ObjectName] = (), *, near_bytes: int = NEAR_BYTES) -> None:
        self._near = near_bytes
        self._touches: list[_Touch] = []
        self.set(packs)

    def set(self, packs: Sequence[ObjectName]) -> None:
        """Let these be filled, in this order; what was read of them before counts."""
        self.packs = list(packs)
        self._numbers = {name: number for number, name in enumerate(self.packs)}
        self._touches.clear()
        self._first = 0

    def restart(self) -> None:
        """Look at everything again: something that was on its way did not come."""
        self._first = 0

    def touch(self, name: ObjectName, end: int) -> None:
        """Note that a pack was read up to some offset; a pack that is not filled is passed over."""
        number = self._numbers.get(name)
        if number is None:
            return
        # A reader that goes on moves its place instead of leaving a trail of them.
        for known in self._touches:
            if known.pack == number and known.offset - self._near <= end <= known.offset + self._near:
                self._touches.remove(known)
                break
        self._touches.append(_Touch(number, end, self._near))
        del self._touches[:-TOUCHES_MAX]

    def next(self, first_hole: FirstHole, piece_bytes: int) -> tuple[ObjectName, int, int] | None:
        """Return the pack, begin and end of what to fetch next, at most a piece; None when nothing is left."""
        while self._touches:
            touch = self._touches[-1]
            found = self._behind(touch, first_hole, piece_bytes)
            if found is not None:
                return found
            self._touches.remove(touch)
        return self._in_order(first_hole, piece_bytes)

    def _behind(self, touch: _Touch, first_hole: FirstHole, piece_bytes: int) -> tuple[ObjectName, int, int] | None:
        while touch.left > 0 and touch.pack < len(self.packs):
            name = self.packs[touch.pack]
            hole = first_hole(name, touch.offset)
            if hole is None:
                touch.pack, touch.offset = touch.pack + 1, 0
                # A step costs a little too: what is here already must not be walked through to its end.
                touch.left -= piece_bytes
                continue
            begin, end = hole[0], min(hole[1], hole[0] + piece_bytes)
            touch.left -= end - touch.offset
            touch.offset = end
            return name, begin, end
        return None

    def _in_order(self, first_hole: FirstHole, piece_bytes: int) -> tuple[ObjectName, int, int] | None:
        for number in range(self._first, len(self.packs)):
            hole = first_hole(self.packs[number], 0)
            if hole is not None:
                return self.packs[number], hole[0], min(hole[1], hole[0] + piece_bytes)
            if number == self._first:
                self._first += 1
        return None
