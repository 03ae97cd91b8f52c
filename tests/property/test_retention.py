"""What holds for every retention, whatever the points, the rules and the clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as some

from jbackupd.policy.retention import Candidate, Reason, Rules, decide, disposed_at, forecast
from jbackupd.settings.schema import zone_of

JST = zone_of("Asia/Tokyo")
START = datetime(2026, 4, 1, tzinfo=UTC)

points_in_sequence = some.lists(
    some.tuples(some.integers(-40, 900), some.booleans()), min_size=1, max_size=30
).map(lambda made: [Candidate(n, START + timedelta(days=d, hours=7 * n), gap) for n, (d, gap) in enumerate(made, 1)])
counts = some.integers(0, 4)
rules = some.builds(
    Rules, last=counts, daily=counts, weekly=counts, monthly=counts, yearly=counts, min_points=some.integers(0, 3),
    min_age=some.integers(0, 60).map(lambda days: timedelta(days=days)),
    max_age=some.one_of(some.none(), some.integers(1, 800).map(lambda days: timedelta(days=days))),
    disposal_years=some.integers(0, 3),
)
moments = some.integers(-20_000, 20_000).map(lambda days: START + timedelta(days=days))
sequences = some.sets(some.integers(1, 30), max_size=4)


def staying(points, rules, now, **more):
    return {d.point.sequence for d in decide(points, rules, now=now, zone=JST, **more) if d.stays}


@settings(deadline=None, max_examples=150)
@given(points_in_sequence, rules, moments)
def test_the_newest_and_the_newest_complete_point_never_go_whatever_the_clock_says(points, rules, now):
    kept = staying(points, rules, now)
    complete = [point.sequence for point in points if not point.incomplete]
    assert {points[-1].sequence, *complete[-max(1, rules.min_points) :]} <= kept


@settings(deadline=None, max_examples=150)
@given(points_in_sequence, rules, moments, sequences, sequences)
def test_a_second_look_at_the_same_moment_removes_nothing_more(points, rules, now, held, waiting):
    kept = staying(points, rules, now, held=held, waiting=waiting)
    left = [point for point in points if point.sequence in kept]
    assert staying(left, rules, now, held=held, waiting=waiting) == kept


@settings(deadline=None, max_examples=150)
@given(points_in_sequence, rules, moments, some.sampled_from(["last", "daily", "weekly", "monthly", "yearly"]))
def test_a_higher_count_never_removes_what_a_lower_one_keeps(points, rules, now, name):
    if rules.counts:
        more = replace(rules, **{name: getattr(rules, name) + 1})
        assert staying(points, rules, now) <= staying(points, more, now)


@settings(deadline=None, max_examples=100)
@given(points_in_sequence, rules, moments, some.randoms())
def test_the_order_of_the_points_does_not_matter(points, rules, now, chance):
    shuffled = list(points)
    chance.shuffle(shuffled)
    assert decide(shuffled, rules, now=now, zone=JST) == decide(points, rules, now=now, zone=JST)


@settings(deadline=None, max_examples=150)
@given(points_in_sequence, rules, moments, sequences, sequences)
def test_holds_peers_and_the_lower_bound_win_and_a_clash_is_told(points, rules, now, held, waiting):
    for decision in decide(points, rules, now=now, zone=JST, held=held, waiting=waiting):
        point = decision.point
        if point.sequence in held | waiting or (rules.min_age and now - point.taken_at < rules.min_age):
            assert decision.stays
        end = disposed_at(point, rules, JST)
        assert decision.overdue == (decision.stays and end is not None and end <= now)


@settings(deadline=None, max_examples=150)
@given(points_in_sequence, rules, moments)
def test_an_incomplete_point_never_takes_the_place_of_a_complete_one(points, rules, now):
    complete = [point for point in points if not point.incomplete]
    assert staying(complete, replace(rules, min_points=1), now) <= staying(points, replace(rules, min_points=1), now)


@settings(deadline=None, max_examples=100)
@given(points_in_sequence, moments)
def test_without_rules_everything_stays(points, now):
    assert {d.reasons[-1] for d in decide(points, Rules(), now=now, zone=JST)} == {Reason.NO_RULE}


@settings(deadline=None, max_examples=30)
@given(points_in_sequence, rules, some.integers(1, 3), some.integers(1, 40))
def test_a_forecast_is_what_happens(points, rules, every_days, days):
    now = points[-1].taken_at
    every, until = timedelta(days=every_days), now + timedelta(days=days)
    told = {
        (removal.point.sequence, removal.at)
        for removal in forecast(points, rules, now=now, zone=JST, until=until, every=every)
    }
    there, happened = list(points), set()
    for day in range(days + 1):
        look = now + timedelta(days=day)
        if day and day % every_days == 0:
            there.append(Candidate(there[-1].sequence + 1, look))
        kept = staying(there, rules, look)
        happened |= {(point.sequence, look) for point in there if point.sequence not in kept}
        there = [point for point in there if point.sequence in kept]
    assert {(sequence, at) for sequence, at in happened if sequence <= len(points)} == told
