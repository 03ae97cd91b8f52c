"""Golden vaults stay readable for ever, by a bare reader and by the vault, and damaged ones are named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jbackupd.catalog.database import Catalog
from jbackupd.cli.rescue import main as rescue
from jbackupd.codec.hashing import name_of
from jbackupd.codec.shares import Share, combine
from jbackupd.engine.verify import VerifyReport, verify_content, verify_objects
from jbackupd.format.identity import CardKind, decode_card
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef, SiteId, TenantId
from jbackupd.model.records import EntryType
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.store import FOLDERS, ObjectStore
from jbackupd.vault.vault import Vault

GOLDEN = Path(__file__).parent / "golden" / "format1"
EXPECTED: dict[str, dict[str, str]] = json.loads((GOLDEN / "expected.json").read_text())
SHARES = ["--share", str(GOLDEN / "share1.txt"), "--share", str(GOLDEN / "share3.txt")]
TENANT = TenantId("imari")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A copy with the folders that git does not keep."""
    shutil.copytree(GOLDEN, tmp_path / "state")
    for folder in FOLDERS:
        (tmp_path / "state" / "vaults" / "imari" / folder).mkdir(exist_ok=True)
    return tmp_path / "state"


def digests(folder: Path) -> dict[str, str]:
    root = os.fsencode(folder)
    return {
        os.path.relpath(os.path.join(path, name), root).hex(): name_of(
            Path(os.fsdecode(os.path.join(path, name))).read_bytes()
        ).hex()
        for path, _folders, names in os.walk(root) for name in names
    }


@pytest.mark.parametrize("point", EXPECTED)
def test_a_bare_reader_reads_every_point(tmp_path: Path, point: str) -> None:
    vault = str(GOLDEN / "vaults" / "imari")
    code = rescue([vault, point, *SHARES, "--card", str(GOLDEN / "saga.card"), "--to", str(tmp_path / "out")])
    assert code == 0
    assert digests(tmp_path / "out") == EXPECTED[point]


def test_the_bare_reader_needs_no_more_than_codec_format_and_model(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom jbackupd.cli.rescue import main\n"
        f"code = main({[str(GOLDEN / 'vaults' / 'imari'), 'imari/juki', *SHARES, '--to', str(tmp_path / 'out')]!r})\n"
        "ours = {name.split('.')[1] for name in sys.modules if name.startswith('jbackupd.')}\n"
        "foreign = {'click', 'pydantic', 'sqlite3', 'asyncssh', 'asyncio', 'rich', 'tomli'} & set(sys.modules)\n"
        "print(sorted(ours), sorted(foreign), code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['cli', 'codec', 'format', 'model'] [] 0"


def open_vault(state: Path) -> Vault:
    store = ObjectStore(PosixFiles(str(state)), "vaults/imari")
    shares = [Share.from_text((state / f"share{i}.txt").read_text(), source=f"share{i}") for i in (2, 3)]
    objects = [store.read(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)]
    keys = RecoveredKeys.from_seed(combine(shares), TENANT, objects)
    catalog = Catalog(":memory:")
    reconcile(store, catalog, keys, tenant=TENANT)
    card = decode_card((state / "saga.card").read_bytes(), CardKind.SITE)
    return Vault(store, catalog, keys, tenant=TENANT, verifiers={SiteId("saga"): card.verifier})


def test_the_vault_reads_and_verifies_every_point(state: Path) -> None:
    vault = open_vault(state)
    chain = vault.points.chain(DatasetId(TENANT, "juki"))
    for stored in chain:
        point = vault.open_point(stored)
        found = {
            entry.path.hex(): name_of(b"".join(point.read(entry.extents))).hex()
            for entry in point.entries() if entry.type is EntryType.FILE
        }
        assert found == EXPECTED[stored.label]
    report = verify_objects(vault.store, vault.points)
    verify_content(vault, chain, report)
    assert (report.findings, report.points, report.closed_points) == ([], 3, [])


def test_a_later_point_is_stored_as_a_delta(state: Path) -> None:
    vault = open_vault(state)
    sizes = [
        sum(vault.store.size(ref) for ref in stored.header.added if ref.kind is ObjectKind.PACK)
        for stored in vault.points.chain(DatasetId(TENANT, "juki"))
    ]
    assert sizes[1] < sizes[0] / 10


def test_a_damaged_object_is_named_and_nothing_wrong_is_rescued(state: Path, tmp_path: Path) -> None:
    packs = sorted((state / "vaults" / "imari" / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(packs[-1].read_bytes())
    data[5000] ^= 1
    packs[-1].write_bytes(data)
    code = rescue([str(state / "vaults" / "imari"), "imari/juki@1", *SHARES, "--to", str(tmp_path / "out")])
    assert code == 4
    assert digests(tmp_path / "out").items() <= EXPECTED["imari/juki@1"].items()
    report = VerifyReport()
    vault = open_vault(state)
    verify_content(vault, vault.points.chain(DatasetId(TENANT, "juki")), report)
    assert {finding.error.exit_code for finding in report.findings} == {4}
    objects = verify_objects(vault.store, vault.points)
    assert [finding.ref.name.hex() for finding in objects.findings if finding.ref] == [packs[-1].name]


def test_wrong_and_too_few_shares_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vault = str(GOLDEN / "vaults" / "imari")
    assert rescue([vault, "imari/juki", *SHARES[:2], "--to", str(tmp_path / "out")]) == 6
    bad = tmp_path / "share3.txt"
    bad.write_text((GOLDEN / "share3.txt").read_text().replace("02 ", "02 Z", 1))
    assert rescue([vault, "imari/juki", *SHARES[:2], "--share", str(bad), "--to", str(tmp_path / "out")]) == 6
    assert "line 2 of share3.txt is mistyped" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_points_are_listed_and_chosen_paths_rescued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vault = str(GOLDEN / "vaults" / "imari")
    assert rescue([vault, *SHARES]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == list(EXPECTED)
    assert rescue([vault, "imari/juki@2", "noise", *SHARES, "--to", str(tmp_path / "out")]) == 0
    assert list(digests(tmp_path / "out")) == [b"noise".hex()]
