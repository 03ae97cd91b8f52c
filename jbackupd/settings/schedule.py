"""When a dataset is taken: an interval, a calendar word, or five cron fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from jbackupd.model.errors import UsageError
from jbackupd.model.units import parse_duration

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_INTERVAL_MIN = timedelta(minutes=1)
_TIME = r"(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
_WORDS = (
    (re.compile(r"hourly"), "0 * * * *"),
    (re.compile(rf"daily {_TIME}"), "{minute} {hour} * * *"),
    (re.compile(rf"weekly (?P<day>{'|'.join(_DAYS)}) {_TIME}"), "{minute} {hour} * * {day}"),
    (re.compile(rf"monthly (?P<date>[1-9]|[12][0-9]|3[01]) {_TIME}"), "{minute} {hour} {date} * *"),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a dataset is taken.

    Attributes:
        text: As the operator wrote it.
        interval: Time between the beginnings of two backups, or None.
        cron: Five cron fields in the site's own time, or empty.
    """

    text: str
    interval: timedelta | None = None
    cron: str = ""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Parse an interval (15m), a calendar word (daily 02:00) or a cron line (*/5 8-18 * * 1-5).

        Raises:
            UsageError: It is none of them, it never comes, or the interval is under a minute.
        """
        cron = _cron_of(text)
        if cron is not None:
            return cls(text, cron=cron)
        try:
            interval = parse_duration(text)
        except UsageError:
            interval = timedelta(0)
        if interval < _INTERVAL_MIN:
            raise UsageError(
                "{text!r} is not a schedule",
                "write 15m, hourly, daily 02:00, weekly sun 03:00, monthly 1 04:00 or five cron fields",
                text=text,
            )
        return cls(text, interval=interval)

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first moment to begin after another, aware UTC.

        Args:
            moment: When the last backup began; aware.
            zone: The site's own time, which calendar words mean.
        """
        if self.interval is not None:
            return (moment + self.interval).astimezone(UTC)
        return next(CronSim(self.cron, moment.astimezone(zone))).astimezone(UTC)

    def __str__(self) -> str:
        return self.text


def _cron_of(text: str) -> str | None:
    for pattern, cron in _WORDS:
        match = pattern.fullmatch(text)
        if match:
            found = match.groupdict()
            day = _DAYS.index(found["day"]) if "day" in found else ""
            numbers = {name: int(value) for name, value in found.items() if name != "day"}
            return cron.format(day=day, **numbers)
    if len(text.split()) != 5:
        return None
    try:
        next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        return None
    return text
