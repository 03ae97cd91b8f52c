"""A golden vault that was reclaimed: what is left reads, what has gone is told, nothing is called damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jbackupd.cli.rescue import main as rescue
from jbackupd.codec.shares import Share, combine
from jbackupd.engine.reclaimplan import find_garbage
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.identity import CardKind, decode_card
from jbackupd.model.errors import RemovedError
from jbackupd.model.ids import DatasetId, PointSelector, SiteId, TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import FOLDERS, ObjectStore
from jbackupd.vault.vault import Vault
from tests.compat.test_golden import digests
from tests.crash.rig import catalog_of

GOLDEN = Path(__file__).parent / "golden" / "format1-reclaimed"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
SHARES = ["--share", str(GOLDEN / "share1.txt"), "--share", str(GOLDEN / "share3.txt")]
TENANT = TenantId("imari")
VAULT = str(GOLDEN / "vaults" / "imari")


@pytest.mark.parametrize("point", EXPECTED["points"])
def test_a_bare_reader_reads_every_point_that_was_kept(tmp_path: Path, point: str) -> None:
    assert rescue([VAULT, point, *SHARES, "--card", str(GOLDEN / "saga.card"), "--to", str(tmp_path / "out")]) == 0
    assert digests(tmp_path / "out") == EXPECTED["points"][point]


@pytest.mark.parametrize("point", EXPECTED["removed"])
def test_a_bare_reader_says_of_the_others_that_they_were_removed(
    tmp_path: Path, point: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rescue([VAULT, point, *SHARES, "--to", str(tmp_path / "out")]) == 4
    assert "has given its content up" in capsys.readouterr().err


def test_the_vault_reads_verifies_and_explains(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "state")
    for folder in FOLDERS:
        (tmp_path / "state" / "vaults" / "imari" / folder).mkdir(exist_ok=True)
    store = ObjectStore(PosixFiles(str(tmp_path / "state")), "vaults/imari")
    verifiers = {SiteId("saga"): decode_card((GOLDEN / "saga.card").read_bytes(), CardKind.SITE).verifier}
    texts = [(GOLDEN / f"share{i}.txt").read_bytes() for i in (1, 2)]
    seed = combine([Share.from_file(text, source="share") for text in texts])
    keys = RecoveredKeys.from_store(seed, TENANT, store, verifiers)
    catalog = catalog_of(None)
    reconcile(store, catalog, keys, tenant=TENANT)
    vault = Vault(store, catalog, keys, tenant=TENANT, verifiers=verifiers)
    dataset = DatasetId(TENANT, "juki")
    report = verify_objects(store, vault.points)
    verify_content(vault, vault.points.chain(dataset), report)
    assert report.findings == [] and report.points == len(EXPECTED["points"])
    assert not find_garbage(store, vault.points, verifiers).objects
    assert len(removed_points(store, verifiers)) == len(EXPECTED["removed"])
    # A statement of a pack that never came says nothing.
    assert len(moved_packs(store, verifiers)) == 3
    with pytest.raises(RemovedError):
        vault.points.find(PointSelector(dataset, 1))
