"""Begins backups when they are due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from jbackupd.model.clock import Clock
from jbackupd.model.ids import DatasetId
from jbackupd.policy.schedule import LastRun, Recurrence, next_run
from jbackupd.service.runner import Runner

LOOK_SECONDS = 30.0
"""The wall clock may jump; no wait is longer than this, so a jump costs no more."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """What is to be taken when.

    Attributes:
        zone: The site's own time.
        schedules: By dataset.
    """

    zone: tzinfo
    schedules: Mapping[DatasetId, Recurrence]


class Scheduler:
    """Looks which datasets are due and asks the runner for them.

    Args:
        timetable: Asked at each look, so that a reload takes effect.
        newest_point: When the newest point of a dataset was begun, by the vault; None if there is none.
    """

    def __init__(
        self, runner: Runner, timetable: Callable[[], Timetable], newest_point: Callable[[DatasetId], datetime | None],
        *, clock: Clock,
    ) -> None:
        self._runner = runner
        self._timetable = timetable
        self._newest_point = newest_point
        self._clock = clock

    def next_run(self, dataset: DatasetId, now: datetime) -> datetime | None:
        """Return when a dataset is due next, at or before now if at once; None if it is not on the timetable."""
        timetable = self._timetable()
        schedule = timetable.schedules.get(dataset)
        if schedule is None:
            return None
        return next_run(schedule, self._last_run(dataset), now, timetable.zone)

    def begin_due(self) -> float:
        """Begin what is due; return the seconds until the next look."""
        now, wait = self._clock.now(), LOOK_SECONDS
        for dataset in self._timetable().schedules:
            if self._runner.is_active(dataset):
                continue
            due = self.next_run(dataset, now)
            if due is not None and due <= now:
                self._runner.submit(dataset, reason="schedule")
            elif due is not None:
                wait = min(wait, (due - now) / timedelta(seconds=1))
        return wait

    async def run(self) -> None:
        """Keep to the timetable; `news` of the runner rings after a reload as well as after a job."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            await self._runner.news.within(seen, self.begin_due())

    def _last_run(self, dataset: DatasetId) -> LastRun | None:
        """Join what the job book knows with what lies in the vault: points may come from --local commands."""
        last, begun = self._runner.book.last_run(str(dataset)), self._newest_point(dataset)
        if begun is None or (last is not None and last.begun_at >= begun):
            return last
        return LastRun(begun, begun)
