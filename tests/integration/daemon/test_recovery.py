"""From a lost site to a working counter, with real daemons: declared, fenced, unlocked, restored, looked up."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from daemons import free_port, receipted

from jbackupd.demo.town import COLUMNS, IGNORE, make_town
from jbackupd.desk.probe import probe_desk
from jbackupd.model.errors import BusyError, NotFoundError, RefusedError, ShareError, TryLaterError

OFFICERS = ("mori", "abe")


def plan_text(desk_port: int) -> str:
    columns = "\n".join(f'"{header}" = "{field}"' for header, field in COLUMNS.items())
    return f"""
version = 1
id = "counter"
title = "住民記録照会"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
needs = ["keys"]
tier = 1
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "住民抽出.csv"
title = "伊万里市"
listen = "127.0.0.1:{desk_port}"
accounts = ["madoguchi"]
ignore = {json.dumps(IGNORE, ensure_ascii=False)}
needs = ["juki"]
[step.columns]
{columns}
[[step]]
id = "look-up"
kind = "check"
desk = "desk"
needs = ["desk"]
"""


@pytest.fixture
def lost(town, tmp_path: Path) -> Any:
    """Kyoto and Hokkaido after Saga was lost; its state is kept aside; nothing is declared yet."""
    return lose(town, tmp_path, holders=2)


@pytest.fixture
def lost_with_a_newcomer(town, tmp_path: Path) -> Any:
    """Saga was lost before Hokkaido ever ran: it holds nothing, and only Kyoto has the town's data."""
    return lose(town, tmp_path, holders=1)


def lose(town, tmp_path: Path, *, holders: int) -> Any:
    made = make_town(str(tmp_path / "town"), residents=400)
    shutil.rmtree(town.data)
    shutil.copytree(Path(made.extract).parent, town.data)
    sites = town.three(schedule="daily 02:00")
    saga = sites[0]
    (tmp_path / "words").write_text("four calm words here\n")
    for officer in OFFICERS:
        saga.command(
            "officer", "create", officer, "--to", str(tmp_path / "officers"),
            "--passphrase-file", str(tmp_path / "words"),
        )
    shutil.copy(saga.state / "site" / "saga.card", tmp_path)
    for site in sites:
        text = site.config.read_text().replace(f"{saga.state}/site/saga.card", f"{tmp_path}/saga.card")
        text += "".join(
            f'[[officer]]\nid = "{officer}"\ncard = "{tmp_path}/officers/{officer}.card"\n' for officer in OFFICERS
        )
        site.config.write_text(text)
    for site in sites[: 1 + holders]:
        site.start()
    saga.until(lambda page: receipted(page, 1, peers=holders))
    saga.kill()
    saga.state.rename(tmp_path / "aside")
    for site in sites[1 + holders :]:
        site.start()
    return town


def declare(town, tmp_path: Path, *, acting: int = 1) -> None:
    site = town.sites[acting]
    begun = site.command("site", "declare-lost", "saga", "--reason", "flooded")
    for officer in OFFICERS:
        answer = site.command(
            "site", "approve", begun["id"], "--key", str(tmp_path / "officers" / f"{officer}.key"),
            "--passphrase-file", str(tmp_path / "words"),
        )
    assert answer["in_force"]


def shares(tmp_path: Path, *numbers: int) -> list[dict[str, str]]:
    paths = [tmp_path / "shares" / f"imari-share-{number}-of-3.txt" for number in numbers]
    return [{"source": path.name, "text": path.read_text()} for path in paths]


def desk_of(document: dict[str, Any]) -> tuple[str, str, str]:
    """Return address, account and password of the desk that a run opened."""
    detail = next(step["detail"] for step in document["steps"] if step["kind"] == "desk")
    account, password = Path(detail["passwords_file"]).read_text().split()[:2]
    return detail["url"], account, password


def somebody(town) -> tuple[str, str]:
    """Return the number and the name of a resident."""
    with open(town.data / "住民抽出.csv", encoding="cp932", newline="") as extract:
        row = next(csv.DictReader(extract))
    return row["宛名番号"], row["氏名"]


def test_a_lost_site_is_declared_fenced_and_recovered(lost, tmp_path: Path) -> None:
    saga, kyoto, hokkaido = lost.sites
    with pytest.raises(RefusedError, match="not declared lost"):
        kyoto.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1, 2))
    declare(lost, tmp_path)
    told = hokkaido.call("site.status")
    assert [each["lost"] for each in told["declarations"]] == ["saga"]

    with pytest.raises(ShareError, match="1 of the 2 shares"):
        kyoto.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1))
    bad = shares(tmp_path, 1, 3)
    bad[1]["text"] = bad[1]["text"].replace("03 ", "03 Z", 1)
    with pytest.raises(ShareError, match=r"line 3 of imari-share-3-of-3\.txt is mistyped"):
        kyoto.call("recovery.run", plan=plan_text(0), shares=bad)

    (tmp_path / "plan.toml").write_text(plan_text(0))
    document = kyoto.command(
        "recovery", "run", str(tmp_path / "plan.toml"), "--share", str(tmp_path / "shares" / "imari-share-1-of-3.txt"),
        "--share", str(tmp_path / "shares" / "imari-share-3-of-3.txt"),
    )
    assert document["proved"]
    assert document["rto_seconds"] < 60
    url, account, password = desk_of(document)
    seen = probe_desk(url, account, password, *somebody(lost))
    assert seen.persons == 1
    with pytest.raises(RefusedError):
        probe_desk(url, account, "wrong password", *somebody(lost))

    # Saga comes back, knows nothing of what happened, and is refused by both.
    (tmp_path / "aside").rename(saga.state)
    saga.start()
    page = saga.until(lambda page: all(peer["error"] is not None for peer in page["peers"]))
    assert {peer["error"]["code"] for peer in page["peers"]} == {"fenced"}


def test_a_run_that_is_killed_in_the_middle_is_resumed_and_ends_the_same(lost, tmp_path: Path) -> None:
    kyoto = lost.sites[1]
    declare(lost, tmp_path)
    run: list[str] = []

    def kill_during_restore(event: dict[str, Any]) -> None:
        if "run" in event:
            run.append(event["run"])
        if event.get("step") == "juki" and event.get("event") == "begin":
            kyoto.send(signal.SIGKILL)

    with pytest.raises(TryLaterError):
        kyoto.call("recovery.run", kill_during_restore, plan=plan_text(0), shares=shares(tmp_path, 2, 3))
    kyoto.wait()
    kyoto.start()
    before = kyoto.call("recovery.show", run=run[0])
    assert not before["over"], "a run is never resumed by itself"
    document = kyoto.call("recovery.resume", run=run[0], shares=shares(tmp_path, 1, 2))
    assert document["proved"]
    assert {step["state"] for step in document["steps"]} == {"done"}
    probe_desk(*desk_of(document), *somebody(lost))

    # After another restart the desk is opened again without any share.
    kyoto.kill()
    kyoto.start()
    again = kyoto.call("recovery.resume", run=run[0], shares=[])
    assert again["proved"]
    assert desk_of(again)[1:] == desk_of(document)[1:]


def test_approvals_can_be_carried_by_hand_and_false_ones_are_refused(lost, tmp_path: Path) -> None:
    kyoto, hokkaido = lost.sites[1:]
    kyoto.command("site", "declare-lost", "saga", "--out", str(tmp_path / "d0"))
    for number, officer in enumerate(OFFICERS):
        # At any machine with the program, without the network.
        hokkaido.command(
            "site", "approve", "--declaration", str(tmp_path / "d0"), "--out", str(tmp_path / f"signed{number}"),
            "--key", str(tmp_path / "officers" / f"{officer}.key"), "--passphrase-file", str(tmp_path / "words"),
        )
    altered = bytearray((tmp_path / "signed1").read_bytes())
    altered[-100] ^= 1
    (tmp_path / "altered").write_bytes(altered)
    one, other = (str(tmp_path / name) for name in ("signed0", "altered"))
    refused = kyoto.command("site", "declare-lost", "saga", "--approval", one, "--approval", other, expect=5)
    assert "abe" in refused["error"]["message"]
    answer = kyoto.command("site", "declare-lost", "saga", "--approval", str(tmp_path / "signed1"))
    assert answer["in_force"]
    assert len(base64.b64decode(answer["declaration"])) > 6000


def test_two_runs_of_one_tenant_do_not_meet(lost, tmp_path: Path) -> None:
    kyoto = lost.sites[1]
    declare(lost, tmp_path)
    second: list[Exception] = []

    def begin_another(event: dict[str, Any]) -> None:
        if event.get("event") == "begin" and not second:
            try:
                kyoto.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1, 2))
            except BusyError as error:
                second.append(error)

    assert kyoto.call("recovery.run", begin_another, plan=plan_text(0), shares=shares(tmp_path, 1, 2))["proved"]
    assert len(second) == 1


def test_a_site_that_never_held_anything_recovers_from_the_one_that_did(lost_with_a_newcomer, tmp_path: Path) -> None:
    hokkaido = lost_with_a_newcomer.sites[2]
    assert not (hokkaido.state / "vaults" / "imari").exists()
    declare(lost_with_a_newcomer, tmp_path, acting=2)
    document = hokkaido.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1, 3))
    assert document["proved"], document
    assert document["steps"][1]["detail"]["sites"]["kyoto"] == "ok"
    probe_desk(*desk_of(document), *somebody(lost_with_a_newcomer))
    assert document["counted_from"] == "declared_at" and document["rto_met"]


def test_a_closed_run_frees_its_address_for_the_next(lost, tmp_path: Path) -> None:
    kyoto = lost.sites[1]
    declare(lost, tmp_path)
    port = free_port()
    first = kyoto.call("recovery.run", plan=plan_text(port), shares=shares(tmp_path, 1, 2))
    assert first["proved"]
    taken = kyoto.call("recovery.run", plan=plan_text(port), shares=shares(tmp_path, 1, 2))
    assert [step["state"] for step in taken["steps"]] == ["done", "done", "failed", "skipped"]
    (tmp_path / "plan.toml").write_text(plan_text(port))
    checked = kyoto.command("recovery", "check", str(tmp_path / "plan.toml"), expect=1)
    assert [each["step"] for each in checked["findings"] if each["grade"] == "bad"] == ["desk"]
    kyoto.call("recovery.close", run=first["run"])
    with pytest.raises(NotFoundError):
        kyoto.call("recovery.close", run=first["run"])
    again = kyoto.call("recovery.resume", run=taken["run"], shares=[])
    assert again["proved"], "what was restored needs no share to be shown"
    assert {one["run"]: one["proved"] for one in kyoto.call("recovery.history")["runs"]} == {
        first["run"]: True, taken["run"]: True,
    }
