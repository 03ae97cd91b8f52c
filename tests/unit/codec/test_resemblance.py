"""Anchors find the stretches of an earlier version that a frame came from."""

import random

from jbackupd.codec.cutting import ANCHOR, AnchorCutter, Cutter, anchor_table
from jbackupd.codec.resemblance import STRETCH_BYTES_MAX, find_stretches


def text(seed: int, lines: int) -> bytes:
    source = random.Random(seed)
    return b"".join(b"%d\t%016x\t%016x\n" % (i, source.getrandbits(64), source.getrandbits(64)) for i in range(lines))


def anchors(data: bytes) -> list[tuple[int, int]]:
    cutter, anchor_cutter = Cutter(5), AnchorCutter(7)
    found, position = [], 0
    for length in cutter.cut(data, last=True):
        found += anchor_cutter.anchors(data[position : position + length], position)
        position += length
    return found


def test_a_frame_finds_the_place_it_had() -> None:
    earlier = text(1, 100_000)
    frame = earlier[1_500_000:2_500_000]
    stretches = find_stretches(anchors(frame), anchor_table(anchors(earlier)), len(earlier))
    assert len(stretches) == 1
    begin, end = stretches[0]
    assert 1_400_000 < begin <= 1_520_000
    assert 2_480_000 <= end < 2_600_000


def test_a_frame_of_two_places_finds_both_in_order() -> None:
    earlier = text(1, 100_000)
    frame = earlier[3_000_000:3_400_000] + earlier[500_000:900_000]
    stretches = find_stretches(anchors(frame), anchor_table(anchors(earlier)), len(earlier))
    assert len(stretches) == 2
    assert stretches[0][1] < stretches[1][0]


def test_foreign_content_resembles_nothing() -> None:
    earlier, foreign = text(1, 20_000), text(2, 20_000)
    assert find_stretches(anchors(foreign), anchor_table(anchors(earlier)), len(earlier)) == []


def test_repetitions_are_no_anchors() -> None:
    table = anchor_table(anchors(bytes(3_000_000)))
    assert len(table) <= 1


def test_stretches_are_bounded_and_inside() -> None:
    earlier = text(3, 400_000)
    table = anchor_table(anchors(earlier))
    stretches = find_stretches(anchors(earlier), table, len(earlier))
    assert sum(end - begin for begin, end in stretches) <= STRETCH_BYTES_MAX
    assert all(0 <= begin < end <= len(earlier) for begin, end in stretches)


def test_no_anchors_no_stretches() -> None:
    empty = anchor_table([])
    assert empty.dtype == ANCHOR
    assert find_stretches([], empty, 0) == []
    assert find_stretches([(1, 2)], empty, 0) == []
