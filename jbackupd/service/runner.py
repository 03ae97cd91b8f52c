"""Does backups: one at a time for each tenant, since a vault has one writer; watched by whoever wants to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.ids import DatasetId, TenantId
from jbackupd.model.texts import _
from jbackupd.runtime.news import News
from jbackupd.runtime.offload import Offload, beat
from jbackupd.service.jobs import Job, JobBook, JobEvent, JobProgress, ending_of
from jbackupd.service.log import Log
from jbackupd.service.taken import Take, Taken
from jbackupd.service.wire import failure_of

BACKUP = "backup"
PROGRESS_SECONDS = 0.25
"""More often nobody can read it."""


class Patience(Protocol):
    """How long a dataset's source may be silent (wiring fills it in)."""

    def __call__(self, dataset: DatasetId, /) -> float:
        """Return seconds."""
        ...


class Runner:
    """Owns the jobs of this run of the daemon.

    Args:
        book: Where they are journalled.
        take: Does one.
        patience: After how long without progress a run counts as stuck.
        committed: Called when a point is there, before the job is told to be done.
    """

    def __init__(
        self, book: JobBook, take: Take, patience: Patience, *, committed: Callable[[DatasetId], Awaitable[None]],
        offload: Offload, clock: Clock, log: Log, above: News | None = None,
    ) -> None:
        self.book = book
        self.news = News(above)
        """Rings when a job begins or ends."""
        self.stopping = False
        self._take = take
        self._patience = patience
        self._committed = committed
        self._offload = offload
        self._clock = clock
        self._log = log
        self._turns: dict[TenantId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writing = asyncio.Lock()
        self._active: dict[DatasetId, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def submit(self, dataset: DatasetId, *, reason: str) -> Job:
        """Return the job that takes a point of a dataset: the one that waits or runs already, or a new one.

        Raises:
            TryLaterError: The daemon is stopping.
        """
        if self.stopping:
            raise TryLaterError("unable to back {dataset} up: the daemon is stopping", dataset=dataset)
        if dataset not in self._active:
            job = self.book.new(BACKUP, str(dataset), reason=reason, now=self._clock.now())
            self._active[dataset] = job
            task = asyncio.get_running_loop().create_task(self._run(dataset, job), name=f"backup of {dataset}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return self._active[dataset]

    def active(self) -> list[Job]:
        """Return the jobs that wait or run."""
        return list(self._active.values())

    def is_active(self, dataset: DatasetId) -> bool:
        """Tell whether a dataset's point is being taken or will be in a moment."""
        return dataset in self._active

    def turn(self, tenant: TenantId) -> asyncio.Lock:
        """Return what whoever writes a tenant's vault holds meanwhile."""
        return self._turns[tenant]

    async def watch(self) -> None:
        """Wait for ever, or raise the broken invariant that a job has met."""
        await asyncio.shield(self._defect)

    async def stop(self) -> None:
        """Ask all jobs to end without a point and wait until they have."""
        self.stopping = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, dataset: DatasetId, job: Job) -> None:
        async with self._turns[dataset.tenant]:
            try:
                if self.stopping:
                    job.turn(JobEvent.STOP, ended_at=self._clock.now())
                    return
                await self._begin(job)
                taken = await self._taken(dataset, job)
                await self._committed(dataset)
                await self._finish(job, taken)
            except JbackupdError as error:
                await self._fail(job, error)
            except AssertionError:
                raise
            except Exception as error:
                self._log.defect(f"backup of {dataset}", error)
                await self._fail(job, error)
            finally:
                del self._active[dataset]
                self.news.ring()

    async def _begin(self, job: Job) -> None:
        await self._write(job, JobEvent.BEGIN, begun_at=self._clock.now())
        last = self.book.last_result(job.record.subject)
        job.advance(JobProgress(bytes_expected=last.result.get("source_bytes") if last else None))
        self.news.ring()
        self._log.info(_("{dataset}: backup begun (job {job})"), dataset=job.record.subject, job=job.record.number)

    async def _taken(self, dataset: DatasetId, job: Job) -> Taken:
        meter = _Meter(job, self._clock, lambda: self.stopping)
        return await self._offload.jobs.run(
            self._take, dataset, meter.report, lambda: self.stopping, patience=self._patience(dataset)
        )

    async def _finish(self, job: Job, taken: Taken) -> None:
        event = JobEvent.FINISH_INCOMPLETE if taken.incomplete else JobEvent.FINISH
        result = taken.result | {"source_bytes": taken.source_bytes}
        await self._write(job, event, ended_at=self._clock.now(), result=result)
        if taken.incomplete:
            self._log.warning(
                _("{dataset}: point {sequence} is incomplete: {count} unreadable (job {job})"),
                dataset=job.record.subject, sequence=result.get("sequence"), count=result.get("unreadable_files"),
                job=job.record.number,
            )
        else:
            self._log.info(
                _("{dataset}: point {sequence} taken (job {job})"),
                dataset=job.record.subject, sequence=result.get("sequence"), job=job.record.number,
            )

    async def _fail(self, job: Job, error: Exception) -> None:
        event = JobEvent.FAIL
        if isinstance(error, JbackupdError):
            event = ending_of(error, stopping=self.stopping)
        if event is JobEvent.FAIL:
            self._log.error(
                _("{dataset}: no point: {reason} (job {job})"), dataset=job.record.subject, reason=error,
                job=job.record.number,
            )
        if job.record.begun_at is None:
            job.turn(JobEvent.STOP, ended_at=self._clock.now(), failure=failure_of(error))
            return
        await self._write(job, event, ended_at=self._clock.now(), failure=failure_of(error))

    async def _write(self, job: Job, event: JobEvent, **changes: Any) -> None:
        """Let an event happen to a job; whoever watches hears of it when it is durable."""
        after = Job(job.record).turn(event, **changes)
        async with self._writing:
            try:
                await self._offload.disk(self.book.write, after)
            except JbackupdError as error:
                # A full disk must not hide how a job ended; the point is in the vault, or it is not.
                self._log.error(_("unable to journal job {job}: {reason}"), job=after.number, reason=error)
        job.turn(event, **changes)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._defect.done():
            self._defect.set_exception(error)


class _Meter:
    """Carries progress from a job's thread to the loop, a few times a second."""

    def __init__(self, job: Job, clock: Clock, stopped: Callable[[], bool]) -> None:
        self._job = job
        self._clock = clock
        self._stopped = stopped
        self._loop = asyncio.get_running_loop()
        self._begun = self._told = clock.monotonic()
        self._expected = job.progress.bytes_expected

    def report(self, done: int, files: int) -> None:
        """Note how far the thread is; called in it."""
        if self._stopped():
            # Between blocks, so that a file of a terabyte does not keep the daemon from stopping.
            raise TryLaterError("the backup was stopped: the daemon is stopping", "it begins again at the next start")
        beat()
        now = self._clock.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            progress = JobProgress(done, files, now - self._begun, self._expected)
            self._loop.call_soon_threadsafe(self._job.advance, progress)
