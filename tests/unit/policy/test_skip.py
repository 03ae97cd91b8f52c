"""Skip-deltas: shallow, and every reference is still remembered when it is wanted."""

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.policy.skip import reference_of, references_to_keep


def depth(sequence: int) -> int:
    steps = 0
    while (reference := reference_of(sequence)) is not None:
        sequence, steps = reference, steps + 1
    return steps


def test_the_first_point_has_no_reference() -> None:
    assert reference_of(1) is None


def test_sixty_four_points_are_at_most_nine_deep() -> None:
    assert max(depth(sequence) for sequence in range(1, 65)) == 9


@given(st.integers(2, 10**9))
def test_a_reference_is_earlier_and_depth_stays_logarithmic(sequence: int) -> None:
    reference = reference_of(sequence)
    assert reference is not None
    assert 1 <= reference < sequence
    assert depth(sequence) <= 3 * (sequence.bit_length() + 1) // 2 + 3


@given(st.integers(1, 5000), st.integers(1, 300))
def test_what_a_later_point_refers_to_was_kept_all_along(sequence: int, later: int) -> None:
    wanted = reference_of(sequence + later)
    if wanted is not None and wanted <= sequence:
        assert wanted in references_to_keep(sequence)


@given(st.integers(1, 10**9))
def test_few_versions_are_kept(sequence: int) -> None:
    assert len(references_to_keep(sequence)) <= sequence.bit_length() // 2 + 3
