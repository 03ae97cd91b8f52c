"""Waiting for a token bucket: the limit of one direction of one link, changed while it is in use."""

from __future__ import annotations

import asyncio

from jbackupd.model.clock import Clock, SystemClock
from jbackupd.policy.rate import TokenBucket

PIECE_SECONDS = 0.125
PIECE_BYTES_MIN = 4 * 1024
"""Smaller pieces would pay more for headers than they gain in smoothness."""


class Pacer:
    """Lets bytes through at a rate, first come first served.

    Args:
        rate: Bytes a second; None is unlimited, 0 stops the link without closing it.
        clock: For tests.
    """

    def __init__(self, rate: float | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._bucket = TokenBucket(rate, self._clock.monotonic())
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def rate(self) -> float | None:
        """Bytes a second; None is unlimited."""
        return self._bucket.rate

    def set_rate(self, rate: float | None) -> None:
        """Change the limit at once, also for those who are waiting."""
        self._bucket.set_rate(rate, self._clock.monotonic())
        self._changed.set()

    def piece(self, most: int) -> int:
        """Return how many bytes to send at a time so that the line carries an even flow: 4 KiB to most."""
        if self.rate is None:
            return most
        return max(min(most, PIECE_BYTES_MIN), min(most, int(self.rate * PIECE_SECONDS)))

    async def spend(self, amount: int) -> None:
        """Return when this many bytes may go; the order of callers is kept."""
        async with self._turn:
            while delay := self._bucket.take(amount, self._clock.monotonic()):
                self._changed.clear()
                await self._wait(delay)

    async def _wait(self, delay: float) -> None:
        try:
            async with asyncio.timeout(None if delay == float("inf") else delay):
                await self._changed.wait()
        except TimeoutError:
            return
