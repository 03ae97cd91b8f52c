"""A plan mounts a base, starts PostgreSQL on it and asks it, before everything is there; and undoes all that."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PROGRAMS, ROWS
from daemons import SiteProcess, Town, free_port

from jbackupd.continuity.telling import detail_text

PLAN = """
version = 1
id = "db"
title = "住基データベース"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "base"
kind = "mount"
dataset = "imari/juki"
fill = false
needs = ["keys"]
[[step]]
id = "database"
kind = "postgres"
data = "base"
listen = "127.0.0.1:{port}"
needs = ["base"]
[[step]]
id = "rows"
kind = "check"
postgres = "database"
sql = "SELECT count(*) FROM juki"
count_min = {rows}
needs = ["database"]
"""


@pytest.fixture
def saga(place: Path, base: Path) -> Iterator[SiteProcess]:
    """A site that holds a base backup of its own."""
    town = Town(place)
    site = town.alone()
    site.config.write_text(site.config.read_text().replace(str(town.data), str(base)))
    site.command("backup", "--local", "imari/juki")
    (place / "plan.toml").write_text(PLAN.format(port=free_port(), rows=ROWS))
    yield site


def begun(saga: SiteProcess, place: Path, *words: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a command that stays with its run, and return the run's document."""
    shares = [word for number in (1, 2) for word in ("--share", f"{place}/shares/imari-share-{number}-of-3.txt")]
    process = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", str(saga.config), "--json", "recovery", *words, "--local", *shares],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=saga.environment,
    )
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline()]
    while lines[-1] not in (b"}\n", b""):
        lines.append(process.stdout.readline())
    if not lines[-1]:
        raise AssertionError((b"".join(lines), process.stderr.read()))
    document = json.loads(b"".join(lines))
    assert document["proved"], json.dumps(document["steps"], indent=1)
    return process, document


def ended(process: subprocess.Popen[bytes], number: int) -> None:
    process.send_signal(number)
    process.communicate(timeout=60)


def details_of(document: dict[str, Any]) -> dict[str, Any]:
    return {step["step"]: step["detail"] for step in document["steps"]}


def gone(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60)[0])
    finally:
        os.close(descriptor)


def asked(pid: int, sql: str) -> bytes:
    """Ask a server as whoever uses it."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    setting = {word.split(b"=", 1)[0]: word.split(b"=", 1)[1] for word in words if b"=" in word}
    server = [f"{PROGRAMS}/psql", "-h", setting[b"unix_socket_directories"], "-p", setting[b"port"], "-U", "postgres"]
    done = subprocess.run([*server, "-XAtc", sql], capture_output=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_run_answers_from_a_mount_goes_on_after_a_kill_and_leaves_nothing_running(
    saga: SiteProcess, place: Path
) -> None:
    process, document = begun(saga, place, "run", str(place / "plan.toml"), "--mode", "failback")
    details = details_of(document)
    try:
        assert Path(details["base"]["folder"]).is_mount()
        assert os.listdir(Path(details["base"]["upper"]) / "lazy"), "it answered before everything was there"
        assert details["rows"]["value"] == str(ROWS)
        assert details["database"]["first_answer_seconds"] > 0 and not details["database"]["data_whole"]
        assert "while the rest was still being brought" in detail_text(details["database"])
        asked(details["database"]["pid"], "UPDATE juki SET rest = 'written' WHERE number = 4711")
    finally:
        ended(process, signal.SIGKILL)
    assert gone(details["base"]["pid"]), "the mount has no reason to be without its daemon"
    process, document = begun(saga, place, "resume", document["run"])
    again = details_of(document)
    try:
        assert gone(details["database"]["pid"])
        assert asked(again["database"]["pid"], "SELECT number FROM juki WHERE rest = 'written'") == b"4711"
    finally:
        ended(process, signal.SIGINT)
    assert gone(again["database"]["pid"]) and gone(again["base"]["pid"])
    assert not Path(again["base"]["folder"]).is_mount()
