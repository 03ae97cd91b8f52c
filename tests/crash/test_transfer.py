"""A transfer survives every power cut and kill at the holder: what was receipted restores from the holder alone."""

import pytest

from tests.crash.rig import cut_everywhere, kill_everywhere, kill_then_cut
from tests.crash.transfer import Transfer


@pytest.mark.parametrize("held", [0, 1])
def test_every_power_cut_leaves_all_receipted_points_and_every_byte_that_was_called_durable(held: int) -> None:
    score = cut_everywhere(Transfer(held))
    assert (score.violations, score.first) == (0, "")
    assert score.states > 50


def test_every_kill_leaves_all_receipted_points_and_the_next_run_finishes() -> None:
    score = kill_everywhere(Transfer(0), every=3)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.parametrize("held", [0, 1])
def test_no_receipt_is_given_for_what_a_killed_holder_left_in_the_page_cache(held: int) -> None:
    score = kill_then_cut(Transfer(held), every=7 - 4 * held)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.soak
def test_every_single_kill_of_a_holder_followed_by_a_power_cut() -> None:
    for seed in range(3):
        score = kill_then_cut(Transfer(seed % 2), seed=seed, subsets_max=512)
        assert (score.violations, score.first) == (0, "")
