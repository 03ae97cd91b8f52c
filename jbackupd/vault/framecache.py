"""Plaintext of frames within a budget: what a plan still needs stays longest, what it has used up goes at once."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping

from jbackupd.model.ids import FrameId

SPENT_FRAMES = 4
"""So many frames stay after their last planned use: the next small file, not yet planned, often begins in one."""


class FrameCache:
    """Frames by id; not safe for several threads. The one that was put last stays, however long it is.

    A frame is *needed* while planned uses of it are left, *spent* after the last of them, else *free*: kept because
    somebody may want it again.

    Args:
        bytes_max: Plaintext kept at most.
    """

    def __init__(self, bytes_max: int) -> None:
        self._room = bytes_max
        self._uses: Counter[FrameId] = Counter()
        self._needed: OrderedDict[FrameId, bytes] = OrderedDict()
        self._spent: OrderedDict[FrameId, bytes] = OrderedDict()
        self._free: OrderedDict[FrameId, bytes] = OrderedDict()

    def __contains__(self, frame: FrameId) -> bool:
        return any(frame in kept for kept in (self._needed, self._spent, self._free))

    def get(self, frame: FrameId) -> bytes | None:
        """Return a frame that is here, and let it be the newest of its sort."""
        for kept in (self._needed, self._free, self._spent):
            data = kept.get(frame)
            if data is not None:
                kept.move_to_end(frame)
                return data
        return None

    def put(self, frame: FrameId, data: bytes) -> None:
        """Keep a frame; others may go."""
        if frame in self:
            return
        (self._needed if self._uses[frame] else self._free)[frame] = data
        self._room -= len(data)
        for kept in (self._spent, self._free, self._needed):
            while self._room < 0 and kept and next(iter(kept)) != frame:
                self._drop_oldest(kept)

    def expect(self, uses: Mapping[FrameId, int]) -> None:
        """Let frames be needed so many times more; they need not be here yet."""
        for frame, count in uses.items():
            self._uses[frame] += count
            for kept in (self._spent, self._free):
                if frame in kept:
                    self._needed[frame] = kept.pop(frame)

    def used(self, frame: FrameId, count: int = 1) -> None:
        """Note uses that were expected; after the last one a frame is spent."""
        self._uses[frame] -= count
        if self._uses[frame] <= 0:
            del self._uses[frame]
            if frame in self._needed:
                self._spent[frame] = self._needed.pop(frame)
                if len(self._spent) > SPENT_FRAMES:
                    self._drop_oldest(self._spent)

    def clear(self) -> None:
        """Drop all plaintext; what is expected stays expected."""
        for kept in (self._needed, self._spent, self._free):
            while kept:
                self._drop_oldest(kept)

    def _drop_oldest(self, kept: OrderedDict[FrameId, bytes]) -> None:
        self._room += len(kept.popitem(last=False)[1])
