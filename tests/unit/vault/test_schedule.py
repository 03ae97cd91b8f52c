"""A schedule gives every frame once, after its bases, in the order of demand; a lost one takes along what needs it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.ids import FrameId
from jbackupd.vault.schedule import Schedule


def frame(name: object) -> FrameId:
    return FrameId(str(name).encode())


def run(schedule: Schedule, ready: int) -> list[str]:
    """Decode everything with one thread."""
    order = []
    while ready:
        one = schedule.next()
        assert one is not None
        order.append(one.decode())
        ready += schedule.done(one) - 1
    assert schedule.next() is None
    return order


def bases(**needs: str):  # type: ignore[no-untyped-def]
    return lambda one: [frame(base) for base in needs.get(one.decode(), "").split()]


def test_bases_come_first_and_what_was_asked_for_first_before_what_came_later() -> None:
    schedule = Schedule()
    need = bases(a="x", x="z", b="x y", y="z")
    new, ready = schedule.ask(frame("a"), need)
    assert (new, ready) == ([frame("z"), frame("x"), frame("a")], 1)
    more, also = schedule.ask(frame("b"), need)
    assert (more, also) == ([frame("y"), frame("b")], 0)
    assert run(schedule, ready + also) == ["z", "x", "a", "y", "b"]


def test_another_thread_takes_the_next_frame_that_waits_for_nothing() -> None:
    schedule = Schedule()
    need = bases(a="x", b="y")
    schedule.ask(frame("a"), need)
    schedule.ask(frame("b"), need)
    assert [schedule.next(), schedule.next(), schedule.next()] == [frame("x"), frame("y"), None]
    assert schedule.done(frame("y")) == 1
    assert schedule.next() == frame("b")


def test_what_was_asked_for_is_not_asked_for_again() -> None:
    schedule = Schedule()
    schedule.ask(frame("a"), bases(a="x"))
    assert schedule.ask(frame("a"), bases(a="x")) == ([], 0)
    assert schedule.ask(frame("x"), bases(a="x")) == ([], 0)


def test_a_frame_that_cannot_be_had_takes_along_what_needs_it_and_nothing_else() -> None:
    schedule = Schedule()
    need = bases(a="x y", b="a", c="y")
    for name in "bc":
        schedule.ask(frame(name), need)
    assert {schedule.next(), schedule.next()} == {frame("x"), frame("y")}
    assert set(schedule.failed(frame("x"))) == {frame("a"), frame("b")}
    assert run(schedule, schedule.done(frame("y"))) == ["c"]
    new, ready = schedule.ask(frame("b"), need)
    assert (len(new), ready) == (4, 2)


@given(st.integers(1, 30), st.integers(), st.integers(1, 4))
def test_any_order_of_completion_gives_every_frame_once_after_its_bases(count: int, seed: int, threads: int) -> None:
    chance = random.Random(seed)
    needs = {n: {chance.randrange(n) for _ in range(chance.randrange(4))} if n else set() for n in range(count)}
    schedule, done, running, jobs = Schedule(), set(), [], 0
    wanted = [chance.randrange(count) for _ in range(5)]

    def to_decode(one: FrameId) -> list[FrameId]:
        return [frame(base) for base in needs[int(one)] if base not in done]

    while wanted or running or jobs:
        if wanted and chance.random() < 0.3:
            one = wanted.pop()
            if one not in done and one not in running:
                jobs += schedule.ask(frame(one), to_decode)[1]
        elif jobs and len(running) < threads:
            jobs -= 1
            taken = schedule.next()
            assert taken is not None
            assert needs[int(taken)] <= done
            assert int(taken) not in done
            running.append(int(taken))
        elif running:
            ended = running.pop(chance.randrange(len(running)))
            done.add(ended)
            jobs += schedule.done(frame(ended))
    assert schedule.next() is None
