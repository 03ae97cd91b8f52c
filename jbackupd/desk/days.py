"""Parts of dates as clerks type them: a year, or a year and a month, in either calendar."""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from jbackupd.model.errors import UsageError
from jbackupd.model.wareki import ERAS, Era, parse_day

_YEARS = range(1868, 2200)
"""Four digits outside are a number, not a year."""
_BY_SIGN = {sign: era for era in ERAS for sign in (era.name, era.name[0], era.letter)}
_SIGNS = "|".join(sorted(_BY_SIGN, key=len, reverse=True))
_ERA_DIGITS = re.compile(r"(?P<era>[1-5])(?P<year>\d\d)(?P<month>\d\d)?")
_ERA_WRITTEN = re.compile(
    rf"(?P<era>{_SIGNS})(?P<year>\d{{1,2}}|元)年?(?:(?<=年)(?P<month>\d{{1,2}})月|[./-](?P<other>\d{{1,2}}))?"
)
_WESTERN = re.compile(
    r"(?:西暦)?(?P<year>\d{4})(?:年(?:(?P<month>\d{1,2})月)?|[./-](?P<other>\d{1,2})|(?P<digits>\d\d))?"
)


@dataclass(frozen=True, slots=True)
class Days:
    """Days from the first to the last, both among them."""

    first: date
    last: date

    def __str__(self) -> str:
        """Return the value that a search compares with: 1993-01-01, or 1993-01-01..1993-12-31."""
        return self.first.isoformat() if self.first == self.last else f"{self.first}..{self.last}"

    @classmethod
    def parse(cls, text: str) -> Days:
        """Read what `__str__` wrote."""
        first, _, last = text.partition("..")
        return cls(date.fromisoformat(first), date.fromisoformat(last or first))


def days_of(text: str) -> Days | None:
    """Return the days that a text means: a whole date, a year with its month, or a year; None if it means none.

    Args:
        text: What `parse_day` reads, and 平成5年, H5, 405, 1993年, 1993, with a month 平成5年1月, H5.1, 40501,
            1993年1月, 1993-01, 199301.
    """
    try:
        day = parse_day(text)
    except UsageError:
        return _part(re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper())
    return Days(day, day)


def _part(typed: str) -> Days | None:
    if match := _ERA_DIGITS.fullmatch(typed):
        return _era_days(ERAS[int(match["era"]) - 1], match["year"], match["month"])
    if match := _ERA_WRITTEN.fullmatch(typed):
        return _era_days(_BY_SIGN[match["era"]], match["year"], match["month"] or match["other"])
    if match := _WESTERN.fullmatch(typed):
        return _western_days(int(match["year"]), match["month"] or match["other"] or match["digits"])
    return None


def _western_days(year: int, month: str | None) -> Days | None:
    if year not in _YEARS or (month is not None and not 1 <= int(month) <= 12):
        return None
    first, last = (1, 12) if month is None else (int(month), int(month))
    return Days(date(year, first, 1), date(year, last, monthrange(year, last)[1]))


def _era_days(era: Era, year: str, month: str | None) -> Days | None:
    """Return the days that are written so: in the years in which eras change, not the whole year."""
    count = 1 if year == "元" else int(year)
    found = _western_days(era.first.year + count - 1, month) if count else None
    if found is None or found.last < era.first or (era.last is not None and found.first > era.last):
        return None
    return Days(max(found.first, era.first), min(found.last, era.last or found.last))
