"""The recovery runs of this site: begun and resumed by people, owned by the daemon, watched by commands.

A run is never resumed by itself: after a restart of the daemon it waits, journalled, until a
person comes with the shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jbackupd.codec.shares import Share, combine
from jbackupd.continuity.decision import Case
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.plan import StepState, can_open_desk, needs_keys
from jbackupd.continuity.record import Beginning, Choice, RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run
from jbackupd.format.declaration import Declaration
from jbackupd.model.clock import Clock
from jbackupd.model.errors import BusyError, NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import TenantId
from jbackupd.runtime.offload import settled
from jbackupd.service.cleaning import check_known, clean_run, removed, reports
from jbackupd.service.liverun import LiveRun, News
from jbackupd.service.premises import Premises
from jbackupd.service.readiness import check_desks
from jbackupd.settings.plan import Plan, parse_plan
from jbackupd.settings.steps import Mode
from jbackupd.storage.files import PosixFiles


class Recoveries:
    """All runs of a state folder; one at a time for each tenant.

    Args:
        files: The state folder.
        epochs: Which losses are declared.
        premises_of: What the steps of a tenant's run work with.
        defect: Hears of exceptions that are not of our tree.
        learned: Time-outs in seconds of a plan's steps, from drills.
        isolated: Nothing outside can be reached from here: drills may be run, and only here.
        decided: How people came to a declaration; blocks.
    """

    def __init__(
        self, files: PosixFiles, *, epochs: Epochs, clock: Clock, premises_of: Callable[[TenantId], Premises],
        defect: Callable[[str, Exception], None], learned: Callable[[Plan], Mapping[str, float]] = lambda _plan: {},
        isolated: bool = False, decided: Callable[[Declaration], Case] = lambda _declaration: Case(),
    ) -> None:
        self._decided = decided
        self._learned = learned
        self._isolated = isolated
        self._files = files
        self._epochs = epochs
        self._clock = clock
        self._premises_of = premises_of
        self._defect = defect
        self._live: dict[str, LiveRun] = {}
        self._starting = asyncio.Lock()

    async def begin(
        self, plan_text: str, shares: Sequence[Share], *, lost_at: datetime | None = None, mode: Mode = "disaster",
        by: str = "",
    ) -> str:
        """Begin a run; return its name. A caller that goes away meanwhile leaves a run that goes on.

        Args:
            by: Who begins it, for the record.

        Raises:
            RefusedError: The plan's home site is not declared lost, or another site acts for it; or, of a drill, that
                this is no place for one.
            BusyError: A run of this tenant is under way.
            ConfigError: The text is no plan.
            ShareError: The shares do not give the key.
        """
        return await settled(self._begin(plan_text, shares, lost_at, mode, by))

    async def _begin(
        self, plan_text: str, shares: Sequence[Share], lost_at: datetime | None, mode: Mode, by: str
    ) -> str:
        plan = parse_plan(plan_text)
        check_desks(plan)
        now = self._clock.now()
        if lost_at is not None and lost_at > now:
            raise UsageError("the loss lies in the future: {time}", "check time and zone", time=lost_at.isoformat())
        async with self._starting:
            self._check_free(plan)
            # Bad shares are said at once, before there is a run.
            await asyncio.to_thread(combine, shares)
            declaration = self._check_may(plan, mode)
            case = Case() if declaration is None else await asyncio.to_thread(self._decided, declaration)
            name = f"{now:%Y%m%dT%H%M%S}-{plan.id}-{secrets.token_hex(2)}"
            beginning = Beginning(
                name, plan_text, hashlib.sha256(plan_text.encode()).hexdigest(), now, lost_at,
                None if declaration is None else declaration.statement.made_at,
                "" if declaration is None else declaration.id, mode, by, case.suspected_at, case.approved_at,
            )
            record = await asyncio.to_thread(RunRecord.create, self._files, beginning, plan)
            self._start(name, record, shares, again=False)
        return name

    def _check_may(self, plan: Plan, mode: Mode) -> Declaration | None:
        """Check that this site may run a plan in a mode; return the declaration that says so, where it takes one."""
        if mode == "rehearse":
            if not self._isolated:
                raise RefusedError(
                    "a drill is not run among the services of this site", "use 'jbackupd recovery rehearse'"
                )
            return None
        if mode == "failback":
            if plan.home != self._epochs.site:
                raise RefusedError(
                    "the plan {plan} is of {home}: only that site takes its work back", "run it there",
                    plan=plan.id, home=plan.home,
                )
            self._epochs.check_own()
            return None
        return self._epochs.check_acting(plan.home, plan=plan.id)

    async def resume(self, name: str, shares: Sequence[Share]) -> None:
        """Go on with an interrupted or failed run, or open the desks of a finished one again.

        Without shares only what needs no keys is done.

        Raises:
            NotFoundError: There is no such run.
            BusyError: It is under way.
            RefusedError: This site may no longer act for the plan's home site.
            ShareError: Keys are needed, and the shares do not give them.
        """
        await settled(self._resume(name, shares))

    async def _resume(self, name: str, shares: Sequence[Share]) -> None:
        async with self._starting:
            if name in self._live and not self._live[name].is_over:
                raise BusyError(
                    "the recovery run {run} is under way", "watch it with 'jbackupd recovery show'", run=name
                )
            record = await asyncio.to_thread(RunRecord.open, self._files, name, parse_plan)
            try:
                if record.clean_begun_at is not None:
                    raise removed(name)
                self._check_free(record.plan)
                if record.rollback is None:
                    self._check_may(record.plan, record.beginning.mode)
                if record.rollback is None and needs_keys(record.plan, record.standing) and (
                    shares or not can_open_desk(record.plan, record.standing)
                ):
                    await asyncio.to_thread(combine, shares)
                if name in self._live:
                    await self.end(name)
            except BaseException:
                record.close()
                raise
            self._start(name, record, shares, again=True)

    async def answer(self, name: str, step: str, choice: Choice, *, by: str) -> None:
        """Take a person's answer to what a run asks; durable when this returns.

        Raises:
            NotFoundError: No such run is under way, or it has no such step.
            RefusedError: The step does not ask that.
        """
        run = self._under_way(name)
        if step not in run.record.steps:
            raise NotFoundError(
                "the recovery run {run} has no step {step}", "its steps are {known}", run=name, step=step,
                known=", ".join(run.record.steps),
            )
        await settled(run.answer(step, choice, by=by))

    async def commit(self, name: str, *, by: str) -> None:
        """Let a run's last phase begin.

        Raises:
            NotFoundError: No such run is under way.
            RefusedError: It does not wait for that.
        """
        await settled(self._under_way(name).commit(by=by))

    async def roll_back(self, name: str, *, by: str, reason: str) -> None:
        """Let everything be undone that a run did, whether it is under way or over.

        Raises:
            NotFoundError: There is no such run.
            RefusedError: What it laid out was removed.
        """
        await settled(self._roll_back(name, by, reason))

    async def _roll_back(self, name: str, by: str, reason: str) -> None:
        async with self._starting:
            live = self._live.get(name)
            if live is None:
                record = await asyncio.to_thread(RunRecord.open, self._files, name, parse_plan)
                try:
                    if record.clean_begun_at is not None:
                        raise removed(name)
                    self._check_free(record.plan)
                except BaseException:
                    record.close()
                    raise
                live = self._made(name, record, ())
            await live.run.roll_back(by=by, reason=reason)
            if live.is_over:
                live.launch(again=False, keys=False)

    def _under_way(self, name: str) -> Run:
        live = self._live.get(name)
        if live is None or live.is_over:
            check_known(self._files, name)
            raise NotFoundError(
                "the recovery run {run} is not under way", "go on with it first: 'jbackupd recovery resume {run}'",
                run=name,
            )
        return live.run

    async def end(self, name: str) -> None:
        """End a run of this process: what is under way is settled, its desks close; it can be resumed.

        Raises:
            NotFoundError: Nothing of such a run is under way or open.
        """
        live = self._live.pop(name, None)
        if live is None:
            raise NotFoundError(
                "nothing of the recovery run {run} is under way or open", "see 'jbackupd recovery history'", run=name
            )
        live.cancel()
        # Whoever asked for the end may go away; it is still one.
        await settled(live.settle())

    async def clean(self, name: str, *, given_up: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """Remove what a run laid out, and note it in its journal; or, with `dry_run`, only look what there is.

        Args:
            given_up: The run may be one that never ended.

        Returns:
            `parts`: what is there, or was; `removed`: counts, none with `dry_run`; `report`: the run's.

        Raises:
            NotFoundError: There is no such run.
            BusyError: It is under way.
            RefusedError: Its desks are open, or it did not end.
            StorageError: Something could not be removed; the run stays half removed, and is never resumed.
        """
        return await settled(self._clean(name, given_up=given_up, dry_run=dry_run))

    async def _clean(self, name: str, *, given_up: bool, dry_run: bool) -> dict[str, Any]:
        async with self._starting:
            self._check_left(name)
            if name in self._live and not dry_run:
                await self.end(name)
            return await asyncio.to_thread(
                clean_run, self._files, self._clock, name, given_up=given_up, dry_run=dry_run
            )

    def _check_left(self, name: str) -> None:
        """Check that nobody works with what a run laid out."""
        live = self._live.get(name)
        if live is None:
            return
        if not live.is_over:
            raise BusyError("the recovery run {run} is under way", "watch it with 'jbackupd recovery show'", run=name)
        states = live.record.states
        if any(step.kind == "desk" and states[step.id] is StepState.DONE for step in live.record.plan.steps):
            raise RefusedError(
                "the desks of the recovery run {run} are open", "close them with 'jbackupd recovery close {run}'",
                run=name,
            )

    @contextlib.asynccontextmanager
    async def none_of(self, declaration: Declaration) -> AsyncIterator[None]:
        """Let no run begin by the authority that a declaration would take from this site, and none be open.

        Raises:
            RefusedError: One is: people decide when its desks close.
        """
        home = declaration.statement.lost
        takes = self._epochs.lineage(home).acting == self._epochs.site != home
        async with self._starting:
            if takes:
                for name, live in self._live.items():
                    if live.record.plan.home == home:
                        raise RefusedError(
                            "the recovery run {run} is open: {home} cannot act for itself meanwhile",
                            "hand its receptions over, close it with 'jbackupd recovery close {run}', "
                            "then approve once more", run=name, home=home,
                        )
            yield

    async def watch(self, name: str) -> AsyncIterator[News]:
        """Yield news of a run until it is over."""
        live = self._live.get(name)
        if live is not None:
            async for news in live.watch():
                yield news

    def asking(self) -> int:
        """Return how many runs wait for people just now."""
        return sum(bool(live.document()["asks"]) for live in self._live.values() if not live.is_over)

    def document(self, name: str) -> dict[str, Any]:
        """Return a run's report. Blocks for a run that is not of this process.

        Raises:
            NotFoundError: There is no such run.
        """
        if name in self._live:
            return self._live[name].document()
        check_known(self._files, name)
        record = RunRecord.open(self._files, name, parse_plan)
        try:
            return {**run_document(record), "under_way": False, "stopped": None}
        finally:
            record.close()

    def history(self) -> list[dict[str, Any]]:
        """Return the reports of all runs, oldest first; of one that cannot be read, its name and why. Blocks."""
        return reports(self._files, self.document)

    async def close(self) -> None:
        """Settle what is under way; the runs stay journalled as they are."""
        for live in self._live.values():
            live.cancel()
        for name in list(self._live):
            await self.end(name)

    def _check_free(self, plan: Plan) -> None:
        for name, live in self._live.items():
            if live.record.plan.tenant == plan.tenant and not live.is_over:
                raise BusyError(
                    "the recovery run {run} of {tenant} is under way", "wait for it, or watch it",
                    run=name, tenant=plan.tenant,
                )

    def _start(self, name: str, record: RunRecord, shares: Sequence[Share], *, again: bool) -> None:
        self._made(name, record, shares).launch(again=again, keys=bool(shares))

    def _made(self, name: str, record: RunRecord, shares: Sequence[Share]) -> LiveRun:
        self._live[name] = LiveRun(
            self._premises_of(record.plan.tenant), record, shares, self._clock, self._defect,
            self._learned(record.plan),
        )
        return self._live[name]
