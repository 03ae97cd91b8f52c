"""The recovery runs of this site: begun and resumed by people, owned by the daemon, watched by commands.

A run is never resumed by itself: after a restart of the daemon it waits, journalled, until a
person comes with the shares.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import posixpath
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jbackupd.codec.shares import Share, combine
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.plan import StepState, can_open_desk, needs_keys
from jbackupd.continuity.record import Beginning, RunRecord, run_folder, run_names
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run, defect, failure
from jbackupd.model.clock import Clock
from jbackupd.model.errors import BusyError, JbackupdError, NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import TenantId
from jbackupd.runtime.offload import settled
from jbackupd.service.clearing import clear, parts_of
from jbackupd.service.premises import Premises
from jbackupd.service.readiness import check_desks
from jbackupd.service.steps import SiteSteps
from jbackupd.settings.plan import Plan, parse_plan
from jbackupd.storage.files import PosixFiles

News = Mapping[str, Any]
WATCHER_BEHIND_MAX = 32


@dataclass(slots=True)
class _Live:
    """A run of this process."""

    run: Run
    steps: SiteSteps
    task: asyncio.Task[bool]
    watchers: list[asyncio.Queue[News | None]]


class Recoveries:
    """All runs of a state folder; one at a time for each tenant.

    Args:
        files: The state folder.
        epochs: Which losses are declared.
        premises_of: What the steps of a tenant's run work with.
        defect: Hears of exceptions that are not of our tree.
    """

    def __init__(
        self, files: PosixFiles, *, epochs: Epochs, clock: Clock, premises_of: Callable[[TenantId], Premises],
        defect: Callable[[str, Exception], None],
    ) -> None:
        self._files = files
        self._epochs = epochs
        self._clock = clock
        self._premises_of = premises_of
        self._defect = defect
        self._live: dict[str, _Live] = {}
        self._starting = asyncio.Lock()

    async def begin(self, plan_text: str, shares: Sequence[Share], *, lost_at: datetime | None = None) -> str:
        """Begin a run; return its name. A caller that goes away meanwhile leaves a run that goes on.

        Raises:
            RefusedError: The plan's home site is not declared lost, or another site acts for it.
            BusyError: A run of this tenant is under way.
            ConfigError: The text is no plan.
            ShareError: The shares do not give the key.
        """
        return await settled(self._begin(plan_text, shares, lost_at))

    async def _begin(self, plan_text: str, shares: Sequence[Share], lost_at: datetime | None) -> str:
        plan = parse_plan(plan_text)
        check_desks(plan)
        now = self._clock.now()
        if lost_at is not None and lost_at > now:
            raise UsageError("the loss lies in the future: {time}", "check time and zone", time=lost_at.isoformat())
        async with self._starting:
            self._check_free(plan)
            # Bad shares are said at once, before there is a run.
            await asyncio.to_thread(combine, shares)
            declaration = self._epochs.check_acting(plan.home, plan=plan.id)
            name = f"{now:%Y%m%dT%H%M%S}-{plan.id}-{secrets.token_hex(2)}"
            beginning = Beginning(
                name, plan_text, hashlib.sha256(plan_text.encode()).hexdigest(), now, lost_at,
                declaration.statement.made_at, declaration.id,
            )
            record = await asyncio.to_thread(RunRecord.create, self._files, beginning, plan)
            self._start(name, record, shares, again=False)
        return name

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
            if name in self._live and not self._live[name].task.done():
                raise BusyError(
                    "the recovery run {run} is under way", "watch it with 'jbackupd recovery show'", run=name
                )
            record = await asyncio.to_thread(RunRecord.open, self._files, name, parse_plan)
            try:
                if record.clean_begun_at is not None:
                    raise RefusedError(
                        "what the recovery run {run} laid out was removed", "run the plan again", run=name
                    )
                self._check_free(record.plan)
                self._epochs.check_acting(record.plan.home, plan=record.plan.id)
                if needs_keys(record.plan, record.states) and (
                    shares or not can_open_desk(record.plan, record.states)
                ):
                    await asyncio.to_thread(combine, shares)
                if name in self._live:
                    await self.end(name)
            except BaseException:
                record.close()
                raise
            self._start(name, record, shares, again=True)

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
        live.task.cancel()
        # Whoever asked for the end may go away; it is still one.
        await settled(self._settle(live))

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
            return await asyncio.to_thread(self._clear, name, given_up=given_up, dry_run=dry_run)

    def _check_left(self, name: str) -> None:
        """Check that nobody works with what a run laid out."""
        live = self._live.get(name)
        if live is None:
            return
        if not live.task.done():
            raise BusyError("the recovery run {run} is under way", "watch it with 'jbackupd recovery show'", run=name)
        states = live.run.record.states
        if any(step.kind == "desk" and states[step.id] is StepState.DONE for step in live.run.record.plan.steps):
            raise RefusedError(
                "the desks of the recovery run {run} are open", "close them with 'jbackupd recovery close {run}'",
                run=name,
            )

    def _clear(self, name: str, *, given_up: bool, dry_run: bool) -> dict[str, Any]:
        self._check_known(name)
        record = RunRecord.open(self._files, name, parse_plan)
        try:
            if record.ended_at is None and not given_up and record.clean_begun_at is None:
                raise RefusedError(
                    "the recovery run {run} did not end: what it restored may still be needed",
                    "go on with 'jbackupd recovery resume {run}', or give it up for ever with --give-up", run=name,
                )
            folder = posixpath.join(self._files.root, run_folder(name))
            parts = [dataclasses.asdict(part) for part in parts_of(folder)]
            removed = None if dry_run else self._remove(record, folder)
            return {"run": name, "parts": parts, "removed": removed, "report": run_document(record)}
        finally:
            record.close()

    def _remove(self, record: RunRecord, folder: str) -> dict[str, int]:
        record.note_clean(self._clock.now())
        files, size = clear(folder)
        record.note_cleaned(self._clock.now(), files=files, size=size)
        return {"files": files, "bytes": size}

    async def watch(self, name: str) -> AsyncIterator[News]:
        """Yield news of a run until it is over."""
        live = self._live.get(name)
        if live is None:
            return
        queue: asyncio.Queue[News | None] = asyncio.Queue()
        live.watchers.append(queue)
        try:
            if not live.task.done():
                while (news := await queue.get()) is not None:
                    yield news
        finally:
            live.watchers.remove(queue)

    def document(self, name: str) -> dict[str, Any]:
        """Return a run's report. Blocks for a run that is not of this process.

        Raises:
            NotFoundError: There is no such run.
        """
        if name in self._live:
            live = self._live[name]
            return {**run_document(live.run.record), "under_way": not live.task.done(), "stopped": _stopped(live.task)}
        self._check_known(name)
        record = RunRecord.open(self._files, name, parse_plan)
        try:
            return {**run_document(record), "under_way": False, "stopped": None}
        finally:
            record.close()

    def _check_known(self, name: str) -> None:
        if name not in run_names(self._files):
            raise NotFoundError("there is no recovery run {run}", "see 'jbackupd recovery history'", run=name)

    def history(self) -> list[dict[str, Any]]:
        """Return the reports of all runs, oldest first; of one that cannot be read, its name and why. Blocks."""
        found: list[dict[str, Any]] = []
        for name in run_names(self._files):
            try:
                found.append(self.document(name))
            except NotFoundError:
                # Killed before its first record: nothing of it ever happened.
                continue
            except JbackupdError as error:
                found.append({"run": name, **failure(error)})
        return found

    async def close(self) -> None:
        """Settle what is under way; the runs stay journalled as they are."""
        for live in self._live.values():
            live.task.cancel()
        for name in list(self._live):
            await self.end(name)

    @staticmethod
    async def _settle(live: _Live) -> None:
        await asyncio.wait({live.task})
        await live.steps.close()
        live.run.record.close()

    def _check_free(self, plan: Plan) -> None:
        for name, live in self._live.items():
            if live.run.record.plan.tenant == plan.tenant and not live.task.done():
                raise BusyError(
                    "the recovery run {run} of {tenant} is under way", "wait for it, or watch it",
                    run=name, tenant=plan.tenant,
                )

    def _start(self, name: str, record: RunRecord, shares: Sequence[Share], *, again: bool) -> None:
        steps = SiteSteps(self._premises_of(record.plan.tenant), record, shares)
        watchers: list[asyncio.Queue[News | None]] = []
        loop = asyncio.get_running_loop()

        def tell(step: str, news: News) -> None:
            # Progress comes from threads.
            loop.call_soon_threadsafe(_spread, watchers, {"step": step, **news})

        run = Run(record, steps, self._clock, tell, self._defect)

        async def go() -> bool:
            try:
                return await run.go(again=again, keys=bool(shares))
            except JbackupdError:
                # Told to whoever asks, by `document`.
                raise
            except Exception as error:
                self._defect(f"recovery {name}", error)
                raise
            finally:
                try:
                    await settled(steps.forget())
                finally:
                    _spread(watchers, None)

        self._live[name] = _Live(run, steps, asyncio.create_task(go(), name=f"recovery {name}"), watchers)


def _spread(watchers: list[asyncio.Queue[News | None]], news: News | None) -> None:
    """Tell all watchers; one that does not keep up misses progress, never an event."""
    for queue in watchers:
        if news is None or news.get("event") != "progress" or queue.qsize() < WATCHER_BEHIND_MAX:
            queue.put_nowait(news)


def _stopped(task: asyncio.Task[bool]) -> dict[str, Any] | None:
    """Return why a run of this process stopped before its end, as an error for machines; None if it did not."""
    if not task.done() or task.cancelled():
        return None
    error = task.exception()
    if error is None:
        return None
    told = failure(error) if isinstance(error, JbackupdError) else defect(error)
    return dict(told["error"])
