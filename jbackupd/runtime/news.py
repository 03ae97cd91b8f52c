"""Something has changed: told once to everybody who waits, without queues that could grow."""

from __future__ import annotations

import asyncio


class News:
    """A counter that can be waited for. Belongs to one event loop; ring it from that loop.

    Args:
        above: News of which these are a part; rings too.
    """

    def __init__(self, above: News | None = None) -> None:
        self.revision = 0
        self._above = above
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Say that something has changed."""
        self.revision += 1
        self._rung.set()
        self._rung = asyncio.Event()
        if self._above is not None:
            self._above.ring()

    async def after(self, seen: int) -> int:
        """Return the revision as soon as it differs from one that was seen; several changes may be one."""
        while self.revision == seen:
            await self._rung.wait()
        return self.revision

    async def within(self, seen: int, seconds: float) -> bool:
        """Wait for a change, but no longer than this; tell whether there was one."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self.after(seen)
        except TimeoutError:
            return False
        return True
