"""Reading what is known beforehand: planned in steps, decoded ahead on other threads, each frame once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jbackupd.model.ids import FrameId
from jbackupd.model.records import Extent

if TYPE_CHECKING:
    from jbackupd.vault.reader import FrameReader

STEP_EXTENTS = 128
"""Planned at once, and always so many before they are read: some 200 MB of a dump. With closures of 64 frames the
plans of two steps take 13 MB of memory."""


class Reading:
    """Extents that will be read once each, in about the order in which they were announced. Close it after use.

    One thread reads; others decode for it.

    Args:
        reader: Decodes.
        announced: What will be read first. More may be read after it, and some of it may be passed over.
    """

    def __init__(self, reader: FrameReader, announced: Iterable[Extent]) -> None:
        self._reader = reader
        # Reentrant, as the reader's: what is collected while this is held may be a reading.
        self._lock = threading.RLock()
        self._left: Counter[FrameId] = Counter()
        self._ahead: dict[FrameId, int] = {}
        first = list(islice(announced, 2 * STEP_EXTENTS))
        self._unread = len(first)
        self._plan(first)
        for frame in dict.fromkeys(extent.frame for extent in first):
            if not self._look_ahead(frame):
                break

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything that was planned and not read."""
        with self._lock:
            left, self._left = self._left, Counter()
            ahead, self._ahead = self._ahead, {}
        self._reader.end_reading(self, left, sum(ahead.values()))

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents, in order.

        Raises:
            As `FrameReader.frame`.
        """
        wanted = extents if isinstance(extents, tuple) else tuple(extents)
        if len(wanted) == 1 and self._unread:
            yield self._take(wanted[0])
            return
        planned = min(self._unread, len(wanted))
        looked = 0
        for position, extent in enumerate(wanted):
            if position + STEP_EXTENTS > planned and planned < len(wanted):
                step = wanted[planned : planned + STEP_EXTENTS]
                self._plan(step)
                planned += len(step)
                self._unread += len(step)
            looked = max(looked, position + 1)
            while looked < planned and self._look_ahead(wanted[looked].frame):
                looked += 1
            yield self._take(extent)

    def note_used(self, frames: Iterable[FrameId]) -> None:
        """Note that frames were used as bases of another one."""
        for frame in frames:
            self._use(frame)

    def _plan(self, extents: Sequence[Extent]) -> None:
        plan = self._reader.plan(self, extents)
        with self._lock:
            self._left.update(plan.uses)

    def _look_ahead(self, frame: FrameId) -> bool:
        """Let a frame be decoded on another thread; false when enough is under way."""
        if frame in self._ahead:
            return True
        length = self._reader.decode_ahead(frame, at_any_price=not self._ahead)
        if length:
            with self._lock:
                self._ahead[frame] = length
        return length is not None

    def _take(self, extent: Extent) -> bytes:
        try:
            data = self._reader.frame(extent.frame)
        finally:
            self._note_read(extent.frame)
        return self._reader.slice(data, extent)

    def _note_read(self, frame: FrameId) -> None:
        self._unread -= self._unread > 0
        with self._lock:
            length = self._ahead.pop(frame, 0)
        if length:
            self._reader.note_taken(length)
        self._use(frame)

    def _use(self, frame: FrameId) -> None:
        with self._lock:
            if not self._left[frame]:
                return
            self._left[frame] -= 1
            if not self._left[frame]:
                # A file of terabytes must not leave a name here for each of its frames.
                del self._left[frame]
        self._reader.note_use(frame)
