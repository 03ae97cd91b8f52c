"""Days in the Japanese calendar (和暦): shown beside the western date, read in every form a clerk types.

Meiji 1 to 5 (before 1873-01-01) was a lunar calendar; days of that time are counted here as if the
solar calendar had already been in force, which is how registers that know them at all write them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from jbackupd.model.errors import InvariantError, UsageError

JST = timezone(timedelta(hours=9), "JST")
"""Japan has no daylight saving time since 1952; a fixed offset needs no time-zone files."""


@dataclass(frozen=True, slots=True)
class Era:
    """An era (元号) and the days that bear its name.

    Attributes:
        number: The era's digit in the 7-digit form.
        first: First day of the era.
        last: Last day that is written with this era; None while it lasts. The day on which Meiji and Taisho
            ended belongs to both eras: the new one began on the same day.
    """

    number: int
    name: str
    letter: str
    first: date
    last: date | None

    def year_of(self, day: date) -> int:
        """Return the year within the era, 1 for its first calendar year."""
        return day.year - self.first.year + 1

    def holds(self, day: date) -> bool:
        """Tell whether a day may be written with this era."""
        return self.first <= day and (self.last is None or day <= self.last)


ERAS = (
    Era(1, "明治", "M", date(1868, 1, 25), date(1912, 7, 30)),
    Era(2, "大正", "T", date(1912, 7, 30), date(1926, 12, 25)),
    Era(3, "昭和", "S", date(1926, 12, 25), date(1989, 1, 7)),
    Era(4, "平成", "H", date(1989, 1, 8), date(2019, 4, 30)),
    Era(5, "令和", "R", date(2019, 5, 1), None),
)

_BY_SIGN = {sign: era for era in ERAS for sign in (era.name, era.name[0], era.letter)}
_ERA_DIGITS = re.compile(r"([1-5])(\d\d)(\d\d)(\d\d)")
_WESTERN_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)")
_SIGNS = "|".join(sorted(_BY_SIGN, key=len, reverse=True))
_WRITTEN_ERA = re.compile(
    rf"({_SIGNS})(\d{{1,2}}|元)(?:年(\d{{1,2}})月(\d{{1,2}})日|([./-])(\d{{1,2}})\5(\d{{1,2}}))"
)
_WRITTEN_WESTERN = re.compile(r"(?:西暦)?(\d{4})(?:年(\d{1,2})月(\d{1,2})日|([./-])(\d{1,2})\4(\d{1,2}))")


def era_of(day: date) -> Era | None:
    """Return the era of a day, the new one on a border day; None before Meiji."""
    return next((era for era in reversed(ERAS) if era.first <= day), None)


def wareki(day: date) -> str:
    """Return a day in the Japanese calendar: 令和8年11月23日, 平成元年1月8日; before Meiji the western year."""
    era = era_of(day)
    if era is None:
        return f"{day.year}年{day.month}月{day.day}日"
    year = era.year_of(day)
    return f"{era.name}{'元' if year == 1 else year}年{day.month}月{day.day}日"


def era_digits(day: date) -> str:
    """Return a day as 7 digits, era then YYMMDD: 4050101.

    Raises:
        UsageError: The day lies before Meiji.
    """
    era = era_of(day)
    if era is None:
        raise UsageError("unable to write {day} in 7 digits: it lies before Meiji", day=day.isoformat())
    return f"{era.number}{era.year_of(day):02d}{day.month:02d}{day.day:02d}"


def show_day(day: date) -> str:
    """Return a day for people in both calendars: 令和8年11月23日(2026-11-23)."""
    return f"{wareki(day)}({day.isoformat()})"


def show_moment(moment: datetime) -> str:
    """Return a moment for people in Japan's time: 令和8年11月23日(2026-11-23) 04:10 JST.

    Args:
        moment: Aware, in any zone.
    """
    if moment.tzinfo is None:
        raise InvariantError("a moment without a zone cannot be shown")
    local = moment.astimezone(JST)
    return f"{show_day(local.date())} {local:%H:%M} JST"


def parse_day(text: str) -> date:
    """Read a day as people and systems write it; full-width characters and inner blanks are fine.

    Args:
        text: 7 digits (4050101), 8 digits (19930101), 平成5年1月1日, 平5.1.1, H5.1.1, 令和元年5月1日,
            1993年1月1日, 1993-01-01, 1993/1/1.

    Raises:
        UsageError: It is none of these, the calendar has no such day, or the day lies outside the era it is
            written with.
    """
    typed = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()
    if match := _ERA_DIGITS.fullmatch(typed):
        return _era_day(text, ERAS[int(match[1]) - 1], match[2], match[3], match[4])
    if match := _WESTERN_DIGITS.fullmatch(typed):
        return _calendar_day(text, int(match[1]), match[2], match[3])
    if match := _WRITTEN_ERA.fullmatch(typed):
        return _era_day(text, _BY_SIGN[match[1]], match[2], match[3] or match[6], match[4] or match[7])
    if match := _WRITTEN_WESTERN.fullmatch(typed):
        return _calendar_day(text, int(match[1]), match[2] or match[5], match[3] or match[6])
    raise UsageError(
        "{text!r} is not a date", "write for example 4050101, H5.1.1, 平成5年1月1日, 19930101 or 1993-01-01",
        text=text[:40],
    )


def _era_day(text: str, era: Era, year: str, month: str, day: str) -> date:
    count = 1 if year == "元" else int(year)
    if count == 0:
        raise _no_such_day(text)
    found = _calendar_day(text, era.first.year + count - 1, month, day)
    if not era.holds(found):
        raise UsageError(
            "{text!r} does not lie in the era {era}", "the same day is written {day}",
            text=text[:40], era=era.name, day=show_day(found),
        )
    return found


def _calendar_day(text: str, year: int, month: str, day: str) -> date:
    try:
        return date(year, int(month), int(day))
    except ValueError:
        raise _no_such_day(text) from None


def _no_such_day(text: str) -> UsageError:
    return UsageError("the calendar has no day {text!r}", "check year, month and day", text=text[:40])
