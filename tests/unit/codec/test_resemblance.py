"""Anchors find the stretches of an earlier version that a frame came from."""

import random

import numpy as np
import pytest

from jbackupd.codec import resemblance
from jbackupd.codec.cutting import (
    ANCHOR,
    HOOK_RATE,
    AnchorCutter,
    Anchors,
    Cutter,
    anchor_table,
    joined,
    sampled,
    smallest,
)
from jbackupd.codec.resemblance import STRETCH_BYTES_MAX, AnchorCollector, Stretches, find_stretches


def text(seed: int, lines: int) -> bytes:
    source = random.Random(seed)
    return b"".join(b"%d\t%016x\t%016x\n" % (i, source.getrandbits(64), source.getrandbits(64)) for i in range(lines))


def pieces(data: bytes) -> list[Anchors]:
    cutter, anchor_cutter = Cutter(5), AnchorCutter(7)
    found, position = [], 0
    for length in cutter.cut(data, last=True):
        found.append(anchor_cutter.anchors(data[position : position + length], position))
        position += length
    return found


def anchors(data: bytes) -> Anchors:
    return joined(pieces(data))


def table(data: bytes) -> Anchors:
    return anchor_table(pieces(data))


def test_a_frame_finds_the_place_it_had() -> None:
    earlier = text(1, 100_000)
    frame = earlier[1_500_000:2_500_000]
    stretches = find_stretches(anchors(frame), table(earlier), len(earlier))
    ((begin, end),) = stretches.spans
    assert stretches.hits > len(anchors(frame)) * 0.9
    assert 1_400_000 < begin <= 1_520_000
    assert 2_480_000 <= end < 2_600_000


def test_a_frame_of_two_places_finds_both_in_order() -> None:
    earlier = text(1, 100_000)
    frame = earlier[3_000_000:3_400_000] + earlier[500_000:900_000]
    stretches = find_stretches(anchors(frame), table(earlier), len(earlier))
    (one, other) = stretches.spans
    assert one[1] < other[0]


def test_foreign_content_resembles_nothing() -> None:
    earlier, foreign = text(1, 20_000), text(2, 20_000)
    assert find_stretches(anchors(foreign), table(earlier), len(earlier)) == Stretches()


def test_repetitions_are_no_anchors() -> None:
    assert len(table(bytes(3_000_000))) <= 1


def test_stretches_are_bounded_and_inside() -> None:
    earlier = text(3, 400_000)
    stretches = find_stretches(anchors(earlier), table(earlier), len(earlier))
    assert sum(end - begin for begin, end in stretches.spans) <= STRETCH_BYTES_MAX
    assert all(0 <= begin < end <= len(earlier) for begin, end in stretches.spans)


def test_no_anchors_no_stretches() -> None:
    empty = anchor_table([])
    assert empty.dtype == ANCHOR
    assert find_stretches(empty, empty, 0) == Stretches()
    assert find_stretches(np.array([(1, 2)], dtype=ANCHOR), empty, 0) == Stretches()


def test_a_collector_thins_what_is_too_long_and_the_place_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resemblance, "ANCHORS_MAX", 300)
    earlier = text(1, 100_000)
    collector = AnchorCollector()
    for piece in pieces(earlier):
        collector.add(piece)
    thin = collector.table()
    assert 100 < len(thin) <= 300 < len(table(earlier))
    stretches = find_stretches(anchors(earlier[1_500_000:2_500_000]), thin, len(earlier))
    assert stretches.spans[0][0] < 1_600_000
    assert stretches.spans[-1][1] > 2_400_000


def test_samples_and_sketches_of_like_contents_are_alike() -> None:
    one = text(1, 50_000)
    other = one[:1_000_000] + b"moved" + one[1_000_000:]
    hooks, others = set(sampled(table(one)["hash"])), set(sampled(table(other)["hash"]))
    assert len(hooks & others) > 0.9 * len(hooks)
    assert 0.3 < len(hooks) / (len(table(one)) / HOOK_RATE) < 3
    assert set(smallest(table(one)["hash"], 2)) & set(smallest(table(other)["hash"], 2))
