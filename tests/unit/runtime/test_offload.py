"""Blocking work in threads."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import TryLaterError
from jbackupd.runtime.offload import Lane, Offload, beat

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_piece_returns_its_result_or_its_error(run) -> None:
    async def work() -> None:
        async with Offload() as offload:
            assert await offload.disk(divmod, 7, 3) == (2, 1)
            with pytest.raises(ZeroDivisionError):
                await offload.cpu(divmod, 7, 0)

    run(work())


def test_a_cancel_waits_until_a_piece_that_writes_has_ended(run) -> None:
    begun, go_on, written = threading.Event(), threading.Event(), []

    def write() -> None:
        begun.set()
        assert go_on.wait(10)
        written.append("all")

    async def work() -> None:
        async with Offload() as offload:
            task = asyncio.create_task(offload.disk(write))
            await offload.cpu(begun.wait, 10)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert written == ["all"]

    run(work())


def test_a_piece_that_waits_is_dropped_by_a_cancel(run) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    async def work() -> None:
        async with Offload() as offload:
            first = asyncio.create_task(offload.db(lambda: (begun.set(), go_on.wait(10))))
            await offload.cpu(begun.wait, 10)
            second = asyncio.create_task(offload.db(done.append, 1))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go_on.set()
            await first
        assert done == []

    run(work())


def test_closing_settles_what_has_begun_and_refuses_the_rest(run) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def long_work() -> str:
        begun.set()
        assert go_on.wait(10)
        done.append("long")
        return "settled"

    async def work() -> None:
        offload = Offload()
        first = asyncio.create_task(offload.db(long_work))
        await offload.cpu(begun.wait, 10)
        second = asyncio.create_task(offload.db(done.append, "second"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(offload.close())
        with pytest.raises(TryLaterError):
            await second
        assert not closing.done()
        go_on.set()
        assert await first == "settled"
        await closing
        await offload.close()
        assert done == ["long"]
        with pytest.raises(TryLaterError):
            await offload.disk(int)

    run(work())


def test_callers_beyond_the_queue_wait_in_line(run) -> None:
    go_on, order = threading.Event(), []

    async def work() -> None:
        lane = Lane("narrow", 1, waiting_max=1)
        tasks = [asyncio.create_task(lane(lambda i=i: (go_on.wait(10), order.append(i)))) for i in range(5)]
        await asyncio.sleep(0)
        assert len(lane._open) == 2
        go_on.set()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]
        await lane.close()

    run(work())


def test_a_piece_is_stalled_only_when_it_overstays_without_a_beat(run) -> None:
    clock = ManualClock(BEGIN)
    begun, beaten, seen, go_on = (threading.Event() for _ in range(4))

    def slow() -> None:
        begun.set()
        assert beaten.wait(10)
        beat(clock)
        seen.set()
        assert go_on.wait(10)

    async def work() -> None:
        async with Offload(clock=clock) as offload:
            task = asyncio.create_task(offload.jobs.run(slow, patience=60))
            await offload.cpu(begun.wait, 10)
            clock.advance(59)
            assert offload.stalled() == []
            clock.advance(2)
            assert offload.stalled() == ["jobs"]
            beaten.set()
            await offload.cpu(seen.wait, 10)
            assert offload.stalled() == []
            go_on.set()
            await task
            clock.advance(1000)
            assert offload.stalled() == []

    run(work())
