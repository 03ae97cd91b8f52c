"""Names of epochs."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.vault.keyepoch import fiscal_year, next_epoch, year_of

TOKYO, HONOLULU = ZoneInfo("Asia/Tokyo"), ZoneInfo("Pacific/Honolulu")


@pytest.mark.parametrize(("moment", "zone", "year"), [
    (datetime(2027, 3, 31, 14, 59, tzinfo=UTC), TOKYO, "2026"),
    (datetime(2027, 3, 31, 15, 0, tzinfo=UTC), TOKYO, "2027"),
    (datetime(2027, 3, 31, 15, 0, tzinfo=UTC), HONOLULU, "2026"),
    (datetime(2027, 4, 1, 10, 0, tzinfo=UTC), HONOLULU, "2027"),
])
def test_a_fiscal_year_begins_on_april_1_in_the_sites_own_time(moment, zone, year):
    assert fiscal_year(moment, zone) == year


def test_within_a_year_epochs_are_numbered():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert next_epoch((), now) == "2026"
    assert next_epoch(("2026",), now) == "2026-2"
    assert next_epoch(("2025", "2026", "2026-2", "2026-3"), now) == "2026-4"


@given(st.lists(st.integers(-900, 900), max_size=40))
def test_no_name_comes_twice_and_no_year_comes_back_whatever_the_clock_does(days):
    taken = [next_epoch((), datetime(2026, 11, 23, tzinfo=UTC))]
    for day in days:
        taken.append(next_epoch(taken, datetime(2026, 11, 23, tzinfo=UTC) + timedelta(days=day)))
    assert len(set(taken)) == len(taken)
    assert [year_of(name) for name in taken] == sorted(year_of(name) for name in taken)
