"""A recovery run of this process: its task, its deeds, and whoever watches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from jbackupd.codec.shares import Share
from jbackupd.continuity.plan import holds_keys_open
from jbackupd.continuity.record import RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run, defect, failure
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.site import SiteDeeds
from jbackupd.service.premises import Premises

News = Mapping[str, Any]
WATCHER_BEHIND_MAX = 32


class LiveRun:
    """One run; it does nothing before `launch`.

    Args:
        record: New, or opened to be resumed.
        shares: As the officers gave them.
        defect_in: Hears of exceptions that are not of our tree.
        learned: Time-outs in seconds of the plan's steps, from drills.
    """

    def __init__(
        self, premises: Premises, record: RunRecord, shares: Sequence[Share], clock: Clock,
        defect_in: Callable[[str, Exception], None], learned: Mapping[str, float],
    ) -> None:
        self.record = record
        self._deeds = SiteDeeds(premises, record, shares)
        self._defect_in = defect_in
        self._watchers: list[asyncio.Queue[News | None]] = []
        self._task: asyncio.Task[bool] | None = None
        self._loop = asyncio.get_running_loop()
        self.run = Run(record, self._deeds, clock, self._tell, defect_in, learned=learned)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is under way; desks may still be open."""
        return self._task is None or self._task.done()

    def launch(self, *, again: bool, keys: bool) -> None:
        """Let it begin or go on; see `continuity.run.Run.go`."""
        name = self.record.beginning.run
        self._task = asyncio.create_task(self._go(name, again=again, keys=keys), name=f"recovery {name}")

    def cancel(self) -> None:
        """Let what is under way settle; the run stays journalled as it is."""
        if self._task is not None:
            self._task.cancel()

    async def settle(self) -> None:
        """Wait until nothing is under way, then close the desks and the journal."""
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._deeds.close()
        self.record.close()

    async def watch(self) -> AsyncIterator[News]:
        """Yield news until it is over."""
        queue: asyncio.Queue[News | None] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            if not self.is_over:
                while (news := await queue.get()) is not None:
                    yield news
        finally:
            self._watchers.remove(queue)

    def document(self) -> dict[str, Any]:
        """Return its report, and how it stands in this process."""
        return {**run_document(self.record), "under_way": not self.is_over, "stopped": self._stopped()}

    async def _go(self, name: str, *, again: bool, keys: bool) -> bool:
        try:
            return await self.run.go(again=again, keys=keys)
        except JbackupdError:
            # Told to whoever asks, by `document`.
            raise
        except Exception as error:
            self._defect_in(f"recovery {name}", error)
            raise
        finally:
            try:
                if not holds_keys_open(self.record.plan, self.record.standing):
                    await settled(self._deeds.forget())
            finally:
                self._spread(None)

    def _tell(self, step: str, news: News) -> None:
        # Progress comes from threads.
        self._loop.call_soon_threadsafe(self._spread, {"step": step, **news})

    def _spread(self, news: News | None) -> None:
        """Tell all watchers; one that does not keep up misses progress, never an event."""
        for queue in self._watchers:
            if news is None or news.get("event") != "progress" or queue.qsize() < WATCHER_BEHIND_MAX:
                queue.put_nowait(news)

    def _stopped(self) -> dict[str, Any] | None:
        """Return why it stopped before its end, as an error for machines; None if it did not."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        error = self._task.exception()
        if error is None:
            return None
        told = failure(error) if isinstance(error, JbackupdError) else defect(error)
        return dict(told["error"])
