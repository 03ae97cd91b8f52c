"""Skip-deltas: shallow, and every reference is still remembered when it is wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.policy.skip import DEPTH_MAX, reference_of, references_to_keep


def depth(sequence: int) -> int:
    steps = 0
    while (reference := reference_of(sequence)) is not None:
        sequence, steps = reference, steps + 1
    return steps


def test_the_first_point_has_no_reference() -> None:
    assert reference_of(1) is None


def test_no_point_needs_more_than_eight_others() -> None:
    assert max(depth(sequence) for sequence in range(1, 2000)) == DEPTH_MAX == 8


def test_the_first_week_is_a_plain_chain() -> None:
    assert [reference_of(sequence) for sequence in range(2, 12)] == [1, 2, 3, 4, 5, 6, 7, 8, 1, 10]


@pytest.mark.parametrize(("points", "days"), [(7, 1.0), (30, 1.9), (120, 2.7), (365, 3.5)])
def test_what_a_point_spans_on_average(points: int, days: float) -> None:
    spans = [sequence - (reference_of(sequence) or 0) for sequence in range(2, points + 2)]
    assert sum(spans) / points <= days


@given(st.integers(2, 10**9))
def test_a_reference_is_earlier_and_no_chain_is_long(sequence: int) -> None:
    reference = reference_of(sequence)
    assert reference is not None
    assert 1 <= reference < sequence
    assert depth(sequence) <= DEPTH_MAX


@given(st.integers(1, 5000), st.integers(1, 300))
def test_what_a_later_point_refers_to_was_kept_all_along(sequence: int, later: int) -> None:
    wanted = reference_of(sequence + later)
    if wanted is not None and wanted <= sequence:
        assert wanted in references_to_keep(sequence)


@given(st.integers(1, 10**9))
def test_few_versions_are_kept(sequence: int) -> None:
    assert len(references_to_keep(sequence)) <= 40
