"""A plan mounts a base, starts PostgreSQL on it and asks it, before everything is there; and undoes all that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import ROWS
from daemons import SiteProcess, Town, free_port

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


def test_a_run_answers_from_a_mount_and_leaves_nothing_running(saga: SiteProcess, place: Path) -> None:
    shares = [word for number in (1, 2) for word in ("--share", f"{place}/shares/imari-share-{number}-of-3.txt")]
    plan = str(place / "plan.toml")
    with subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", str(saga.config), "--json", "recovery", "run", plan, "--local",
         "--mode", "failback", *shares],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=saga.environment,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline()]
        while lines[-1] not in (b"}\n", b""):
            lines.append(process.stdout.readline())
        try:
            document = json.loads(b"".join(lines) or b"{}")
            assert document.get("proved"), (document, process.stderr.read() if not document else b"")
            details = {step["step"]: step["detail"] for step in document["steps"]}
            mounted = Path(details["base"]["folder"])
            assert mounted.is_mount()
            assert os.listdir(Path(details["base"]["upper"]) / "lazy"), "it answered before everything was there"
            assert details["rows"]["value"] == str(ROWS)
            server, mount = details["database"]["pid"], details["base"]["pid"]
            assert Path(f"/proc/{server}").exists() and Path(f"/proc/{mount}").exists()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert not Path(f"/proc/{server}").exists() and not Path(f"/proc/{mount}").exists()
    assert not mounted.is_mount()
