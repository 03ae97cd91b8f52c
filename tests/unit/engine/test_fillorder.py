"""What is fetched next: behind what was read last, then in order, everything once."""

from __future__ import annotations

import random

from jbackupd.engine.fillorder import FillOrder
from jbackupd.model.ids import ObjectName
from jbackupd.policy.window import PIECE_BYTES_MIN, QUEUE_SECONDS, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, Window
from jbackupd.vault.ranges import Ranges

SIZE, PIECE, NEAR = 1000, 30, 90
PACKS = [ObjectName(bytes([number]) * 32) for number in range(5)]


class Fill:
    """Packs of which nothing is here; what is returned counts as fetched."""

    def __init__(self) -> None:
        self.order = FillOrder(PACKS, near_bytes=NEAR)
        self.here = {name: Ranges() for name in PACKS}

    def hole(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        return next(iter(self.here[name].holes(offset, SIZE)), None)

    def next(self) -> tuple[int, int, int] | None:
        found = self.order.next(self.hole, PIECE)
        if found is None:
            return None
        name, begin, end = found
        assert 0 < end - begin <= PIECE and self.here[name].holes(begin, end) == [(begin, end)]
        self.here[name].add(begin, end)
        return PACKS.index(name), begin, end


def test_without_readers_everything_comes_in_order_and_once() -> None:
    fill, seen = Fill(), []
    while (found := fill.next()) is not None:
        seen.append(found)
    assert seen == sorted(seen)
    assert all(ranges.covers(0, SIZE) for ranges in fill.here.values())


def test_what_lies_behind_the_last_read_comes_first_then_behind_the_one_before_then_the_beginning() -> None:
    fill = Fill()
    fill.order.touch(PACKS[3], 500)
    fill.order.touch(PACKS[1], 200)
    assert [fill.next() for _ in range(3)] == [(1, 200, 230), (1, 230, 260), (1, 260, 290)]
    assert [fill.next() for _ in range(3)] == [(3, 500, 530), (3, 530, 560), (3, 560, 590)]
    assert fill.next() == (0, 0, 30)


def test_a_reader_that_goes_on_takes_its_place_along_and_over_the_end_of_a_pack() -> None:
    fill = Fill()
    for end in range(900, 1000, 20):
        fill.order.touch(PACKS[1], end)
    assert [fill.next() for _ in range(3)] == [(1, 980, 1000), (2, 0, 30), (2, 30, 60)]


def test_whatever_is_read_meanwhile_everything_comes_once() -> None:
    for seed in range(20):
        chance, fill = random.Random(seed), Fill()
        while True:
            if chance.random() < 0.3:
                fill.order.touch(chance.choice(PACKS), chance.randrange(SIZE + 1))
            if fill.next() is None:
                break
        assert all(ranges.covers(0, SIZE) for ranges in fill.here.values()), seed


def test_what_was_on_its_way_and_did_not_come_is_fetched_after_a_restart() -> None:
    fill = Fill()
    while fill.next() is not None:
        pass
    fill.here[PACKS[0]].remove(100, 120)
    fill.order.restart()
    assert fill.next() == (0, 100, 120)


def test_a_pack_that_is_not_filled_is_not_followed() -> None:
    fill = Fill()
    fill.order.touch(ObjectName(b"x" * 32), 7)
    assert fill.next() == (0, 0, 30)


def line(window: Window, rate: float, round_trip: float, seconds: float) -> list[int]:
    """Ask a line that answers in order for as much as the window allows; return the windows."""
    now, free, asked, sizes = 0.0, 0.0, [], []
    while now < seconds:
        while sum(size for _, _, size in asked) + window.piece_bytes <= window.bytes or not asked:
            size = window.piece_bytes
            free = max(free, now + round_trip / 2) + size / rate
            asked.append((now, free + round_trip / 2, size))
        begun, now, size = asked.pop(0)
        window.note(now - begun, size, now)
        sizes.append(window.bytes)
    return sizes


def test_the_window_keeps_lines_busy_and_queues_short() -> None:
    for rate, round_trip in ((1.25e6, 0.04), (1.25e6, 0.3), (12.5e6, 0.02), (125e3, 0.1), (60e6, 0.13)):
        # An hour's drift would show after ten minutes.
        sizes = line(Window(0.0), rate, round_trip, 610.0)
        settled = sizes[len(sizes) // 2 :]
        enough = min(0.8 * rate * round_trip, WINDOW_BYTES_MAX)
        assert sum(size < enough for size in settled) < 0.05 * len(settled) or enough < WINDOW_BYTES_MIN
        for size in settled:
            piece = max(PIECE_BYTES_MIN, size // 8)
            most = rate * (round_trip + 2 * QUEUE_SECONDS) + 3 * piece
            assert size <= max(WINDOW_BYTES_MIN, most), (rate, round_trip)
