"""Reclaims that a daemon does: on its schedule and at a request, one vault at a time, never while a point is taken."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any

import msgspec

from jbackupd.continuity.epoch import Epochs
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, NotFoundError, Retry
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size
from jbackupd.runtime.offload import Offload, beat
from jbackupd.service.control import Body, Call, Control
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.reclaimdocuments import reclaimed_document
from jbackupd.service.reclaimfacts import ReclaimFacts
from jbackupd.service.reclaiming import Reclaimed, datasets_with_retention, reclaim
from jbackupd.service.runner import Runner
from jbackupd.service.wiring import Site, store_of
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.holds import Holds
from jbackupd.vault.retentionstate import load_state

LOOK_SECONDS = 30.0
"""As the scheduler: the wall clock may jump, and no wait is longer."""
RETRY = timedelta(hours=1)
"""After a run that left something for those who were reading, or that somebody else was in the way of."""
PATIENCE_SECONDS = 6 * 3600.0
"""Reading the trees of all kept points of a vault with millions of files, on a slow disk."""


class ReclaimArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tenants; whether a person has looked at the clock."""

    tenants: list[str]
    clock_is_right: bool = False


class Reclaims:
    """Owns the reclaims of this run of the daemon.

    Args:
        runner: Takes the points; its turns are kept.
    """

    def __init__(
        self, live: Live, epochs: Epochs, files: PosixFiles, runner: Runner, *, offload: Offload, clock: Clock, log: Log
    ) -> None:
        self.facts: dict[TenantId, ReclaimFacts] = {}
        self._live = live
        self._epochs = epochs
        self._files = files
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log
        self._tried: dict[TenantId, datetime] = {}
        self._errors: dict[TenantId, JbackupdError] = {}
        self._overdue: dict[TenantId, int] = {}
        self._unfinished: set[TenantId] = set()
        self._begun_at = clock.now()

    def register(self, control: Control) -> None:
        """Let commands ask for a reclaim."""
        control.register("reclaim", ReclaimArguments, self._asked)

    async def run(self) -> None:
        """Keep to the schedule."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            for tenant in self._with_retention():
                await self._look(tenant)
                due = self.facts[tenant].next_run
                if due is not None and due <= self._clock.now():
                    await self._reclaim_quietly(tenant)
            for gone in self.facts.keys() - set(self._with_retention()):
                del self.facts[gone]
            await self._runner.news.within(seen, LOOK_SECONDS)

    async def _asked(self, call: Call[ReclaimArguments]) -> Body:
        """Reclaim now; answers what was done."""
        documents: list[dict[str, Any]] = []
        for name in call.arguments.tenants:
            if not self._live.is_own(TenantId(name)):
                raise NotFoundError(
                    "there is no tenant {tenant} in the configuration", "see 'jbackupd config show'", tenant=name
                )
            done = await self._reclaim(TenantId(name), believe_clock=call.arguments.clock_is_right)
            documents.append(reclaimed_document(done))
        return {"vaults": documents}

    def _with_retention(self) -> list[TenantId]:
        return sorted({dataset.tenant for dataset in datasets_with_retention(self._live.settings)})

    async def _reclaim_quietly(self, tenant: TenantId) -> None:
        try:
            await self._reclaim(tenant)
        except JbackupdError as error:
            self._log.error(_("{tenant}: nothing was reclaimed: {reason}"), tenant=tenant, reason=error)

    async def _reclaim(self, tenant: TenantId, *, believe_clock: bool = False) -> Reclaimed:
        live = self._live
        site = Site(live.settings, self._files, live.identity, live.cards, live.verifiers)
        self._tried[tenant] = self._clock.now()
        self._unfinished.discard(tenant)
        async with self._runner.turn(tenant):
            try:
                done = await self._offload.jobs.run(
                    functools.partial(
                        reclaim, site, tenant, self._epochs, now=self._clock.now(), believe_clock=believe_clock,
                        stopped=self._stopped,
                    ),
                    patience=PATIENCE_SECONDS,
                )
            except JbackupdError as error:
                self._errors[tenant] = error
                if error.retry is not Retry.NEVER:
                    self._unfinished.add(tenant)
                raise
            finally:
                await self._look(tenant)
        self._errors.pop(tenant, None)
        if done.postponed_bytes:
            self._unfinished.add(tenant)
        self._overdue[tenant] = len(done.outlook.overdue)
        await self._look(tenant)
        self._tell(done)
        self._runner.news.ring()
        return done

    def _stopped(self) -> bool:
        beat()
        return self._runner.stopping

    async def _look(self, tenant: TenantId) -> None:
        self.facts[tenant] = await self._offload.disk(self._facts_of, tenant)

    def _facts_of(self, tenant: TenantId) -> ReclaimFacts:
        store, settings = store_of(self._files, tenant), self._live.settings
        if not store.exists():
            return ReclaimFacts()
        state, holds = load_state(store), Holds(store)
        known = [moment for moment in (state.believed_at, self._tried.get(tenant)) if moment is not None]
        last = max(known, default=self._begun_at)
        frozen = holds.frozen()
        due = last + RETRY if tenant in self._unfinished else None
        return ReclaimFacts(
            state.believed_at, due or settings.reclaim.schedule.next_after(last, settings.site.zone),
            self._errors.get(tenant), state.removed_points, state.freed_bytes, len(holds.all()),
            self._overdue.get(tenant, 0), frozen.reason if frozen is not None else None,
        )

    def _tell(self, done: Reclaimed) -> None:
        for point in done.removed:
            self._log.info(_("{point} was given up by its retention"), point=point.label)
        for each in done.outlook.overdue:
            self._log.warning(_("{point} should be gone by its upper bound, but stays"), point=each.point.label)
        for error in done.damaged:
            self._log.error(_("{tenant}: a pack was not written anew: {reason}"), tenant=done.tenant, reason=error)
        self._log.info(
            _("{tenant}: {count} points given up, {size} freed, {packs} packs rewritten"), tenant=done.tenant,
            count=len(done.removed), size=show_size(done.freed.bytes), packs=done.moved_packs,
        )
        if done.postponed_bytes:
            self._log.info(
                _("{tenant}: {size} wait for those who have been reading since before"), tenant=done.tenant,
                size=show_size(done.postponed_bytes),
            )
