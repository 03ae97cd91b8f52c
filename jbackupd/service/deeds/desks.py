"""Steps of kind unlock and desk: the keys, and the counter."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from jbackupd.service.counter import Counter
from jbackupd.service.deeds.work import Tell, Work
from jbackupd.settings.steps import DeskStep, UnlockStep


class Unlocking:
    """Makes the tenant's key of the shares; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: UnlockStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Unlock."""
        return await self._work.unlock(tell)

    async def undo(self, step: UnlockStep) -> None:
        """Forget the keys."""
        await self._work.forget()

    async def close(self) -> None:
        """Forget the keys."""
        await self._work.forget()


class Desking:
    """Opens desks; see `work.Deed`."""

    def __init__(self, work: Work, counter: Counter) -> None:
        self._work = work
        self._counter = counter

    async def perform(self, step: DeskStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Load the extract, once, and answer clerks."""
        return await self._counter.open(step, self._work.restored(step.data))

    async def undo(self, step: DeskStep) -> None:
        """Close it; what clerks wrote down is kept."""
        await self._counter.close_one(step.id)

    async def close(self) -> None:
        """Close all desks."""
        await self._counter.close()
