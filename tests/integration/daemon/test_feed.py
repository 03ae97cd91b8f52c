"""A resident file for another system: made by itself, whole or not at all, never more than may be told."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from daemons import SiteProcess

from jbackupd.demo.town import COLUMNS, EXTRACT, IGNORE, make_town
from jbackupd.desk.audit import CHAIN_NAME, audit_folder
from jbackupd.model.ids import TenantId
from jbackupd.storage.chain import read_chain
from jbackupd.storage.files import PosixFiles


@pytest.fixture
def saga(town, tmp_path: Path) -> SiteProcess:
    """A site with 200 residents in a point, and a feed."""
    made = make_town(str(tmp_path / "town"), residents=200)
    shutil.rmtree(town.data)
    shutil.copytree(Path(made.extract).parent, town.data)
    extract = town.data / Path(EXTRACT).name
    head, first, *rest = extract.read_text(encoding="cp932").splitlines()
    cells = next(csv.reader([first]))
    cells[next(csv.reader([head])).index("支援措置")] = "1"
    extract.write_text("\r\n".join([head, ",".join(cells), *rest, ""]), encoding="cp932", newline="")
    lines = "".join(f"{json.dumps(header, ensure_ascii=False)} = {json.dumps(name, ensure_ascii=False)}\n"
                    for header, name in COLUMNS.items())
    (tmp_path / "map.toml").write_text(
        f'encoding = "cp932"\nignore = {json.dumps(IGNORE, ensure_ascii=False)}\n[columns]\n{lines}'
    )
    site = town.alone(more=(
        f'[[feed]]\nid = "shien"\ndataset = "imari/juki"\nfile = "{Path(EXTRACT).name}"\n'
        f'map = "{tmp_path}/map.toml"\nto = "{tmp_path}/out"\nkeep = 2\n'
        'columns = { "ATENA_NO" = "宛名番号", "SHIMEI" = "氏名", "JUSHO" = "町字", "SHIEN" = "支援措置" }\n'
    ))
    return site


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "shien.csv").read_text(encoding="cp932"), newline="")))


def test_it_is_made_of_the_newest_point_by_itself_and_is_whole_or_not_there(saga, town, tmp_path: Path) -> None:
    assert saga.command("feed", "write", "shien", "--local", expect=10)["error"]["code"] == "not-found"
    assert saga.command("feed", "check", "shien")["never_filled"] == []
    assert not (tmp_path / "out").exists()
    saga.start()
    page = saga.until(lambda page: page["feeds"] and page["feeds"][0]["state"] in ("fresh", "failed"))
    if page["feeds"][0]["state"] == "failed":  # it looked before the first point was taken
        saga.command("backup", "imari/juki")
        saga.command("feed", "write", "shien", "--by", "久保")
        page = saga.status()
    assert page["feeds"][0]["error"] is None and page["feeds"][0]["rows"] == len(rows(tmp_path / "out")) > 100
    note = json.loads((tmp_path / "out" / "shien.json").read_text())
    assert note["columns"] == ["ATENA_NO", "SHIMEI", "JUSHO", "SHIEN"] and note["point"].startswith("imari/juki@")
    assert saga.metrics()['jbackupd_feed_late{feed="shien"}'] == 0
    for _again in range(3):
        saga.command("feed", "write", "shien", "--by", "久保")
    assert len(list((tmp_path / "out").glob("shien-*.json"))) <= 2
    assert not list((saga.state / "feeds" / "shien").iterdir()), "nothing of the residents stays in the state folder"
    saga.stop()
    entries = read_chain(PosixFiles(str(saga.state)), f"{audit_folder(TenantId('imari'))}/{CHAIN_NAME}")
    assert [entry.fields["who"] for entry in entries if entry.fields["what"] == "feed"][-1] == "久保"


def test_protected_people_have_no_address_and_an_unusable_map_leaves_the_old_file(saga, tmp_path: Path) -> None:
    saga.command("backup", "imari/juki", "--local")
    note = saga.command("feed", "write", "shien", "--local")
    found = rows(tmp_path / "out")
    protected = [row for row in found if row["SHIEN"] == "1"]
    assert note["restrictions"] == "trusted" and len(protected) == note["masked"] > 0
    assert all(not row["JUSHO"] for row in protected) and any(row["JUSHO"] for row in found)
    before = (tmp_path / "out" / "shien.csv").read_bytes()
    text = (tmp_path / "map.toml").read_text()
    (tmp_path / "map.toml").write_text(text.replace('"氏名" = "氏名"', '"名前" = "氏名"'))
    saga.command("feed", "write", "shien", "--local", expect=5)
    assert (tmp_path / "out" / "shien.csv").read_bytes() == before
    # Without the flags nobody knows who is protected: no address at all, or no file.
    (tmp_path / "map.toml").write_text(
        text.replace('"支援措置" = "支援措置"\n', "").replace("ignore = [", 'ignore = ["支援措置", ')
    )
    assert saga.command("feed", "write", "shien", "--local")["restrictions"] == "missing"
    assert not any(row["JUSHO"] or row["SHIEN"] for row in rows(tmp_path / "out"))
    config = saga.config.read_text()
    saga.config.write_text(config.replace("keep = 2", 'keep = 2\nunknown_restrictions = "refuse"'))
    saga.command("feed", "write", "shien", "--local", expect=5)
    saga.config.write_text(config.replace('"宛名番号"', '"個人番号"', 1))
    assert saga.command("feed", "check", "shien", expect=5)["error"]["code"] == "refused"


def test_where_no_keys_are_it_is_made_of_what_a_recovery_has_restored(saga, town, tmp_path: Path) -> None:
    saga.command("backup", "imari/juki", "--local")
    (tmp_path / "plan.toml").write_text(
        'version = 1\nid = "p"\ntitle = "p"\ntenant = "imari"\nhome = "saga"\n[[step]]\nid = "keys"\nkind = "unlock"\n'
        '[[step]]\nid = "juki"\nkind = "restore"\ndataset = "imari/juki"\nneeds = ["keys"]\n'
    )
    shares = [word for number in (1, 2) for word in
              ("--share", str(town.folder / "shares" / f"imari-share-{number}-of-3.txt"))]
    saga.command("recovery", "run", str(tmp_path / "plan.toml"), "--mode", "failback", "--local", *shares)
    shutil.rmtree(saga.state / "keyring")
    assert saga.command("feed", "write", "shien", "--local")["point"] == "imari/juki@1"
    assert len(rows(tmp_path / "out")) > 100
    shutil.rmtree(saga.state / "recovery")
    saga.command("feed", "write", "shien", "--local", expect=6)
