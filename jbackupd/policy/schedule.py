"""When a dataset is due: from its schedule, what happened last, and the time now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

RETRY_FIRST = timedelta(minutes=5)
RETRY_LONGEST = timedelta(hours=1)
"""A dump that failed at 02:00 is tried again until somebody comes; once an hour wears nothing out."""


class Recurrence(Protocol):
    """A schedule that an operator wrote (settings.schedule.Schedule)."""

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first moment to begin after another, aware UTC."""
        ...


@dataclass(frozen=True, slots=True)
class LastRun:
    """What is known of a dataset's last run.

    Attributes:
        begun_at: When it began; aware.
        ended_at: When it ended; aware.
        failures: Runs in a row that brought no point, this one included; 0 after a point.
    """

    begun_at: datetime
    ended_at: datetime
    failures: int = 0


def next_run(schedule: Recurrence, last: LastRun | None, now: datetime, zone: tzinfo) -> datetime:
    """Return when the next run of a dataset is due; at or before now means: at once.

    ==========================  ======================================================================
    last run                    next run
    ==========================  ======================================================================
    none                        now: what was never taken is already too old
    brought a point             the first time of the schedule after it began; times that passed while
                                nobody could run it are made up for once, not one by one
    failed                      after a pause of 5 minutes, doubled with every failure up to an hour,
                                but no later than the schedule says
    lies in the future          as if it had begun now: the clock was set back
    ==========================  ======================================================================

    Args:
        schedule: Interval, calendar word or cron.
        last: The last run that has ended.
        now: Aware.
        zone: The site's own time, which calendar words mean. Over a change to or from summer time a calendar word
            comes once: a time that does not exist that day begins when the clock has jumped over it, one that exists
            twice at its first.
    """
    if last is None:
        return now
    due = schedule.next_after(min(last.begun_at, now), zone)
    if last.failures:
        due = min(due, min(last.ended_at, now) + retry_pause(last.failures))
    return due


def retry_pause(failures: int) -> timedelta:
    """Return how long to wait after a number of failures in a row, 1 or more."""
    return min(RETRY_LONGEST, RETRY_FIRST * (1 << min(failures - 1, 10)))
