"""People are called once for each time of the schedule, within its window, and not while a site is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.continuity.drillcall import called, is_answered, next_call
from jbackupd.settings.schedule import Schedule

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
MONTHLY = Schedule.parse("monthly 1 09:00")


@given(st.integers(0, 40), st.integers(0, 2000), st.randoms())
def test_the_call_comes_within_the_window_and_once(days: int, hours: int, random: Random) -> None:
    window, now = timedelta(days=days), NOW + timedelta(hours=hours)
    call = next_call("p", "s", lambda after: MONTHLY.next_after(after, UTC), now, window, random)
    assert call is not None and call.called_at is None
    begin = MONTHLY.next_after(now, UTC)
    assert begin is not None and begin <= call.due_at <= begin + window
    before, after = call.due_at - timedelta(seconds=1), call.due_at + timedelta(hours=5)
    assert called(call, before, hindered=False) == call
    assert called(call, after, hindered=True) == call, "nobody rehearses while a site is lost"
    made = called(call, after, hindered=False)
    assert made.called_at == after
    assert called(made, after + timedelta(days=1), hindered=False) == made, "a restart calls nobody twice"
    assert not is_answered(made, None) and not is_answered(made, before) and not is_answered(call, after)
    assert is_answered(made, after + timedelta(minutes=7))


def test_moments_of_a_window_are_not_foretold() -> None:
    found = {
        next_call("p", "s", lambda after: MONTHLY.next_after(after, UTC), NOW, timedelta(days=14), Random(seed))
        for seed in range(50)
    }
    assert len(found) == 50
