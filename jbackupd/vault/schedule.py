"""Which frame is decoded next: bases before what needs them, and what was asked for first before what comes later.

With every thread following the bases of a frame of its own, they wait for each other a third of the time, since
neighbours share bases. So no thread owns a frame: each takes the next one whose bases are all there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heappop, heappush

from jbackupd.model.ids import FrameId


class Schedule:
    """Frames that were asked for, with what they need; not safe for several threads."""

    def __init__(self) -> None:
        self._missing: dict[FrameId, set[FrameId]] = {}
        self._dependents: dict[FrameId, list[FrameId]] = {}
        self._ready: list[tuple[int, FrameId]] = []
        self._order: dict[FrameId, int] = {}
        self._count = 0

    def ask(self, frame: FrameId, bases_of: Callable[[FrameId], Collection[FrameId]]) -> tuple[list[FrameId], int]:
        """Ask for a frame and all that it needs.

        Args:
            bases_of: The bases of a frame that are still to be decoded; has no circles.

        Returns:
            What was not asked for before, and how many of them can be decoded at once.
        """
        new: list[FrameId] = []
        path = [(frame, iter(bases_of(frame)))] if frame not in self._missing else []
        self._missing.setdefault(frame, set())
        while path:
            current, bases = path[-1]
            for base in bases:
                self._missing[current].add(base)
                self._dependents.setdefault(base, []).append(current)
                if base not in self._missing:
                    self._missing[base] = set()
                    path.append((base, iter(bases_of(base))))
                    break
            else:
                path.pop()
                new.append(current)
                self._enter(current)
        return new, sum(not self._missing[one] for one in new)

    def next(self) -> FrameId | None:
        """Return a frame whose bases are all there, or None when there is none just now."""
        return heappop(self._ready)[1] if self._ready else None

    def done(self, frame: FrameId) -> int:
        """Note that a frame is there; return how many can be decoded now that could not before."""
        self._forget(frame)
        ready = 0
        for dependent in self._dependents.pop(frame, ()):
            missing = self._missing.get(dependent)
            if missing is not None and frame in missing:
                missing.discard(frame)
                if not missing:
                    heappush(self._ready, (self._order[dependent], dependent))
                    ready += 1
        return ready

    def failed(self, frame: FrameId) -> list[FrameId]:
        """Note that a frame cannot be had; return all that needs it, by way of others too. It is asked for no more."""
        lost: list[FrameId] = []
        waiting = [frame]
        while waiting:
            current = waiting.pop()
            self._forget(current)
            for dependent in self._dependents.pop(current, ()):
                if dependent in self._missing:
                    lost.append(dependent)
                    waiting.append(dependent)
                    self._forget(dependent)
        return lost

    def _enter(self, frame: FrameId) -> None:
        self._order[frame] = self._count
        self._count += 1
        if not self._missing[frame]:
            heappush(self._ready, (self._order[frame], frame))

    def _forget(self, frame: FrameId) -> None:
        self._missing.pop(frame, None)
        self._order.pop(frame, None)
