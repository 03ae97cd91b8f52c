"""Stretches of a frame, against a plain set of bytes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.engine.erase import _left_of
from jbackupd.engine.spans import Spans, merged
from jbackupd.model.ids import FrameId
from jbackupd.model.records import Extent

SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)).map(lambda s: (s[0], s[0] + s[1])), max_size=150)


@given(SPANS, st.integers(0, 240), st.integers(1, 30))
def test_what_was_added_is_touched(spans, begin, length):
    known = Spans()
    for span in spans:
        known.add(*span)
    covered = {byte for first, last in spans for byte in range(first, last)}
    assert known.touches(begin, begin + length) == bool(covered & set(range(begin, begin + length)))


@given(SPANS)
def test_merged_stretches_are_apart_and_hold_the_same(spans):
    found = merged(spans)
    assert {b for first, last in found for b in range(first, last)} == {b for f, last in spans for b in range(f, last)}
    assert all(one[1] < two[0] for one, two in pairwise(found))


@given(SPANS, st.integers(0, 200), st.integers(1, 60))
def test_what_is_left_of_a_base_lies_in_no_gap(spans, offset, length):
    gaps = tuple(merged(spans))
    left = list(_left_of(Extent(FrameId(b"f" * 16), offset, length), gaps))
    lost = {byte for first, last in gaps for byte in range(first, last)}
    kept = [byte for extent in left for byte in range(extent.offset, extent.offset + extent.length)]
    assert kept == sorted(set(range(offset, offset + length)) - lost)
