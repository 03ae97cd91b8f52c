"""Whenever the power goes while keys change: nothing retained is lost, and what was acknowledged as erased is."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import pytest

from jbackupd.storage.durable import destroy_durably
from jbackupd.vault.keyring import Keyring
from tests.crash.keys import ChangeRecovery, Erase
from tests.crash.local_backup import FOLDER
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


@contextlib.contextmanager
def destroyed_before_the_record(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Destroy, then record: the first of the patterns that recur in how backups were lost."""
    first = Keyring.erase

    def erase(self: Keyring, sessions: Any, *, doomed: Any, **options: Any) -> None:
        for name in doomed:
            destroy_durably(self._files, f"{FOLDER}/keys/{name.hex()}")
        first(self, sessions, doomed=doomed, **options)

    patch.setattr(Keyring, "erase", erase)
    yield


@contextlib.contextmanager
def the_old_epoch_goes_on(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another recovery key without another epoch: the old shares open what is new."""
    patch.setattr("jbackupd.vault.keyringchanges.with_new_epoch", lambda saved, name: saved)
    yield


@pytest.mark.parametrize(("scenario", "mutant"), [
    (Erase, destroyed_before_the_record), (ChangeRecovery, the_old_epoch_goes_on),
], ids=lambda item: item.__name__)
def test_a_way_to_lose_data_is_seen(scenario: Any, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = scenario()
    prepared.prepare()
    with mutant(monkeypatch):
        score = cut_everywhere(prepared, subsets_max=1, enough=1)
    assert score.violations
