"""Schedules: what may be written, and when it comes next."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from jbackupd.model.errors import UsageError
from jbackupd.settings.schedule import Schedule

JST = timezone(timedelta(hours=9))
MOMENT = datetime(2026, 11, 23, 4, 10, tzinfo=JST)  # a Monday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", datetime(2026, 11, 23, 4, 25, tzinfo=JST)),
        ("1h30m", datetime(2026, 11, 23, 5, 40, tzinfo=JST)),
        ("hourly", datetime(2026, 11, 23, 5, 0, tzinfo=JST)),
        ("daily 02:00", datetime(2026, 11, 24, 2, 0, tzinfo=JST)),
        ("daily 4:11", datetime(2026, 11, 23, 4, 11, tzinfo=JST)),
        ("weekly sun 03:00", datetime(2026, 11, 29, 3, 0, tzinfo=JST)),
        ("monthly 31 04:00", datetime(2026, 12, 31, 4, 0, tzinfo=JST)),
        ("*/5 8-18 * * 1-5", datetime(2026, 11, 23, 8, 0, tzinfo=JST)),
    ],
)
def test_the_next_time_is_in_the_sites_own_time(text, expected):
    found = Schedule.parse(text).next_after(MOMENT.astimezone(UTC), JST)
    assert found == expected
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["", "daily", "daily 24:00", "weekly 03:00", "monthly 0 04:00", "30s", "0m", "* * * *", "61 * * * *",
             "0 0 31 2 *", "Daily 02:00", "daily 02:00 "],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError):
        Schedule.parse(text)
