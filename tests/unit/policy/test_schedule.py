"""When a dataset is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from jbackupd.policy.schedule import LastRun, next_run, retry_pause
from jbackupd.settings.schedule import Schedule
from jbackupd.settings.schema import zone_of

JAPAN = zone_of("Asia/Tokyo")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ran(text: str, failures: int = 0) -> LastRun:
    begun = at(text)
    return LastRun(begun, begun + timedelta(minutes=1), failures)


@pytest.mark.parametrize(
    ("schedule", "last", "expected"),
    [
        ("15m", "2026-11-23T10:00:00+09:00", "2026-11-23T10:15:00+09:00"),
        ("hourly", "2026-11-23T10:20:00+09:00", "2026-11-23T11:00:00+09:00"),
        ("daily 02:00", "2026-11-23T02:00:00+09:00", "2026-11-24T02:00:00+09:00"),
        ("daily 02:00", "2026-11-23T01:00:00+09:00", "2026-11-23T02:00:00+09:00"),
        ("weekly sun 03:00", "2026-11-23T10:00:00+09:00", "2026-11-29T03:00:00+09:00"),
        ("monthly 1 04:00", "2026-11-23T10:00:00+09:00", "2026-12-01T04:00:00+09:00"),
        ("*/5 8-18 * * 1-5", "2026-11-20T18:56:00+09:00", "2026-11-23T08:00:00+09:00"),
    ],
)
def test_next_time_of_each_sort_of_schedule(schedule: str, last: str, expected: str) -> None:
    due = next_run(Schedule.parse(schedule), ran(last), at(last) + timedelta(minutes=2), JAPAN)
    assert due == at(expected)


def test_a_dataset_never_taken_is_due_at_once() -> None:
    now = at("2026-11-23T10:00:00+09:00")
    assert next_run(Schedule.parse("daily 02:00"), None, now, JAPAN) == now


def test_times_missed_while_the_daemon_was_down_are_made_up_for_once() -> None:
    schedule = Schedule.parse("daily 02:00")
    now = at("2026-11-23T10:00:00+09:00")
    assert next_run(schedule, ran("2026-11-18T02:00:00+09:00"), now, JAPAN) <= now
    assert next_run(schedule, ran("2026-11-23T10:00:00+09:00"), now, JAPAN) == at("2026-11-24T02:00:00+09:00")


def test_a_failed_run_is_tried_again_after_a_growing_pause() -> None:
    schedule = Schedule.parse("daily 02:00")
    now = at("2026-11-23T02:02:00+09:00")
    assert next_run(schedule, ran("2026-11-23T02:00:00+09:00", 1), now, JAPAN) == at("2026-11-23T02:06:00+09:00")
    assert [retry_pause(n).total_seconds() / 60 for n in (1, 2, 3, 4, 5, 99)] == [5, 10, 20, 40, 60, 60]


def test_a_retry_is_never_later_than_the_schedule() -> None:
    due = next_run(Schedule.parse("5m"), ran("2026-11-23T02:00:00+09:00", 9), at("2026-11-23T02:02:00+09:00"), JAPAN)
    assert due == at("2026-11-23T02:05:00+09:00")


def test_a_clock_that_was_set_back_does_not_stop_an_interval_for_a_year() -> None:
    now = at("2025-11-23T10:00:00+09:00")
    assert next_run(Schedule.parse("15m"), ran("2026-11-23T10:00:00+09:00"), now, JAPAN) == now + timedelta(minutes=15)
    assert next_run(Schedule.parse("daily 02:00"), ran("2026-11-23T10:00:00+09:00", 3), now, JAPAN) <= now + timedelta(
        minutes=20
    )


def _runs(schedule: str, zone: str, begin: str, days: int) -> list[datetime]:
    """Follow a schedule, run by run, in local time."""
    place, moment = ZoneInfo(zone), at(begin)
    end, found = moment + timedelta(days=days), []
    while (moment := next_run(Schedule.parse(schedule), LastRun(moment, moment), moment, place)) < end:
        found.append(moment)
    return found


def test_a_daily_time_inside_the_hour_that_summer_time_takes_away_comes_once_a_day() -> None:
    runs = _runs("daily 02:30", "Europe/Berlin", "2026-03-27T12:00:00+01:00", 4)
    assert [run.astimezone(ZoneInfo("Europe/Berlin")).date().day for run in runs] == [28, 29, 30, 31]


def test_a_daily_time_inside_the_hour_that_comes_twice_comes_once_a_day() -> None:
    runs = _runs("daily 02:30", "Europe/Berlin", "2026-10-23T12:00:00+02:00", 4)
    assert [run.astimezone(ZoneInfo("Europe/Berlin")).date().day for run in runs] == [24, 25, 26, 27]
    assert runs[1] == at("2026-10-25T02:30:00+02:00")


def test_an_interval_keeps_its_length_over_a_change_of_summer_time() -> None:
    runs = _runs("1h", "Europe/Berlin", "2026-10-24T22:00:00+00:00", 1)
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(hours=1)}
    assert all(run.tzinfo is UTC for run in runs)
