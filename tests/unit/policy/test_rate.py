"""The token bucket: averages are kept whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.policy.rate import BURST_BYTES_MIN, BURST_SECONDS, TokenBucket


def test_an_unlimited_bucket_never_waits():
    bucket = TokenBucket(None, 0.0)
    assert [bucket.take(10**9, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_stopped_bucket_lets_nothing_through_until_the_rate_changes():
    bucket = TokenBucket(0, 0.0)
    assert bucket.take(1, 1000.0) == float("inf")
    assert bucket.take(0, 1000.0) == 0.0
    bucket.set_rate(None, 1000.0)
    assert bucket.take(10**9, 1000.0) == 0.0


def test_an_amount_over_the_burst_goes_when_the_bucket_is_full_and_is_paid_afterwards():
    bucket = TokenBucket(1_000_000, 0.0)
    assert bucket.take(1_000_000, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(0.750001)


def test_a_lower_rate_takes_effect_at_once():
    bucket = TokenBucket(1_000_000, 0.0)
    bucket.take(int(bucket.burst), 0.0)
    bucket.set_rate(100_000, 0.0)
    assert bucket.take(10_000, 0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [-1.0, float("inf"), float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        TokenBucket(rate, 0.0)


@given(
    st.integers(1_000, 10**9),
    st.lists(st.tuples(st.integers(0, 300_000), st.floats(0, 2)), min_size=1, max_size=40),
)
def test_never_more_than_rate_times_time_plus_burst_plus_one_amount(rate, steps):
    bucket, now, spent, largest = TokenBucket(rate, 0.0), 0.0, 0, 0
    for amount, pause in steps:
        now += pause
        delay = bucket.take(amount, now)
        while delay:
            now += delay
            delay = bucket.take(amount, now)
        spent, largest = spent + amount, max(largest, amount)
        assert spent <= rate * now + max(BURST_BYTES_MIN, rate * BURST_SECONDS) + largest + 1


@given(st.integers(1_000, 10**9), st.integers(0, 10**7), st.floats(0, 100))
def test_the_delay_it_names_is_enough(rate, amount, now):
    bucket = TokenBucket(rate, now)
    bucket.take(10**6, now)
    if delay := bucket.take(amount, now):
        assert bucket.take(amount, now + delay + 1e-6) == 0.0
