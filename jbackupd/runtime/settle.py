"""Let work that writes come to its end before a cancel is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def settled(work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns, or raise what it raises; a cancel meanwhile is raised only after it has ended.

    A thread cannot be cancelled: without this, the one who was cancelled would go on while its write still runs.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        # Nobody will look at the outcome any more; looked at here, asyncio does not complain.
        _ = task.cancelled() or task.exception()
        raise asyncio.CancelledError
    return task.result()
