"""A golden vault whose keys have changed: two epochs, another recovery key, one point left of the first epoch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jbackupd.cli.rescue import main as rescue
from jbackupd.codec.shares import Share, combine
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.identity import CardKind, decode_card
from jbackupd.model.errors import KeyMissingError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.erased import erased_points
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import FOLDERS, ObjectStore
from jbackupd.vault.vault import Vault
from tests.compat.test_golden import digests
from tests.crash.rig import catalog_of

GOLDEN = Path(__file__).parent / "golden" / "format1-keys"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
NEW = ["--share", str(GOLDEN / "new-share1.txt"), "--share", str(GOLDEN / "new-share3.txt")]
OLD = ["--share", str(GOLDEN / "old-share1.txt"), "--share", str(GOLDEN / "old-share3.txt")]
TENANT = TenantId("imari")
VAULT = str(GOLDEN / "vaults" / "imari")


@pytest.mark.parametrize("point", EXPECTED["points"])
def test_a_bare_reader_reads_every_point_that_was_not_erased(tmp_path: Path, point: str) -> None:
    assert rescue([VAULT, point, *NEW, "--card", str(GOLDEN / "saga.card"), "--to", str(tmp_path / "out")]) == 0
    assert digests(tmp_path / "out") == EXPECTED["points"][point]


@pytest.mark.parametrize("point", EXPECTED["lost"])
def test_erased_points_open_for_no_shares(tmp_path: Path, point: str) -> None:
    for shares in (NEW, OLD):
        assert rescue([VAULT, point, *shares, "--to", str(tmp_path / "out")]) == 6


def test_old_shares_open_nothing_that_came_after_them(tmp_path: Path) -> None:
    assert rescue([VAULT, "imari/juki@6", *OLD, "--to", str(tmp_path / "out")]) == 6


def test_the_vault_reads_verifies_and_explains(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "state")
    for folder in FOLDERS:
        (tmp_path / "state" / "vaults" / "imari" / folder).mkdir(exist_ok=True)
    store = ObjectStore(PosixFiles(str(tmp_path / "state")), "vaults/imari")
    verifiers = {SiteId("saga"): decode_card((GOLDEN / "saga.card").read_bytes(), CardKind.SITE).verifier}

    def keys(word: str) -> RecoveredKeys:
        texts = [(GOLDEN / f"{word}-share{i}.txt").read_bytes() for i in (1, 2)]
        return RecoveredKeys.from_store(
            combine([Share.from_file(text, source="share") for text in texts]), TENANT, store, verifiers
        )

    catalog = catalog_of(None)
    reconcile(store, catalog, keys("new"), tenant=TENANT)
    vault = Vault(store, catalog, keys("new"), tenant=TENANT, verifiers=verifiers)
    chain = vault.points.chain(DatasetId(TENANT, "juki"))
    report = verify_objects(store, vault.points)
    verify_content(vault, chain, report)
    assert (report.findings, report.closed_points, report.erased_points) == ([], [], EXPECTED["lost"])
    assert {point.label for point in chain if point.name in erased_points(store, verifiers)} == set(EXPECTED["lost"])
    with pytest.raises(KeyMissingError, match="earlier recovery key"):
        keys("old").require_in_force()
