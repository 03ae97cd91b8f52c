"""Tasks with an owner."""

from __future__ import annotations

import asyncio

import pytest

from jbackupd.model.errors import InvariantError, PeerError
from jbackupd.runtime.supervisor import Backoff, Supervisor

QUICK = Backoff(first_seconds=0.001, longest_seconds=0.004, jitter=0)


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=1, longest_seconds=60, jitter=0)
    assert [backoff.pause(n) for n in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]


def test_jitter_spreads_a_pause_around_its_length() -> None:
    backoff = Backoff(first_seconds=8, longest_seconds=60, jitter=0.25)
    assert (backoff.pause(1, lambda: 0.0), backoff.pause(1, lambda: 1.0)) == (6, 10)


def test_a_task_that_fails_begins_again_and_is_reported(run) -> None:
    reports: list[tuple[str, str, float]] = []
    done = asyncio.Event()
    tries = iter([PeerError("first"), PeerError("second"), None])

    async def work() -> None:
        error = next(tries)
        if error:
            raise error
        done.set()

    async def scenario() -> None:
        async with Supervisor(lambda name, error, pause: reports.append((name, str(error), pause))) as tasks:
            tasks.start("link", work, QUICK)
            await done.wait()
        assert reports == [("link", "first", 0.001), ("link", "second", 0.002)]

    run(scenario())


def test_a_broken_invariant_ends_the_watch_and_is_not_tried_again(run) -> None:
    calls = []

    async def work() -> None:
        calls.append(1)
        raise InvariantError("broken")

    async def scenario() -> None:
        async with Supervisor(lambda *_: None) as tasks:
            tasks.start("queue", work, QUICK)
            with pytest.raises(InvariantError):
                await tasks.watch()
        assert calls == [1]

    run(scenario())


def test_stopping_waits_until_the_task_has_cleaned_up(run) -> None:
    events: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("cleaned")

    async def scenario() -> None:
        async with Supervisor(lambda *_: None) as tasks:
            tasks.start("queue", work)
            await begun.wait()
            await tasks.stop("queue")
            assert events == ["cleaned"]
            assert tasks.names() == []
            await tasks.stop("queue")
            tasks.start("queue", work)

    run(scenario())


def test_two_tasks_of_one_name_are_a_defect(run) -> None:
    async def scenario() -> None:
        async with Supervisor(lambda *_: None) as tasks:
            tasks.start("queue", asyncio.Event().wait)
            with pytest.raises(InvariantError):
                tasks.start("queue", asyncio.Event().wait)

    run(scenario())
