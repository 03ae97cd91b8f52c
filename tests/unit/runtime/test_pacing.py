"""Waiting for tokens: in order, changed live, not held up by the cancelled."""

from __future__ import annotations

import asyncio

import pytest

from jbackupd.runtime.pacing import PIECE_BYTES_MIN, Pacer


def test_without_a_limit_nothing_waits():
    async def story():
        pacer = Pacer()
        await asyncio.wait_for(pacer.spend(10**12), 1)

    asyncio.run(story())


def test_a_stopped_pacer_goes_on_when_the_rate_is_raised():
    async def story():
        pacer = Pacer(0)
        waiting = [asyncio.create_task(pacer.spend(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        pacer.set_rate(10**9)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)

    asyncio.run(story())


def test_a_cancelled_waiter_does_not_block_the_next():
    async def story():
        pacer = Pacer(0)
        first, second = asyncio.create_task(pacer.spend(10)), asyncio.create_task(pacer.spend(10))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        pacer.set_rate(None)
        await asyncio.wait_for(second, 5)

    asyncio.run(story())


def test_the_rate_is_kept_in_real_time():
    async def story():
        loop = asyncio.get_running_loop()
        pacer, begun = Pacer(1_000_000), loop.time()
        for _ in range(10):
            await pacer.spend(50_000)
        return loop.time() - begun

    assert asyncio.run(story()) >= (500_000 - 250_000) / 1_000_000 - 0.01


@pytest.mark.parametrize(
    ("rate", "most", "piece"),
    [(None, 262_139, 262_139), (10**9, 262_139, 262_139), (800_000, 262_139, 100_000), (100, 262_139, PIECE_BYTES_MIN),
     (0, 262_139, PIECE_BYTES_MIN), (100, 100, 100)],
)
def test_pieces_are_an_eighth_of_a_second(rate, most, piece):
    assert Pacer(rate).piece(most) == piece
