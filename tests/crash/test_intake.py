"""A number that a clerk was shown is never lost and never another's, whatever fails."""

from tests.crash.intake import TakeIn
from tests.crash.rig import cut_everywhere, kill_everywhere, kill_then_cut


def test_a_number_that_was_shown_survives_a_power_cut() -> None:
    score = cut_everywhere(TakeIn())
    assert (score.violations, score.first) == (0, "")


def test_a_killed_desk_goes_on_with_the_same_numbers() -> None:
    score = kill_everywhere(TakeIn())
    assert (score.violations, score.first) == (0, "")


def test_what_a_killed_desk_left_in_the_page_cache_is_not_shown_as_received() -> None:
    score = kill_then_cut(TakeIn())
    assert (score.violations, score.first) == (0, "")
