"""The scheduler begins what is due, once, and looks again in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import SourceError
from jbackupd.model.ids import DatasetId
from jbackupd.runtime.offload import Offload
from jbackupd.service.jobs import JobBook, JobState
from jbackupd.service.log import Log
from jbackupd.service.runner import Runner
from jbackupd.service.scheduler import LOOK_SECONDS, Scheduler, Timetable
from jbackupd.service.taken import Taken
from jbackupd.settings.schedule import Schedule
from jbackupd.settings.schema import zone_of
from jbackupd.storage.files import PosixFiles

BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
JUKI, FILES, OTHER = (DatasetId.parse(name) for name in ("imari/juki", "imari/files", "karatsu/files"))


class Rig:
    """A scheduler with a clock that stands still, and takes that do what they are told."""

    def __init__(self, folder: Path, offload: Offload, schedules: dict[DatasetId, str]) -> None:
        self.clock = ManualClock(BEGIN)
        self.book = JobBook.open(PosixFiles(str(folder)), BEGIN)
        self.taken: list[DatasetId] = []
        self.failing: set[DatasetId] = set()
        self.committed: list[DatasetId] = []
        self.at_work: dict[str, int] = {}
        self.most_at_work: dict[str, int] = {}
        self.newest: dict[DatasetId, datetime] = {}
        self.runner = Runner(
            self.book, self.take, lambda _: 60.0, committed=self.commit, offload=offload, clock=self.clock, log=Log()
        )
        timetable = Timetable(zone_of("Asia/Tokyo"), {d: Schedule.parse(text) for d, text in schedules.items()})
        self.scheduler = Scheduler(self.runner, lambda: timetable, self.newest.get, clock=self.clock)

    def take(self, dataset, progress, stopped) -> Taken:
        tenant = dataset.tenant
        self.at_work[tenant] = self.at_work.get(tenant, 0) + 1
        self.most_at_work[tenant] = max(self.most_at_work.get(tenant, 0), self.at_work[tenant])
        try:
            self.taken.append(dataset)
            if dataset in self.failing:
                raise SourceError("unable to read {dataset}", dataset=dataset)
            return Taken(False, 10, {"sequence": 1})
        finally:
            self.at_work[tenant] -= 1

    async def commit(self, dataset: DatasetId) -> None:
        self.committed.append(dataset)

    async def settle(self) -> None:
        while self.runner.active():
            await self.runner.news.after(self.runner.news.revision)


def scenario(run, tmp_path, schedules, work) -> None:
    async def whole() -> None:
        async with Offload() as offload:
            await work(Rig(tmp_path, offload, schedules))

    run(whole())


def test_what_was_never_taken_is_begun_at_once_and_then_by_the_schedule(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        rig.scheduler.begin_due()
        await rig.settle()
        assert rig.taken == [JUKI]
        assert rig.scheduler.begin_due() == LOOK_SECONDS
        rig.clock.advance(15 * 60 - 10)
        assert rig.scheduler.begin_due() == 10
        rig.clock.advance(10)
        rig.scheduler.begin_due()
        await rig.settle()
        assert (rig.taken, rig.committed) == ([JUKI, JUKI], [JUKI, JUKI])

    scenario(run, tmp_path, {JUKI: "15m"}, work)


def test_a_job_that_waits_or_runs_is_not_begun_twice(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        rig.scheduler.begin_due()
        rig.scheduler.begin_due()
        assert rig.runner.submit(JUKI, reason="request") is rig.runner.active()[0]
        await rig.settle()
        assert rig.taken == [JUKI]

    scenario(run, tmp_path, {JUKI: "15m"}, work)


def test_a_tenant_has_one_backup_at_a_time(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        rig.scheduler.begin_due()
        assert len(rig.runner.active()) == 3
        await rig.settle()
        assert sorted(map(str, rig.taken)) == ["imari/files", "imari/juki", "karatsu/files"]
        assert rig.most_at_work == {"imari": 1, "karatsu": 1}

    scenario(run, tmp_path, {JUKI: "15m", FILES: "15m", OTHER: "15m"}, work)


def test_a_point_that_another_command_took_counts(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        rig.newest[JUKI] = BEGIN - timedelta(minutes=5)
        rig.scheduler.begin_due()
        assert rig.runner.active() == []
        assert rig.scheduler.next_run(JUKI, BEGIN) == BEGIN + timedelta(minutes=10)

    scenario(run, tmp_path, {JUKI: "15m"}, work)


def test_a_failure_is_tried_again_after_five_minutes_and_a_restart_remembers_it(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        rig.failing.add(JUKI)
        rig.scheduler.begin_due()
        await rig.settle()
        assert rig.book.last_end(str(JUKI)).state is JobState.FAILED
        assert rig.scheduler.next_run(JUKI, BEGIN) == BEGIN + timedelta(minutes=5)
        rig.book.close()
        again = JobBook.open(PosixFiles(str(tmp_path)), BEGIN)
        assert again.last_run(str(JUKI)).failures == 1

    scenario(run, tmp_path, {JUKI: "daily 02:00"}, work)


def test_a_look_is_never_a_busy_loop(run, tmp_path) -> None:
    async def work(rig: Rig) -> None:
        looks = 0
        begin_due = rig.scheduler.begin_due

        def counted() -> float:
            nonlocal looks
            looks += 1
            return begin_due()

        rig.scheduler.begin_due = counted  # type: ignore[method-assign]
        task = asyncio.create_task(rig.scheduler.run())
        while not rig.committed:
            await rig.runner.news.after(rig.runner.news.revision)
        await rig.settle()
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        assert rig.taken == [JUKI]
        assert looks < 10

    scenario(run, tmp_path, {JUKI: "daily 02:00"}, work)
