"""How much may be asked for ahead of a line: enough to keep it busy, little enough that who asks next waits little.

A line answers in order, so what nobody waits for delays what somebody waits for by the time that it takes on the
line. The window grows while answers come about as fast as they ever did, and shrinks when they begin to queue.
Source: the idea is LEDBAT's (RFC 6817), with round trips of whole requests instead of one-way delays of packets.
"""

from __future__ import annotations

PIECE_BYTES_MIN = 16 * 1024
"""At 1 Mbit/s an eighth of a second of the line; its framing is 0.3 % of it."""
PIECE_BYTES_MAX = 1024 * 1024
WINDOW_BYTES_MIN = 2 * PIECE_BYTES_MIN
WINDOW_BYTES_MAX = 32 * 1024 * 1024
"""1 Gbit/s over 250 ms."""
QUEUE_SECONDS = 0.080
"""So long answers may queue: what is asked for next comes that much later, of the 300 ms that it may take."""
FORGET_SECONDS = 20.0
"""The fastest answer counts for one to two such spans: a line may have become longer or slower."""


class Window:
    """Bytes that may be on their way. Not safe for several threads.

    Args:
        now: Seconds that never go back.
    """

    def __init__(self, now: float) -> None:
        self.bytes = WINDOW_BYTES_MIN
        self._fastest = [float("inf"), float("inf")]
        self._since = self._shrunk_at = now
        self._enough = WINDOW_BYTES_MAX

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once."""
        return max(PIECE_BYTES_MIN, min(PIECE_BYTES_MAX, self.bytes // 8))

    def note(self, seconds: float, size: int, now: float) -> None:
        """Note that an answer came.

        Args:
            seconds: From asking to its last byte.
            size: Its bytes.
        """
        if now - self._since > FORGET_SECONDS:
            self._fastest, self._since = [float("inf"), self._fastest[0]], now
            # The queue must run dry once, or its own length would come to count as the line's: it would grow for ever.
            self.bytes = max(WINDOW_BYTES_MIN, self.bytes // 4)
        self._fastest[0] = min(self._fastest[0], seconds)
        queued = seconds - min(self._fastest)
        if queued < QUEUE_SECONDS / 2:
            # Twice as much a round trip at first; from where it once was too much, one piece more.
            more = size if self.bytes < self._enough else size * size // self.bytes
            self.bytes = min(WINDOW_BYTES_MAX, self.bytes + more)
        elif queued > QUEUE_SECONDS and now - seconds > self._shrunk_at:
            # What was asked for before it shrank says nothing about how it is since.
            self._shrunk_at = now
            self.bytes = self._enough = max(WINDOW_BYTES_MIN, self.bytes - self.bytes // 8)
