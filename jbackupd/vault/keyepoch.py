"""Names of key epochs: a fiscal year, and what was begun within one at somebody's wish."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta, timezone, tzinfo

JST = timezone(timedelta(hours=9))
"""Without a time zone database, which a bare machine may not have; Japan has no summer time."""
FIRST_MONTH = 4


def fiscal_year(moment: datetime, zone: tzinfo = JST) -> str:
    """Return the Japanese fiscal year (April to March) that a moment lies in, as four digits.

    Args:
        zone: The site's own time.
    """
    local = moment.astimezone(zone)
    return str(local.year if local.month >= FIRST_MONTH else local.year - 1)


def year_of(epoch: str) -> str:
    """Return the fiscal year that an epoch was begun in; empty if there is none yet."""
    return epoch.partition("-")[0]


def next_epoch(taken: Collection[str], moment: datetime, zone: tzinfo = JST) -> str:
    """Return the name of an epoch that begins now: the fiscal year, or YEAR-2, YEAR-3 and so on within it.

    Args:
        taken: Names of earlier epochs. A clock that went back does not begin an earlier year again.
    """
    year = max([fiscal_year(moment, zone), *map(year_of, taken)])
    name, number = year, 1
    while name in taken:
        number += 1
        name = f"{year}-{number}"
    return name
