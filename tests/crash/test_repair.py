"""Whenever the power goes while a vault is healed: nothing else is touched, and the next repair goes on."""

import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.model.ids import ObjectRef
from jbackupd.storage.files import Files
from jbackupd.vault.store import ObjectStore
from tests.crash.repair import Repairing
from tests.crash.rig import cut_everywhere, kill_everywhere, kill_then_cut


def test_a_power_cut_leaves_nothing_worse() -> None:
    score = cut_everywhere(Repairing())
    assert (score.violations, score.first) == (0, "")
    assert score.states > 20


def test_a_kill_leaves_nothing_worse() -> None:
    for score in (kill_everywhere(Repairing()), kill_then_cut(Repairing(), subsets_max=16)):
        assert (score.violations, score.first) == (0, "")


def test_a_repair_that_is_told_before_it_is_durable_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(self: ObjectStore, ref: ObjectRef, data: bytes) -> None:
        assert name_of(data) == ref.name
        if self.has(ref):
            self.files.remove(self.path(ref))
        handle = self.files.create(self.path(ref))
        handle.write(data)
        handle.close()

    monkeypatch.setattr(ObjectStore, "replace", replace)
    assert cut_everywhere(Repairing(), enough=1).violations > 0


def test_a_repair_whose_names_are_not_durable_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(files: Files, source: str, target: str) -> None:
        files.rename(source, target)

    monkeypatch.setattr("jbackupd.storage.durable.rename_durably", rename)
    assert cut_everywhere(Repairing(), enough=1).violations > 0
