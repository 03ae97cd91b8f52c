"""A token bucket: how fast a link may send. Pure; time is an argument."""

from __future__ import annotations

BURST_SECONDS = 0.25
"""What may go out at once after a pause, as time at the full rate: a quarter second is not felt by
the others on a shared line, and a timer that fires late still loses nothing."""
BURST_BYTES_MIN = 16 * 1024


class TokenBucket:
    """Tokens are bytes; they come in at a rate and may be saved up to the burst.

    An amount larger than the burst is let through when the bucket is full and leaves a debt, so
    the average is kept whatever the amounts are.

    Args:
        rate: Bytes a second; None is unlimited, 0 stops everything.
        now: Monotonic seconds.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        _check(rate)
        self._rate = rate
        self._balance = self.burst
        self._updated = now

    @property
    def rate(self) -> float | None:
        """Bytes a second; None is unlimited."""
        return self._rate

    @property
    def burst(self) -> float:
        """The most that is ever saved up, in bytes; 0 while stopped or unlimited."""
        return max(BURST_BYTES_MIN, self._rate * BURST_SECONDS) if self._rate else 0.0

    def set_rate(self, rate: float | None, now: float) -> None:
        """Change the rate from now on; savings above the new burst are lost, a debt stays."""
        _check(rate)
        self._fill(now)
        self._rate = rate
        self._balance = min(self._balance, self.burst)

    def take(self, amount: int, now: float) -> float:
        """Spend an amount, or tell how long to wait before asking again.

        Args:
            amount: Bytes, 0 or more.
            now: Monotonic seconds, never before an earlier call's.

        Returns:
            0.0 when the amount was spent; otherwise nothing was spent, and it is the number of
            seconds (perhaps infinite) after which this amount will be let through.
        """
        if self._rate is None:
            return 0.0
        self._fill(now)
        if self._rate == 0:
            return float("inf") if amount else 0.0
        missing = min(float(amount), self.burst) - self._balance
        # A millionth of a byte is rounding, not debt: without this a waiter may be sent to sleep for 0 seconds.
        if missing > 1e-6:
            return missing / self._rate
        self._balance -= amount
        return 0.0

    def _fill(self, now: float) -> None:
        if self._rate:
            self._balance = min(self.burst, self._balance + max(0.0, now - self._updated) * self._rate)
        self._updated = max(now, self._updated)


def _check(rate: float | None) -> None:
    if rate is not None and not 0 <= rate < float("inf"):
        raise ValueError("a rate is None or a finite number of bytes a second, 0 or more")
