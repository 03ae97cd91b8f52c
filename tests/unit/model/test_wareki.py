"""Days in the Japanese calendar."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from jbackupd.model.errors import InvariantError, UsageError
from jbackupd.model.wareki import ERAS, era_digits, era_of, parse_day, show_day, show_moment, wareki


@pytest.mark.parametrize(("day", "shown"), [
    (date(2026, 11, 23), "令和8年11月23日"),
    (date(2019, 5, 1), "令和元年5月1日"), (date(2019, 4, 30), "平成31年4月30日"),
    (date(1989, 1, 8), "平成元年1月8日"), (date(1989, 1, 7), "昭和64年1月7日"),
    (date(1926, 12, 25), "昭和元年12月25日"), (date(1926, 12, 24), "大正15年12月24日"),
    (date(1912, 7, 30), "大正元年7月30日"), (date(1912, 7, 29), "明治45年7月29日"),
    (date(1868, 1, 25), "明治元年1月25日"), (date(1868, 1, 24), "1868年1月24日"),
])
def test_eras_change_on_the_right_day(day, shown):
    assert wareki(day) == shown


def test_a_moment_is_shown_in_both_calendars_and_in_japans_time():
    assert show_moment(datetime(2026, 11, 22, 19, 10, tzinfo=UTC)) == "令和8年11月23日(2026-11-23) 04:10 JST"


def test_a_moment_without_a_zone_is_a_defect():
    with pytest.raises(InvariantError):
        show_moment(datetime(2026, 11, 23))


@pytest.mark.parametrize("typed", [
    "4050101", "4050101", "平成5年1月1日", "平成 5年 1月 1日", "平5.1.1", "H5.1.1", "h5/01/01", "H5-1-1", "19930101",
    "1993-01-01", "1993/1/1", "1993.1.1", "1993年1月1日", "西暦1993年1月1日", "1993-01-01",
])
def test_every_form_that_clerks_type_is_read(typed):
    assert parse_day(typed) == date(1993, 1, 1)


def test_the_first_year_may_be_written_with_its_own_word():
    assert parse_day("令和元年5月1日") == parse_day("R1.5.1") == parse_day("5010501") == date(2019, 5, 1)


@pytest.mark.parametrize("typed", ["1450730", "2010730"])
def test_the_day_on_which_meiji_ended_belongs_to_both_eras(typed):
    assert parse_day(typed) == date(1912, 7, 30)


@pytest.mark.parametrize(("typed", "right"), [
    ("平成31年5月1日", "令和元年5月1日"), ("S64.1.8", "平成元年1月8日"),
    ("4010107", "昭和64年1月7日"), ("2151226", "昭和元年12月26日"),
])
def test_a_day_outside_its_era_is_refused_and_told_in_its_right_form(typed, right):
    with pytest.raises(UsageError) as caught:
        parse_day(typed)
    assert right in caught.value.render(caught.value.hint)


@pytest.mark.parametrize(
    "typed", ["", "1", "H5.13.1", "H0.1.1", "19930230", "0010101", "6010101", "H5.1-1", "佐藤", "1" * 99]
)
def test_anything_else_is_refused(typed):
    with pytest.raises(UsageError):
        parse_day(typed)


def test_eras_follow_each_other_without_a_gap():
    for before, after in pairwise(ERAS):
        assert before.last is not None and 0 <= (after.first - before.last).days <= 1
    assert era_of(date(1868, 1, 24)) is None


def test_a_day_before_meiji_has_no_seven_digits():
    with pytest.raises(UsageError):
        era_digits(date(1850, 1, 1))
    assert show_day(date(1850, 1, 1)) == "1850年1月1日(1850-01-01)"
