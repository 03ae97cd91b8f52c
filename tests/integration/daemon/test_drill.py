"""Drills beside a running daemon: isolated, proved or not, and nothing left of them, also of one that was killed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess, free_port

from jbackupd.cli.main import main
from tests.integration.daemon.test_recovery import (
    lost,  # noqa: F401 - a fixture
    plan_text,
)

ASKING = """
[[step]]
id = "sure"
kind = "confirm"
question = "揃っていますか"
needs = ["look-up"]
"""


def rehearsal(site: SiteProcess, tmp_path: Path, plan: str, *more: str) -> list[str]:
    (tmp_path / "plan.toml").write_text(plan)
    return [
        "recovery", "rehearse", str(tmp_path / "plan.toml"), "--scenario", "浸水", "--participant", "森",
        *(f"--share={tmp_path}/shares/imari-share-{number}-of-3.txt" for number in (1, 3)), *more,
    ]


def test_a_drill_proves_the_plan_and_leaves_nothing(lost, tmp_path: Path) -> None:  # noqa: F811
    kyoto = lost.sites[1]
    port = free_port()
    page = tmp_path / "drill.html"
    record = kyoto.command(*rehearsal(kyoto, tmp_path, plan_text(port) + ASKING, "--yes", "--html", str(page)))
    assert record["outcome"] == "proved" and record["problems"] == []
    assert (record["scenario"], record["participants"]) == ("浸水", ["森"])
    assert record["report"]["mode"] == "rehearse" and record["report"]["rto_met"]
    assert {(count["what"], count["expected"] == count["found"]) for count in record["counts"]} == {
        ("files", True), ("residents", True),
    }
    # The daemons of this very machine cannot be reached from inside, nor can anybody else.
    assert len(record["isolation"]) >= 2
    assert [trace["found"] for trace in record["traces"]] == [[]] * 5
    folder = kyoto.state / "drills" / record["name"]
    assert sorted(os.listdir(folder)) == ["begun.json", "lock", "record.json"]
    assert "決裁" in page.read_text() or "approved" in page.read_text()
    # No declaration was needed, none was made, and the municipality's own audit log knows nothing of it.
    assert kyoto.call("site.status")["declarations"] == []
    assert not (kyoto.state / "audit").exists()
    assert [each["name"] for each in kyoto.command("recovery", "drills")["drills"]] == [record["name"]]


def test_a_plan_that_does_not_hold_is_not_proved(lost, tmp_path: Path) -> None:  # noqa: F811
    kyoto = lost.sites[1]
    wrong = plan_text(0) + 'query = "いない人"\nexpect = "いない人"\n'
    record = kyoto.command(*rehearsal(kyoto, tmp_path, wrong), expect=1)
    assert record["outcome"] == "failed"
    assert record["problems"] and all(not trace["found"] for trace in record["traces"])


def test_a_drill_that_is_killed_is_cleaned_up_by_the_next(lost, tmp_path: Path) -> None:  # noqa: F811
    kyoto = lost.sites[1]
    arguments = rehearsal(kyoto, tmp_path, plan_text(0) + ASKING)
    # It waits for an answer that never comes: a terminal is needed for that.
    leader, follower = os.openpty()
    drill = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", str(kyoto.config), *arguments],
        stdin=follower, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=kyoto.environment,
    )
    os.close(follower)
    assert drill.stderr is not None
    for line in drill.stderr:
        if "揃っていますか" in line.decode():
            break
    drill.send_signal(signal.SIGKILL)
    drill.wait()
    drill.stderr.close()
    os.close(leader)
    (left,) = (kyoto.state / "drills").iterdir()
    with open(left / "lock", "rb") as lock:
        # Its child ends by itself: it holds the lock until then.
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert (left / "work").exists() and not (left / "record.json").exists()

    record = kyoto.command(*rehearsal(kyoto, tmp_path, plan_text(0)))
    assert record["outcome"] == "proved"
    broken: dict[str, Any] = json.loads((left / "record.json").read_text())
    assert broken["outcome"] == "broken-off"
    assert not (left / "work").exists() and not any(trace["found"] for trace in broken["traces"])


def test_questions_need_somebody_to_ask(lost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    kyoto = lost.sites[1]
    arguments = rehearsal(kyoto, tmp_path, plan_text(0) + ASKING)
    assert main(["-c", str(kyoto.config), *arguments]) == 2
    assert "--yes" in capsys.readouterr().err
