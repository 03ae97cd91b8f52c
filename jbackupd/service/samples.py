"""The sample restores of a site: every dataset that can be read here, again before its proof is too old."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import DatasetId
from jbackupd.model.texts import _
from jbackupd.runtime.offload import Offload
from jbackupd.service.control import Body, Call, Control
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.runner import Runner
from jbackupd.service.sampling import SampleResult, SampleState, clear_scratch, is_due, last_result, sample
from jbackupd.service.wiring import point_lists, tenants_here
from jbackupd.storage.files import PosixFiles

LOOK_SECONDS = 60.0


class SampleArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dataset."""

    dataset: str


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """How a dataset stands.

    Attributes:
        result: Of the last sample.
        within: For so long it counts.
    """

    result: SampleResult | None
    within: timedelta


def datasets_here(files: PosixFiles, live: Live) -> list[DatasetId]:
    """Return the datasets that have a point at this site, own and held, sorted. Blocks."""
    found: set[DatasetId] = set()
    for tenant in tenants_here(files):
        for points in point_lists(live.settings, tenant):
            found |= set(points.datasets())
    return sorted(found)


class Samples:
    """Owns the sample restores of this run of the daemon.

    Args:
        runner: Knows when the daemon stops, and rings when something has changed.
    """

    def __init__(
        self, live: Live, files: PosixFiles, runner: Runner, *, offload: Offload, clock: Clock, log: Log
    ) -> None:
        self.facts: dict[DatasetId, SampleFacts] = {}
        self._live = live
        self._files = files
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log
        self._turn = asyncio.Lock()

    def register(self, control: Control) -> None:
        """Let commands ask for a sample."""
        control.register("sample", SampleArguments, self._asked)

    async def run(self) -> None:
        """Sample what is due, one dataset after the other."""
        await self._offload.disk(clear_scratch, self._files)
        while not self._runner.stopping:
            seen = self._runner.news.revision
            known = await self._offload.disk(datasets_here, self._files, self._live)
            for gone in self.facts.keys() - set(known):
                del self.facts[gone]
            for dataset in known:
                await self._look(dataset)
                wanted = self._live.settings.sample
                if wanted.enabled and is_due(self.facts[dataset].result, wanted.within, self._clock.now()):
                    await self._sample_due(dataset)
            await self._runner.news.within(seen, LOOK_SECONDS)

    async def _look(self, dataset: DatasetId) -> None:
        result = await self._offload.disk(last_result, self._files, dataset)
        self.facts[dataset] = SampleFacts(result, self._live.settings.sample.within)

    async def _sample_due(self, dataset: DatasetId) -> None:
        if self._runner.stopping:
            return
        try:
            await self._sample(dataset)
        except JbackupdError as error:
            self._log.error(_("{dataset}: no sample was restored: {reason}"), dataset=dataset, reason=error)

    async def _sample(self, dataset: DatasetId) -> SampleResult:
        async with self._turn:
            result = await asyncio.to_thread(
                sample, self._live.settings, dataset, self._clock.now(), stopped=lambda: self._runner.stopping,
                clock=time.monotonic,
            )
        self.facts[dataset] = SampleFacts(result, self._live.settings.sample.within)
        if result.state is SampleState.FAILED:
            self._log.error(_("{dataset}: it cannot be restored as it was taken: {reason}"), dataset=dataset,
                            reason=result.reason)
        elif result.state is SampleState.PROVED:
            self._log.info(
                _("{dataset}: a sample of {point} was restored and compared: {files} of {total} files"),
                dataset=dataset, point=result.point, files=result.files, total=result.total_files,
            )
        self._runner.news.ring()
        return result

    async def _asked(self, call: Call[SampleArguments]) -> Body:
        found: Body = msgspec.to_builtins(await self._sample(DatasetId.parse(call.arguments.dataset)))
        return found
