"""A backup into the own vault survives a power cut, a kill, and a kill followed by a power cut, at every step."""

import pytest

from tests.crash.local_backup import LocalBackup
from tests.crash.mutants import repeated_nonces
from tests.crash.rig import cut_everywhere, kill_everywhere, kill_then_cut


@pytest.mark.parametrize("earlier", [0, 1])
def test_every_power_cut_leaves_all_acknowledged_points_and_nothing_broken(earlier: int) -> None:
    score = cut_everywhere(LocalBackup(earlier))
    assert (score.violations, score.first) == (0, "")
    assert score.states > 300


def test_every_kill_leaves_all_acknowledged_points_and_nothing_broken() -> None:
    score = kill_everywhere(LocalBackup(0), every=3)
    assert (score.violations, score.first) == (0, "")
    assert score.states > 30


@pytest.mark.parametrize("earlier", [0, 1])
def test_what_a_killed_run_left_in_the_page_cache_is_not_built_upon(earlier: int) -> None:
    score = kill_then_cut(LocalBackup(earlier), every=7)
    assert (score.violations, score.first) == (0, "")
    assert score.states > 300


def test_no_key_seals_twice_under_one_nonce_however_often_a_run_is_killed() -> None:
    score = repeated_nonces(LocalBackup(0))
    assert (score.violations, score.first) == (0, "")
    assert score.states > 100


@pytest.mark.soak
def test_every_single_kill_followed_by_a_power_cut() -> None:
    for seed in range(3):
        score = kill_then_cut(LocalBackup(seed % 2), seed=seed, subsets_max=512)
        assert (score.violations, score.first) == (0, "")
