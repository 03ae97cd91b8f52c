"""Whenever the power goes while keys change: nothing retained is lost, and what was acknowledged as erased is."""

import errno

import pytest

from tests.crash.keys import ChangeRecovery, Erase
from tests.crash.rig import Scenario, cut_everywhere, fail_everywhere, kill_everywhere, kill_then_cut

SCENARIOS = [ChangeRecovery(), Erase()]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_power_cut_leaves_the_old_keys_or_the_new_ones(scenario: Scenario) -> None:
    score = cut_everywhere(scenario, subsets_max=2)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_killed_command_is_finished_or_taken_back_by_the_next_start(scenario: Scenario) -> None:
    score = kill_everywhere(scenario, every=7)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.soak
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_every_call_is_a_good_moment_to_die(scenario: Scenario) -> None:
    for score in (cut_everywhere(scenario), kill_everywhere(scenario), kill_then_cut(scenario, subsets_max=8)):
        assert (score.violations, score.first) == (0, "")


@pytest.mark.soak
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_call_that_fails_costs_nothing(scenario: Scenario, error: int) -> None:
    score = fail_everywhere(scenario, error, same_process=False, cut=False)
    assert (score.violations, score.first) == (0, "")
