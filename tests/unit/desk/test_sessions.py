"""Sessions fall asleep, failures cost time, and memory stays bounded."""

from datetime import UTC, datetime

import pytest

from jbackupd.desk.query import understand
from jbackupd.desk.sessions import (
    FORGET_SECONDS,
    HANDLES_MAX,
    IDLE_SECONDS,
    LIFETIME_SECONDS,
    NAMES_MAX,
    SESSIONS_MAX,
    LockOut,
    Sessions,
)
from jbackupd.model.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock(datetime(2026, 11, 23, tzinfo=UTC))


def test_a_session_falls_asleep_when_it_is_not_used(clock):
    sessions = Sessions(clock)
    token = sessions.begin("kubo", "::1").token
    clock.advance(IDLE_SECONDS)
    assert sessions.find(token)
    clock.advance(IDLE_SECONDS + 1)
    assert sessions.find(token) is None


def test_a_session_ends_after_its_lifetime_however_busy(clock):
    sessions = Sessions(clock)
    token = sessions.begin("kubo", "::1").token
    for _ in range(LIFETIME_SECONDS // 600):
        clock.advance(600)
        assert sessions.find(token)
    clock.advance(600)
    assert sessions.find(token) is None


def test_a_jump_of_the_wall_clock_signs_nobody_out_and_keeps_nobody_in(clock):
    sessions = Sessions(clock)
    token = sessions.begin("kubo", "::1").token
    clock.jump(datetime(2036, 1, 1, tzinfo=UTC))
    assert sessions.find(token)


def test_signing_out_ends_the_session(clock):
    sessions = Sessions(clock)
    token = sessions.begin("kubo", "::1").token
    sessions.end(token)
    sessions.end(token)
    assert sessions.find(token) is None


def test_sessions_and_handles_are_bounded(clock):
    sessions = Sessions(clock)
    first = sessions.begin("kubo", "::1").token
    for _ in range(SESSIONS_MAX):
        session = sessions.begin("kubo", "::1")
    assert sessions.find(first) is None and sessions.find(session.token)
    for row in range(HANDLES_MAX + 50):
        assert session.person_handle(row) == session.person_handle(row)
        session.remember_search(understand("あ"))
    assert len(session.persons) == len(session.searches) == len(session._handles) == HANDLES_MAX


def test_failures_cost_more_and_more_time(clock):
    lock = LockOut(clock, free=3, delay_seconds_max=60)
    assert [lock.attempt("kubo") for _ in range(4)] == [0, 0, 0, 0]
    waits = []
    for _ in range(8):
        waits.append(lock.attempt("kubo"))
        clock.advance(waits[-1])
        assert lock.attempt("kubo") == 0
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert lock.attempt("somebody else") == 0


def test_waiting_tries_do_not_make_the_wait_longer(clock):
    lock = LockOut(clock, free=0, delay_seconds_max=60)
    lock.attempt("kubo")
    assert [lock.attempt("kubo") for _ in range(5)] == [2] * 5


def test_a_right_password_and_a_quiet_hour_are_forgiven(clock):
    lock = LockOut(clock, free=0, delay_seconds_max=60)
    lock.attempt("kubo")
    lock.succeeded("kubo")
    assert lock.attempt("kubo") == 0
    clock.advance(FORGET_SECONDS + 1)
    assert lock.attempt("kubo") == 0
    assert lock.attempt("kubo") == 2


def test_names_without_end_do_not_fill_the_memory(clock):
    lock = LockOut(clock, free=3, delay_seconds_max=60)
    for number in range(NAMES_MAX + 10):
        lock.attempt(str(number))
    assert len(lock._failures) == NAMES_MAX
