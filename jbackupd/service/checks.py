"""What a daemon does for the soundness of its vaults, own and held: looks at a part every night, heals what it can."""

from __future__ import annotations

import functools
from datetime import datetime

import msgspec

from jbackupd.continuity.epoch import Epochs
from jbackupd.engine.repair import PeerPlace, Repair, repair
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.ids import ObjectRef, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size
from jbackupd.runtime.offload import Offload, beat
from jbackupd.service.checkfacts import CheckFacts
from jbackupd.service.control import Body, Call, Control
from jbackupd.service.elsewhere import Elsewhere
from jbackupd.service.leases import reading
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.repairing import broken_objects, note_healed, repaired_document
from jbackupd.service.runner import Runner
from jbackupd.service.verifying import roll, share_of_run, standing
from jbackupd.service.wiring import store_of, tenants_here
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.soundness import Coverage

LOOK_SECONDS = 30.0
"""As the scheduler: the wall clock may jump, and no wait is longer."""
PATIENCE_SECONDS = 900.0
"""For one object; every one beats."""
TOLD_MAX = 20
"""Findings that are logged one by one; all are counted, and verify lists them."""


class RepairArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose vault; from which site only."""

    tenant: str
    site: str | None = None


class SitePlace:
    """Another site, dialled when something is first asked of it; see `engine.repair.Place`."""

    def __init__(self, elsewhere: Elsewhere, site: SiteId, tenant: TenantId) -> None:
        self.name = str(site)
        self._elsewhere = elsewhere
        self._site = site
        self._tenant = tenant

    async def read(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes."""
        return await PeerPlace(await self._elsewhere.line(self._site), self._tenant).read(ref)


class Checks:
    """Owns the verifying and repairing of this run of the daemon.

    Args:
        elsewhere: The other sites.
        runner: Knows when the daemon stops, and rings when something has changed.
    """

    def __init__(
        self, live: Live, epochs: Epochs, files: PosixFiles, elsewhere: Elsewhere, runner: Runner, *,
        offload: Offload, clock: Clock, log: Log,
    ) -> None:
        self.facts: dict[TenantId, CheckFacts] = {}
        self._live = live
        self._epochs = epochs
        self._files = files
        self._elsewhere = elsewhere
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log
        self._begun_at = clock.now()
        self._tried: dict[TenantId, datetime] = {}
        self._errors: dict[TenantId, JbackupdError] = {}
        self._healed: dict[TenantId, int] = {}

    def register(self, control: Control) -> None:
        """Let commands ask for a repair."""
        control.register("repair", RepairArguments, self._asked)

    async def run(self) -> None:
        """Keep to the schedule."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            tenants = await self._offload.disk(tenants_here, self._files)
            for tenant in tenants:
                if tenant not in self.facts:
                    await self._look(tenant)
                due = self.facts[tenant].next_run
                if due is not None and due <= self._clock.now() and not self._runner.stopping:
                    await self._check(tenant)
            for gone in self.facts.keys() - set(tenants):
                del self.facts[gone]
            await self._runner.news.within(seen, LOOK_SECONDS)

    async def _check(self, tenant: TenantId) -> None:
        """Look at tonight's share of a vault, and heal what is not sound."""
        self._tried[tenant] = self._clock.now()
        try:
            await self._roll(tenant)
            if self._live.settings.verify.repair:
                await self._repair(tenant, self._sites())
            self._errors.pop(tenant, None)
        except JbackupdError as error:
            self._errors[tenant] = error
            self._log.error(_("{tenant}: unable to verify it: {reason}"), tenant=tenant, reason=error)
        await self._look(tenant)
        self._runner.news.ring()

    async def _roll(self, tenant: TenantId) -> None:
        settings = self._live.settings
        known = await self._offload.disk(standing, settings, tenant, self._clock.now())
        report = await self._offload.jobs.run(
            functools.partial(
                roll, settings, tenant, share_of_run(settings, known, self._clock.now()), clock=self._clock,
                progress=lambda _: beat(), stopped=lambda: self._runner.stopping,
            ),
            patience=PATIENCE_SECONDS,
        )
        for finding in report.findings[:TOLD_MAX]:
            self._log.error(
                _("{tenant}: {reason}; needed by: {points}"), tenant=tenant, reason=finding.error,
                points=", ".join(finding.points) or "-",
            )
        self._log.info(
            _("{tenant}: {count} objects verified, {size}; damaged: {damaged}"), tenant=tenant, count=report.objects,
            size=show_size(report.bytes), damaged=len(report.findings),
        )

    async def _asked(self, call: Call[RepairArguments]) -> Body:
        """Repair now; answers what was healed. What was not, the caller finds in the vault."""
        tenant, sites = TenantId(call.arguments.tenant), self._sites()
        if call.arguments.site is not None:
            sites = [site for site in sites if site == call.arguments.site]
            if not sites:
                raise NotFoundError(
                    "there is no other site {site}", "see 'jbackupd status'", site=call.arguments.site
                )
        done = await self._repair(tenant, sites)
        await self._look(tenant)
        self._runner.news.ring()
        return repaired_document(done)

    def _sites(self) -> list[SiteId]:
        return [peer.id for peer in self._live.settings.peers if self._epochs.loss_of(peer.id) is None]

    async def _repair(self, tenant: TenantId, sites: list[SiteId]) -> Repair:
        store = store_of(self._files, tenant)
        places = [SitePlace(self._elsewhere, site, tenant) for site in sites]
        with reading(self._files.root, tenant):
            find = functools.partial(broken_objects, self._live.settings, tenant)
            done = await repair(store, find, places, offload=self._offload.disk)
        await self._offload.disk(note_healed, store, done, self._clock)
        self._healed[tenant] = self._healed.get(tenant, 0) + len(done.healed)
        for healed in done.healed[:TOLD_MAX]:
            self._log.info(
                _("{tenant}: {object} is sound again, taken from {place}"), tenant=tenant, object=healed.ref,
                place=healed.place,
            )
        for lost in done.hopeless[:TOLD_MAX]:
            self._log.error(
                _("{tenant}: no other site has {object}; needed by: {points}"), tenant=tenant, object=lost.ref,
                points=", ".join(lost.points) or "-",
            )
        return done

    async def _look(self, tenant: TenantId) -> None:
        try:
            self.facts[tenant] = await self._offload.disk(self._facts_of, tenant)
        except JbackupdError as error:
            self.facts[tenant] = CheckFacts(Coverage(), error=error)

    def _facts_of(self, tenant: TenantId) -> CheckFacts:
        settings = self._live.settings
        known = standing(settings, tenant, self._clock.now())
        looks = [moment for moment in (self._tried.get(tenant), known.last_look) if moment is not None]
        last = max(looks, default=self._begun_at)
        return CheckFacts(
            known.coverage, known.last_look, settings.verify.schedule.next_after(last, settings.site.zone),
            self._errors.get(tenant), self._healed.get(tenant, 0),
        )
