"""Making a vault survives every crash: what is sealed in it opens with the shares that were handed out."""

from tests.crash.founding import Founding
from tests.crash.rig import Score, cut_everywhere, kill_everywhere, kill_then_cut


def clean(score: Score) -> None:
    assert (score.violations, score.first) == (0, "")
    assert score.states > 20


def test_a_vault_that_a_power_cut_interrupts_is_made_again_or_is_whole() -> None:
    clean(cut_everywhere(Founding()))


def test_a_vault_that_a_kill_interrupts_is_made_again_or_is_whole() -> None:
    clean(kill_everywhere(Founding(), every=3))


def test_a_vault_that_a_killed_process_made_is_made_durable_by_the_first_point() -> None:
    clean(kill_then_cut(Founding(), every=11, subsets_max=16))
