"""Sets of byte ranges: what is here of an object, what is on its way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""Begin and end."""


class Ranges:
    """A set of ranges, kept sorted, those that touch as one. Not safe for several threads.

    Args:
        ranges: To begin with.
    """

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in ranges:
            self.add(begin, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._begins, self._ends, strict=True))

    @property
    def total(self) -> int:
        """How many bytes it holds."""
        return sum(self._ends) - sum(self._begins)

    def add(self, begin: int, end: int) -> None:
        """Add a range."""
        if begin >= end:
            return
        # All that touch it: from the first that ends at its begin or later, to the last that begins at its end.
        first, last = bisect_left(self._ends, begin), bisect_right(self._begins, end)
        if first < last:
            begin, end = min(begin, self._begins[first]), max(end, self._ends[last - 1])
        self._begins[first:last], self._ends[first:last] = [begin], [end]

    def remove(self, begin: int, end: int) -> None:
        """Take a range out."""
        if begin >= end:
            return
        first, last = bisect_right(self._ends, begin), bisect_left(self._begins, end)
        kept: list[Range] = []
        if first < last:
            outer = (self._begins[first], begin), (end, self._ends[last - 1])
            kept = [(left, right) for left, right in outer if left < right]
        self._begins[first:last] = [left for left, _ in kept]
        self._ends[first:last] = [right for _, right in kept]

    def covers(self, begin: int, end: int) -> bool:
        """Tell whether all of a range is in the set."""
        at = bisect_right(self._begins, begin) - 1
        return begin >= end or (at >= 0 and self._ends[at] >= end)

    def holes(self, begin: int, end: int) -> list[Range]:
        """Return the parts of a range that are not in the set, in order."""
        found: list[Range] = []
        at = bisect_right(self._ends, begin)
        while begin < end:
            if at == len(self._begins) or self._begins[at] >= end:
                found.append((begin, end))
                break
            if self._begins[at] > begin:
                found.append((begin, self._begins[at]))
            begin, at = self._ends[at], at + 1
        return found
