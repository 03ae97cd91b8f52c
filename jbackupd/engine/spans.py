"""Sets of stretches of a frame's plaintext."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
"""Begin and end."""
_LOOSE_MAX = 64


class Spans:
    """A growing set of stretches."""

    __slots__ = ("_limit", "_spans")

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._limit = _LOOSE_MAX

    def add(self, begin: int, end: int) -> None:
        """Add a stretch."""
        self._spans.append((begin, end))
        if len(self._spans) > self._limit:
            self._spans = merged(self._spans)
            self._limit = max(_LOOSE_MAX, 2 * len(self._spans))

    def touches(self, begin: int, end: int) -> bool:
        """Tell whether any of a stretch is in the set."""
        return any(first < end and begin < last for first, last in self._spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same stretches in order, those that touch as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found
