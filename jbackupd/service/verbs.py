"""What commands may ask of the daemon."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.ids import DatasetId, SiteId
from jbackupd.runtime.news import News
from jbackupd.service.control import Body, Call, Control, NoArguments
from jbackupd.service.jobs import Job, JobState
from jbackupd.service.runner import Runner
from jbackupd.service.wire import error_of, failure_of

JOBS_MAX = 500
STATUS_SECONDS = 0.05


class BackupArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dataset; `watch` is whether to wait for the end."""

    dataset: str
    watch: bool = True


class JobsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of the newest, of which dataset."""

    count: int = 20
    dataset: str | None = None


class StatusArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to go on telling how everything stands, for as long as the caller listens."""

    watch: bool = False


class WatchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which job."""

    number: int


class LimitArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which peer; bytes a second, 0 to stop, null for no limit."""

    peer: str
    bytes_per_second: int | None


class PeerArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which peer; all if none is named."""

    peer: str | None = None


class Served(Protocol):
    """What the verbs need of the daemon."""

    runner: Runner
    news: News
    """Rings at the next change of anything that the page shows, ages and rates apart."""

    def status(self) -> dict[str, Any]:
        """Return the page of how everything stands."""
        ...

    def check_dataset(self, dataset: DatasetId) -> None:
        """Return, or raise NotFoundError for a dataset that is not in the configuration."""
        ...

    async def reload(self) -> None:
        """Take the configuration anew; raises ConfigError and leaves the old one in force if it is not good."""
        ...

    def stop(self) -> None:
        """Begin to stop."""
        ...

    def limits(self) -> dict[SiteId, tuple[float | None, int | None]]:
        """Return the limit in force and the configured one, by peer."""
        ...

    def set_limit(self, peer: SiteId, bytes_per_second: int | None) -> None:
        """Change a peer's limit until the daemon ends or the configuration changes it; raises NotFoundError."""
        ...

    async def ping(self, peer: SiteId) -> float:
        """Return the round-trip time in seconds; raises NotFoundError, PeerError."""
        ...

    def peers(self) -> list[SiteId]:
        """Return all peers."""
        ...


class Verbs:
    """Answers commands for a daemon."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def register(self, control: Control) -> None:
        """Let the verbs be answered."""
        control.register("status", StatusArguments, self.status)
        control.register("backup", BackupArguments, self.backup)
        control.register("jobs", JobsArguments, self.jobs)
        control.register("job.watch", WatchArguments, self.watch)
        control.register("reload", NoArguments, self.reload)
        control.register("stop", NoArguments, self.stop)
        control.register("limit.show", NoArguments, self.show_limits)
        control.register("limit.set", LimitArguments, self.set_limit)
        control.register("peer.ping", PeerArguments, self.ping)

    async def status(self, call: Call[StatusArguments]) -> Body:
        """Answer how everything stands; with `watch` at every change, without end."""
        while call.arguments.watch:
            seen = self._served.news.revision
            await call.tell(self._served.status())
            await self._served.news.after(seen)
            # Changes come in bursts: one page for each burst.
            await asyncio.sleep(STATUS_SECONDS)
        return self._served.status()

    async def backup(self, call: Call[BackupArguments]) -> Body:
        """Take a point; events are the job as it goes on, the result is what it brought."""
        dataset = DatasetId.parse(call.arguments.dataset)
        self._served.check_dataset(dataset)
        job = self._served.runner.submit(dataset, reason="request")
        if not call.arguments.watch:
            return job.document()
        return await _followed(job, call)

    async def jobs(self, call: Call[JobsArguments]) -> Body:
        """Answer the newest jobs, the newest first."""
        wanted = call.arguments.dataset
        active = [job.document() for job in self._served.runner.active()]
        numbers = {job["number"] for job in active}
        ended = [
            msgspec.to_builtins(record) for record in reversed(self._served.runner.book.records())
            if record.number not in numbers
        ]
        found = [job for job in [*active, *ended] if wanted in (None, job["subject"])]
        return {"jobs": found[: max(0, min(call.arguments.count, JOBS_MAX))]}

    async def watch(self, call: Call[WatchArguments]) -> Body:
        """Watch a job that another command, or the schedule, has begun."""
        number = call.arguments.number
        for job in self._served.runner.active():
            if job.record.number == number:
                return await _followed(job, call)
        return _ending(Job(self._served.runner.book.find(number)))

    async def reload(self, call: Call[NoArguments]) -> Body:
        """Take the configuration anew."""
        await self._served.reload()
        return {}

    async def stop(self, call: Call[NoArguments]) -> Body:
        """Stop the daemon; answered before it has."""
        self._served.stop()
        return {}

    async def show_limits(self, call: Call[NoArguments]) -> Body:
        """Answer the limits of all peers, bytes a second."""
        return self._limits()

    async def set_limit(self, call: Call[LimitArguments]) -> Body:
        """Change a limit at once."""
        self._served.set_limit(SiteId(call.arguments.peer), call.arguments.bytes_per_second)
        return self._limits()

    def _limits(self) -> Body:
        return {
            "limits": [
                {"peer": peer, "bytes_per_second": now, "configured_bytes_per_second": configured}
                for peer, (now, configured) in self._served.limits().items()
            ]
        }

    async def ping(self, call: Call[PeerArguments]) -> Body:
        """Measure the way to a peer, or to all; one that cannot be reached does not hide the others."""
        wanted = call.arguments.peer
        if wanted is not None:
            return {"peers": [{"peer": wanted, "round_trip_seconds": await self._served.ping(SiteId(wanted))}]}
        found = await asyncio.gather(*(self._ping_quietly(peer) for peer in self._served.peers()))
        return {"peers": found}

    async def _ping_quietly(self, peer: SiteId) -> dict[str, Any]:
        try:
            return {"peer": peer, "round_trip_seconds": await self._served.ping(peer)}
        except JbackupdError as error:
            return {"peer": peer, "round_trip_seconds": None, "error": msgspec.to_builtins(failure_of(error))}


async def _followed(job: Job, call: Call[Any]) -> Body:
    """Tell how a job goes on until it has ended."""
    while not job.record.ended:
        seen = job.news.revision
        await call.tell(job.document())
        await job.news.after(seen)
    return _ending(job)


def _ending(job: Job) -> Body:
    record = job.record
    if record.state is JobState.STOPPED:
        raise TryLaterError(
            "job {job} was stopped: the daemon is stopping", "it begins again when the daemon is back",
            job=record.number,
        )
    if record.failure is not None:
        raise error_of(record.failure)
    return {"dataset": record.subject, "job": record.number, **record.result}
