"""The daily look whether the plans of this site could be run now. Nothing is started, nothing but the facts is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.continuity.drill import DrillRecord
from jbackupd.continuity.drillcall import DrillCall
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import _
from jbackupd.runtime.offload import Offload
from jbackupd.service.drillcalls import look
from jbackupd.service.drillrecords import read_records
from jbackupd.service.finding import Finding, Grade
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.readiness import readiness
from jbackupd.service.runner import Runner
from jbackupd.settings.load import read_text
from jbackupd.settings.plan import Plan, load_plan
from jbackupd.settings.schema import PlanFile
from jbackupd.storage.files import PosixFiles

LOOK_SECONDS = 30.0
"""As the scheduler: the wall clock may jump, and no wait is longer."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the last look at a plan found.

    Attributes:
        file: Where the plan lies.
        plan: None if it cannot be read.
        digest: Hex SHA-256 of its text.
        error: Why it cannot be read.
        findings: All, also the good ones.
    """

    file: str
    checked_at: datetime
    plan: Plan | None = None
    digest: str = ""
    error: JbackupdError | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def bad(self) -> tuple[Finding, ...]:
        """What would keep a run from its end."""
        return tuple(finding for finding in self.findings if finding.grade is Grade.BAD)

    @property
    def ready(self) -> bool:
        """Whether the plan could be run."""
        return self.plan is not None and not self.bad


class PlanChecks:
    """Owns the looks of this run of the daemon.

    Args:
        runner: Knows when the daemon stops, and rings when something has changed.
    """

    def __init__(
        self, live: Live, files: PosixFiles, runner: Runner, *, offload: Offload, clock: Clock, log: Log
    ) -> None:
        self.facts: dict[str, PlanFacts] = {}
        """By the plan's file."""
        self.drills: tuple[DrillRecord, ...] = ()
        """The records of this site's drills, read again within half a minute of a new one."""
        self.calls: dict[str, DrillCall] = {}
        """The calls for drills that are made or to come, by the plan's file."""
        self._live = live
        self._files = files
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Look at every plan now, and then as its schedule says."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            wanted = {plan.file: plan for plan in self._live.settings.plans}
            for gone in self.facts.keys() - wanted.keys():
                del self.facts[gone]
            for plan in wanted.values():
                if self._is_due(plan) and not self._runner.stopping:
                    await self._look(plan)
            if wanted:
                await self._read_drills()
                await self._call(wanted)
            await self._runner.news.within(seen, LOOK_SECONDS)

    async def _call(self, wanted: Mapping[str, PlanFile]) -> None:
        """Call people for the drills that are due."""
        calls: dict[str, DrillCall] = {}
        for file, known in self.facts.items():
            if known.plan is None:
                continue
            try:
                call = await self._offload.disk(
                    look, self._files, wanted[file], known.plan, self.drills, self._clock.now(),
                    self._live.settings.site.timezone, self._log,
                )
            except JbackupdError as error:
                self._log.error(_("unable to call for a drill of {plan}: {reason}"), plan=known.plan.id, reason=error)
                continue
            if call is not None:
                calls[file] = call
        if calls != self.calls:
            self.calls = calls
            self._runner.news.ring()

    async def _read_drills(self) -> None:
        try:
            found = tuple(await self._offload.disk(read_records, self._files))
        except JbackupdError as error:
            self._log.error(_("unable to read the records of drills: {reason}"), reason=error)
            return
        if found != self.drills:
            self.drills = found
            self._runner.news.ring()

    def _is_due(self, plan: PlanFile) -> bool:
        known = self.facts.get(plan.file)
        if known is None:
            return True
        due = plan.check.next_after(known.checked_at, self._live.settings.site.zone)
        return due is not None and due <= self._clock.now()

    async def _look(self, plan: PlanFile) -> None:
        found = await self._offload.disk(self._looked, plan.file)
        self.facts[plan.file] = found
        if found.error is not None:
            self._log.error(_("{file}: the plan cannot be read: {reason}"), file=plan.file, reason=found.error)
        for finding in found.bad:
            self._log.error(
                _("{plan}: a run would fail here: {reason}"), plan=found.plan.id if found.plan else plan.file,
                reason=finding.text.format(**finding.fields),
            )
        self._runner.news.ring()

    def _looked(self, file: str) -> PlanFacts:
        now = self._clock.now()
        try:
            plan, text = load_plan(file), read_text(file)
            findings = readiness(self._live.settings, plan, now, text=text)
        except JbackupdError as error:
            return PlanFacts(file, now, error=error)
        return PlanFacts(file, now, plan, hashlib.sha256(text.encode()).hexdigest(), findings=tuple(findings))
