"""What a journal, the epochs, the audit log, a recovery run and the keyring have said stays said, whatever fails."""

import pytest

from tests.crash.journals import Append, Audit, OpenSessions, RaiseEpochs
from tests.crash.recovery import Recovery
from tests.crash.rig import Scenario, cut_everywhere, kill_everywhere, kill_then_cut

SCENARIOS = [Append(), RaiseEpochs(), Audit(), OpenSessions(), Recovery()]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_nothing_that_was_acknowledged_is_taken_back_by_a_power_cut(scenario: Scenario) -> None:
    score = cut_everywhere(scenario)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_killed_process_is_continued_to_the_same_end(scenario: Scenario) -> None:
    score = kill_everywhere(scenario)
    assert (score.violations, score.first) == (0, "")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_what_a_killed_process_left_in_the_page_cache_is_not_acted_upon(scenario: Scenario) -> None:
    score = kill_then_cut(scenario)
    assert (score.violations, score.first) == (0, "")
