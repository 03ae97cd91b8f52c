"""A machine without any line: the vault came by hand, the declaration and the recovery happen in the command itself."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess, Town

from jbackupd.demo.town import COLUMNS, IGNORE, make_town
from jbackupd.desk.probe import probe_desk

OFFICERS = ("mori", "abe")
OFFICE_FILES = 400


def plan_text() -> str:
    columns = "\n".join(f'"{header}" = "{field}"' for header, field in COLUMNS.items())
    return f"""
version = 1
id = "shelter"
title = "避難所の窓口"
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
id = "files"
kind = "inspect"
data = "juki"
files = ["住民抽出.csv"]
files_min = {OFFICE_FILES}
needs = ["juki"]
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "住民抽出.csv"
title = "伊万里市"
listen = "127.0.0.1:0"
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
def shelter(town: Town, tmp_path: Path) -> SiteProcess:
    """A site that holds a copy of Saga's vault, brought on a disk; Saga is gone."""
    made = make_town(str(tmp_path / "town"), residents=300)
    shutil.rmtree(town.data)
    shutil.copytree(Path(made.extract).parent, town.data)
    for number in range(OFFICE_FILES):
        (town.data / f"文書{number:03}".encode("cp932").decode("utf-8", "surrogateescape")).write_bytes(b"%d" % number)
    saga = town.alone()
    saga.command("backup", "--local", "imari/juki")
    for officer in OFFICERS:
        (tmp_path / "words").write_text("four calm words here\n")
        saga.command("officer", "create", officer, "--to", str(tmp_path), "--passphrase-file", str(tmp_path / "words"))
    shelter = town.site("shelter")
    shelter.configure("".join(
        f'[[officer]]\nid = "{officer}"\ncard = "{tmp_path}/{officer}.card"\n' for officer in OFFICERS
    ) + f'[[peer]]\nid = "saga"\naddress = "127.0.0.1:{saga.port}"\ncard = "{saga.folder}/saga.card"\n')
    shutil.copy(saga.state / "site" / "saga.card", saga.folder)
    shelter.command("site", "init")
    shutil.copytree(saga.state / "vaults", shelter.state / "vaults")
    shutil.rmtree(saga.state)
    (tmp_path / "plan.toml").write_text(plan_text())
    return shelter


def declare(shelter: SiteProcess, tmp_path: Path) -> None:
    begun = shelter.command("site", "declare-lost", "saga", "--local", "--reason", "flooded")
    for officer in OFFICERS:
        answer = shelter.command(
            "site", "approve", begun["id"], "--local", "--key", str(tmp_path / f"{officer}.key"),
            "--passphrase-file", str(tmp_path / "words"),
        )
    assert answer["in_force"]


def shares(tmp_path: Path, *numbers: int) -> list[str]:
    return [
        word for number in numbers
        for word in ("--share", str(tmp_path / "shares" / f"imari-share-{number}-of-3.txt"))
    ]


def serving(shelter: SiteProcess, *arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a command that stays open with its desk, and return its document."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", str(shelter.config), "--json", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shelter.environment,
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    while not lines or lines[-1] != b"}\n":
        line = process.stdout.readline()
        if not line:
            process.wait()
            assert process.stderr is not None
            raise AssertionError((b"".join(lines).decode(), process.stderr.read().decode()))
        lines.append(line)
    return process, json.loads(b"".join(lines))


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    return process.returncode


def look_up(document: dict[str, Any], town: Town) -> None:
    detail = next(step["detail"] for step in document["steps"] if step["kind"] == "desk")
    account, password = Path(detail["passwords_file"]).read_text().split()[:2]
    with open(town.data / "住民抽出.csv", encoding="cp932", newline="") as extract:
        row = next(csv.DictReader(extract))
    assert probe_desk(detail["url"], account, password, row["宛名番号"], row["氏名"]).persons == 1


def test_a_vault_that_came_by_hand_is_recovered_without_any_other_site(
    shelter: SiteProcess, town: Town, tmp_path: Path
) -> None:
    plan = str(tmp_path / "plan.toml")
    refused = shelter.command("recovery", "run", plan, "--local", *shares(tmp_path, 1, 2), expect=5)
    assert "not declared lost" in refused["error"]["message"]
    checked = shelter.command("recovery", "check", plan)
    assert checked["ready"] and any("until it is, a run is refused" in each["text"] for each in checked["findings"])
    declare(shelter, tmp_path)
    process, document = serving(shelter, "recovery", "run", plan, "--local", *shares(tmp_path, 1, 3))
    try:
        assert document["proved"], document
        assert document["steps"][1]["detail"]["sites"] == {"saga": "saga was not asked: no daemon is running here"}
        look_up(document, town)
    finally:
        assert end(process) == 0
    journal = (shelter.state / "recovery" / document["run"] / "journal").read_bytes()
    typed = (tmp_path / "shares" / "imari-share-1-of-3.txt").read_text().split()
    passwords = Path(document["steps"][3]["detail"]["passwords_file"]).read_text().split()[1::2]
    secrets = [word for word in typed if len(word) > 12] + passwords
    assert [word for word in secrets if word.encode() in journal] == [], "no secret is ever journalled"
    folder = Path(document["steps"][1]["detail"]["folder"])
    assert folder.parent.parent.stat().st_mode & 0o7777 == 0o700, "nobody else reads what was restored"
    assert sorted(os.listdir(os.fsencode(folder))) == sorted(os.listdir(os.fsencode(town.data)))


def typed_at_a_terminal(shelter: SiteProcess, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command whose standard input is a terminal, and answer what it asks."""
    leader, follower = pty.openpty()
    os.write(leader, answer.encode() + b"\n")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jbackupd", "-c", str(shelter.config), "--language", "ja", *arguments],
            stdin=follower, capture_output=True, text=True, timeout=60, env=shelter.environment, check=False,
        )
    finally:
        os.close(leader)
        os.close(follower)
    return done.returncode, done.stdout + done.stderr


def test_what_a_run_laid_out_is_removed_when_its_name_is_typed(
    shelter: SiteProcess, town: Town, tmp_path: Path
) -> None:
    declare(shelter, tmp_path)
    process, document = serving(
        shelter, "recovery", "run", str(tmp_path / "plan.toml"), "--local", *shares(tmp_path, 1, 2)
    )
    end(process)
    run = document["run"]
    folder = shelter.state / "recovery" / run
    clean = ("recovery", "clean", run, "--local")
    shelter.command(*clean, expect=2)
    looked = shelter.command(*clean, "--dry-run")
    paths = [part["path"] for part in looked["parts"]]
    assert {"catalog.sqlite", "data/juki@1", "desk/desk"} <= set(paths) and looked["removed"] is None
    code, told = typed_at_a_terminal(shelter, "counter", *clean)
    assert code == 5 and "何も消去していません" in told and (folder / "data" / "juki@1" / "住民抽出.csv").exists()
    code, told = typed_at_a_terminal(shelter, run, *clean)
    assert code == 0 and "消去しました" in told, told
    assert os.listdir(folder) == ["journal"]
    report = shelter.command("recovery", "show", run, "--local")
    assert report["proved"] and report["cleaned"]["files"] >= OFFICE_FILES


def killed(shelter: SiteProcess, at: bytes, *arguments: str) -> None:
    """Run a command and kill it when it says a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", str(shelter.config), "recovery", *arguments, "--local"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=shelter.environment,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(at):
            process.kill()
            break
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, said


def test_killed_again_and_again_a_run_that_is_resumed_ends_the_same(
    shelter: SiteProcess, town: Town, tmp_path: Path
) -> None:
    declare(shelter, tmp_path)
    killed(shelter, b"keys: begins", "run", str(tmp_path / "plan.toml"), *shares(tmp_path, 2, 3))
    (run,) = shelter.command("recovery", "history", "--local")["runs"]
    assert not run["over"], "it is not resumed by itself"
    asked = shelter.command("recovery", "resume", run["run"], "--local", expect=6)
    assert asked["error"]["code"] == "share"
    for line in (b"juki: begins", b"juki: done"):
        killed(shelter, line, "resume", run["run"], *shares(tmp_path, 1, 3))
    # From here on nothing needs a key, and nobody has to come with a share.
    for line in (b"desk: begins", b"look-up: begins"):
        killed(shelter, line, "resume", run["run"])
    process, document = serving(shelter, "recovery", "resume", run["run"], "--local")
    try:
        assert document["proved"] and {step["state"] for step in document["steps"]} == {"done"}
        assert [len(document["resumed_at"]), document["steps"][1]["attempts"]] == [5, 2]
        look_up(document, town)
    finally:
        assert end(process) == 0
    page = tmp_path / "report.html"
    shelter.command("recovery", "show", run["run"], "--local", "--html", str(page), "--language", "ja")
    assert "復旧" in page.read_text() and "避難所の窓口" in page.read_text()
