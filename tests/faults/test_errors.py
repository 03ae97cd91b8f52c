"""A full disk and input/output errors at every call: typed errors, whole vaults, and the next run succeeds."""

import errno

import pytest

from jbackupd.model.errors import NoSpaceError
from tests.crash.journals import Append, Audit, OpenSessions, RaiseEpochs
from tests.crash.local_backup import LocalBackup
from tests.crash.memory import FULL, READING
from tests.crash.recovery import Recovery
from tests.crash.rig import Scenario, Score, fail_everywhere
from tests.crash.transfer import Transfer

SMALL: list[Scenario] = [Append(), RaiseEpochs(), Audit(), OpenSessions(), Recovery()]
FIRST: list[Scenario] = [LocalBackup(0), Transfer(1)]
ALL: list[Scenario] = [*SMALL, LocalBackup(0), LocalBackup(1), Transfer(0), Transfer(1)]


def name(scenario: Scenario) -> str:
    return scenario.name


def clean(score: Score, *errors: str) -> None:
    assert (score.violations, score.first) == (0, "")
    assert set(score.errors) == set(errors)
    assert score.states > 0


def test_a_full_disk_ends_a_command_with_exit_code_9() -> None:
    assert NoSpaceError.exit_code == 9


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
def test_a_full_disk_at_any_call_is_said_and_the_next_run_succeeds(scenario: Scenario) -> None:
    clean(fail_everywhere(scenario, errno.ENOSPC, cut=False), "NoSpaceError")


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
def test_a_disk_that_stays_full_leaves_everything_whole(scenario: Scenario) -> None:
    clean(fail_everywhere(scenario, errno.ENOSPC, verbs=FULL, lasting=True, cut=False, every=5), "NoSpaceError")


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
def test_a_quota_is_a_full_disk(scenario: Scenario) -> None:
    clean(fail_everywhere(scenario, errno.EDQUOT, cut=False, every=7), "NoSpaceError")


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
@pytest.mark.parametrize("same_process", [True, False])
def test_a_failed_sync_is_never_acknowledged_even_if_the_next_one_succeeds(
    scenario: Scenario, same_process: bool
) -> None:
    score = fail_everywhere(
        scenario, errno.EIO, verbs=frozenset({"sync", "sync folder"}), same_process=same_process, every=4
    )
    clean(score, "StorageError")


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
def test_an_error_at_any_writing_call_is_typed(scenario: Scenario) -> None:
    clean(fail_everywhere(scenario, errno.EIO, cut=False, every=5), "StorageError")


@pytest.mark.parametrize("scenario", SMALL + FIRST, ids=name)
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_an_error_at_any_reading_call_is_typed(scenario: Scenario, error: int) -> None:
    clean(fail_everywhere(scenario, error, verbs=READING, cut=False, every=5), "StorageError")


@pytest.mark.soak
@pytest.mark.parametrize("scenario", ALL, ids=name)
@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_every_error_at_every_call_and_then_a_power_cut(scenario: Scenario, error: int, same_process: bool) -> None:
    for verbs, lasting in ((FULL, True), (FULL | {"truncate", "remove"}, False), (READING, False)):
        score = fail_everywhere(scenario, error, verbs=verbs, lasting=lasting, same_process=same_process)
        assert (score.violations, score.first) == (0, "")
