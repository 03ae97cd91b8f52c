"""Ranges are a set of bytes, whatever is added and taken out; maps of parts say what they were told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.errors import FormatError
from jbackupd.vault.parts import decode_map, encode_map
from jbackupd.vault.ranges import Ranges

SIZE = 60
SPAN = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair)))


@given(deeds=st.lists(st.tuples(st.booleans(), SPAN), max_size=30), asked=SPAN)
def test_ranges_are_a_set_of_bytes(deeds: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]) -> None:
    ranges, expected = Ranges(), set[int]()
    for adds, (begin, end) in deeds:
        if adds:
            ranges.add(begin, end)
            expected |= set(range(begin, end))
        else:
            ranges.remove(begin, end)
            expected -= set(range(begin, end))
    found = list(ranges)
    assert {at for begin, end in found for at in range(begin, end)} == expected
    assert all(one[1] < other[0] for one, other in pairwise(found)), "those that touch are one"
    assert ranges.total == len(expected)
    wanted = set(range(*asked))
    assert ranges.covers(*asked) is (wanted <= expected)
    assert [at for begin, end in ranges.holes(*asked) for at in range(begin, end)] == sorted(wanted - expected)
    assert list(decode_map(encode_map(SIZE, ranges), SIZE)) == found


@pytest.mark.parametrize("at", [0, 3, 10, -1])
def test_a_damaged_map_is_refused(at: int) -> None:
    data = bytearray(encode_map(SIZE, Ranges([(3, 5), (9, 20)])))
    data[at] ^= 1
    with pytest.raises(FormatError):
        decode_map(bytes(data), SIZE)


def test_a_map_of_another_pack_is_refused() -> None:
    with pytest.raises(FormatError, match="another pack"):
        decode_map(encode_map(SIZE, Ranges()), SIZE + 1)
    with pytest.raises(FormatError, match="out of range"):
        decode_map(encode_map(SIZE, Ranges([(0, SIZE)])), SIZE - 1)
