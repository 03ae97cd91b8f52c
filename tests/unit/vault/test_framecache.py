"""The cache keeps what a plan needs longest, drops what it has used up, and stays within its budget."""

from __future__ import annotations

from jbackupd.model.ids import FrameId
from jbackupd.vault.framecache import SPENT_FRAMES, FrameCache


def frame(number: int) -> FrameId:
    return FrameId(b"%016d" % number)


def test_what_nobody_needs_goes_before_what_is_needed() -> None:
    cache = FrameCache(30)
    cache.expect({frame(1): 1})
    for number in (1, 2, 3, 4, 5):
        cache.put(frame(number), bytes(10))
    assert [frame(number) in cache for number in (1, 2, 3, 4, 5)] == [True, False, False, True, True]


def test_the_budget_holds_even_over_what_is_needed_and_the_newest_always_stays() -> None:
    cache = FrameCache(20)
    cache.expect({frame(number): 1 for number in range(4)})
    for number in range(3):
        cache.put(frame(number), bytes(10))
    assert [frame(number) in cache for number in range(3)] == [False, True, True]
    cache.put(frame(3), bytes(1000))
    assert [frame(number) in cache for number in range(4)] == [False, False, False, True]


def test_after_their_last_use_only_a_few_frames_stay() -> None:
    cache = FrameCache(10_000)
    cache.expect({frame(number): 2 for number in range(10)})
    for number in range(10):
        cache.put(frame(number), b"x")
        cache.used(frame(number))
    assert all(frame(number) in cache for number in range(10))
    for number in range(10):
        cache.used(frame(number))
    assert [frame(number) in cache for number in range(10)] == [number >= 10 - SPENT_FRAMES for number in range(10)]


def test_a_spent_frame_that_is_expected_again_is_needed_again() -> None:
    cache = FrameCache(10_000)
    cache.expect({frame(0): 1})
    cache.put(frame(0), b"x")
    cache.used(frame(0))
    cache.expect({frame(0): 1})
    for number in range(1, 10):
        cache.expect({frame(number): 1})
        cache.put(frame(number), b"x")
        cache.used(frame(number))
    assert cache.get(frame(0)) == b"x"
    cache.clear()
    assert cache.get(frame(0)) is None
