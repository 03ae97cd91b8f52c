"""Retention by example: what an operator expects of each setting."""

from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.policy.retention import (
    Candidate,
    Reason,
    Rules,
    clock_doubt,
    decide,
    disposed_at,
    fiscal_year,
    forecast,
)
from jbackupd.settings.schema import zone_of

JST = zone_of("Asia/Tokyo")
NOW = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)


def daily(count, *, until=NOW, incomplete=()):
    return [
        Candidate(n, until - timedelta(days=count - n), n in incomplete) for n in range(1, count + 1)
    ]


def kept(points, rules, now=NOW, **more):
    return [d.point.sequence for d in decide(points, rules, now=now, zone=JST, **more) if d.stays]


def test_daily_weekly_monthly_and_yearly_keep_the_newest_point_of_each_period():
    # 2026-11-23 is a Monday in Japan; the points are of 09:00.
    points = daily(600)
    found = kept(points, Rules(daily=3, weekly=2, monthly=3, yearly=2))
    times = {point.sequence: point.taken_at.astimezone(JST).date().isoformat() for point in points}
    assert [times[n] for n in found] == [
        "2026-03-31", "2026-09-30", "2026-10-31", "2026-11-21", "2026-11-22", "2026-11-23",
    ]


def test_a_year_is_a_fiscal_year_and_begins_on_april_1_in_the_sites_zone():
    assert fiscal_year(datetime(2026, 3, 31, 14, 59, tzinfo=UTC), JST) == 2025
    assert fiscal_year(datetime(2026, 3, 31, 15, 0, tzinfo=UTC), JST) == 2026


def test_disposal_counts_full_years_from_the_april_1_after_the_point():
    point = Candidate(1, datetime(2026, 5, 1, tzinfo=UTC))
    assert disposed_at(point, Rules(disposal_years=5), JST) == datetime(2032, 3, 31, 15, 0, tzinfo=UTC)


def test_the_upper_bound_removes_what_counts_would_keep_but_never_the_newest():
    points = daily(10)
    rules = Rules(last=10, max_age=timedelta(days=3))
    assert kept(points, rules) == [8, 9, 10]
    assert kept(points, rules, now=NOW + timedelta(days=999)) == [10]


def test_a_hold_wins_over_the_upper_bound_and_the_clash_is_told():
    decisions = decide(daily(5), Rules(max_age=timedelta(days=2)), now=NOW, zone=JST, held={1})
    assert [(d.point.sequence, d.stays, d.overdue) for d in decisions] == [
        (1, True, True), (2, False, False), (3, False, False), (4, True, False), (5, True, False),
    ]
    assert decisions[0].reasons == (Reason.HELD,) and decisions[1].reasons == (Reason.TOO_OLD,)


def test_what_a_peer_has_not_signed_for_stays():
    assert kept(daily(5), Rules(last=1), waiting={3, 4}) == [3, 4, 5]


def test_the_lower_bounds_keep_young_points_and_so_many_complete_ones():
    assert kept(daily(9), Rules(last=1, min_age=timedelta(days=3))) == [7, 8, 9]
    assert kept(daily(9, incomplete={8, 9}), Rules(last=1, min_points=3)) == [5, 6, 7, 9]


def test_incomplete_points_are_thinned_as_well_where_a_dataset_is_never_complete():
    assert kept(daily(9, incomplete=range(1, 10)), Rules(last=2, daily=3)) == [7, 8, 9]


def test_a_point_with_a_time_of_the_future_does_not_push_others_out():
    # The source's clock stood at 2036 for one point; later points are right again.
    points = daily(8)
    points[3] = Candidate(4, NOW + timedelta(days=3650))
    assert kept(points, Rules(daily=3)) == [6, 7, 8]


@pytest.mark.parametrize(("ahead", "doubt"), [
    (timedelta(days=39), False), (timedelta(days=3650), True), (timedelta(hours=-20), False),
    (timedelta(days=-2), True), (timedelta(days=-20_000), True),
])
def test_a_clock_that_jumped_is_noticed(ahead, doubt):
    assert clock_doubt([NOW], NOW + ahead) == (NOW if doubt else None)


def test_a_clock_that_jumped_before_the_newest_point_was_taken_is_noticed_too():
    wrong = NOW + timedelta(days=3650)
    assert clock_doubt([NOW, NOW + timedelta(days=1), wrong], wrong) == NOW + timedelta(days=1)
    assert clock_doubt([], wrong) is None


def test_a_forecast_tells_when_each_point_goes_and_why():
    removals = forecast(
        daily(4), Rules(last=2, max_age=timedelta(days=30)), now=NOW, zone=JST, until=NOW + timedelta(days=2),
        every=timedelta(days=1),
    )
    assert [(r.point.sequence, (r.at - NOW).days, r.reason) for r in removals] == [
        (1, 0, Reason.NOT_KEPT), (2, 0, Reason.NOT_KEPT), (3, 1, Reason.NOT_KEPT), (4, 2, Reason.NOT_KEPT),
    ]
