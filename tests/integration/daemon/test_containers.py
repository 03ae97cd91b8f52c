"""Plans with a container: in a drill it has no way out and leaves nothing; in earnest it outlives no resume, no end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from containers import Images, command_where_containers_run
from daemons import SiteProcess, Town, free_port

ALONE = '[ "$(ip -o link | wc -l)" = 1 ]'
"""What a container asks before it serves in a drill: has this network nothing but its loopback?"""
PLAN = """
version = 1
id = "app"
title = "窓口アプリ"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "files"
kind = "restore"
dataset = "imari/juki"
needs = ["keys"]
[[step]]
id = "app"
kind = "service"
data = "files"
needs = ["files"]
[step.container]
archive = "image.tar"
command = ["/bin/sh", "-c", "{only} && {{ trap 'exit 0' TERM; httpd -f -p 127.0.0.1:{port} -h /www & wait; }}"]
[[step.container.mount]]
data = "files"
path = "www"
at = "/www"
[[step]]
id = "answers"
kind = "check"
http = "http://127.0.0.1:{port}/index.html"
expect = "窓口"
needs = ["app"]
"""
ASKING = '[[step]]\nid = "sure"\nkind = "confirm"\nquestion = "揃っていますか"\nneeds = ["answers"]\n'


@pytest.fixture
def saga(town: Town, tmp_path: Path) -> SiteProcess:
    """A site that holds a point with an image and what it serves; its daemon does not run."""
    images = Images(tmp_path / "images")
    (town.data / "image.tar").write_bytes(images.archive.read_bytes())
    (town.data / "www").mkdir()
    (town.data / "www" / "index.html").write_text("窓口")
    site = town.alone()
    site.command("backup", "--local", "imari/juki")
    return site


def plan(tmp_path: Path, port: int, *, drill: bool = False, more: str = "") -> str:
    only = ALONE.replace('"', '\\"') if drill else "true"
    (tmp_path / "plan.toml").write_text(PLAN.format(port=port, only=only) + more)
    return str(tmp_path / "plan.toml")


NOBODY_SPECIAL = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Runs a program as a user without any rights, to whom our files belong."""


def command(site: SiteProcess, tmp_path: Path, *words: str, prefix: Sequence[str] = ()) -> list[str]:
    shares = [f"--share={tmp_path}/shares/imari-share-{number}-of-3.txt" for number in (1, 2)]
    return command_where_containers_run(
        [*prefix, sys.executable, "-m", "jbackupd", "-c", str(site.config), "--json", "recovery", *words, *shares]
    )


def rehearsed(site: SiteProcess, tmp_path: Path, path: str, *, prefix: Sequence[str] = ()) -> Any:
    words = ["rehearse", path, "--scenario", "浸水", "--participant", "森", "--yes"]
    done = subprocess.run(
        command(site, tmp_path, *words, prefix=prefix), capture_output=True, env=site.environment, check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


def begun(site: SiteProcess, tmp_path: Path, *words: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a command that stays with its run, and return the run's document."""
    process = subprocess.Popen(
        command(site, tmp_path, *words, "--local"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=site.environment,
    )
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline()]
    while lines[-1] not in (b"}\n", b""):
        lines.append(process.stdout.readline())
    assert lines[-1], (b"".join(lines), process.stderr.read())
    document = json.loads(b"".join(lines))
    assert document["proved"], document
    return process, document


def container_of(document: dict[str, Any]) -> dict[str, Any]:
    return next(step["detail"] for step in document["steps"] if step["step"] == "app")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=10) as answer:
            return answer.read().decode() == "窓口"
    except OSError:
        return False


def conmons_of(site: SiteProcess) -> list[str]:
    """Return the processes that are parents of containers of a site."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"conmon") and any(os.fsencode(site.state) in word for word in words):
            found.append(name)
    return found


@pytest.mark.parametrize("prefix", [(), NOBODY_SPECIAL], ids=["root", "user"])
def test_a_container_is_rehearsed_without_a_way_out_and_nothing_stays(
    saga: SiteProcess, tmp_path: Path, prefix: Sequence[str]
) -> None:
    record = rehearsed(saga, tmp_path, plan(tmp_path, free_port(), drill=True), prefix=prefix)
    assert (record["outcome"], record["problems"]) == ("proved", [])
    assert [trace["found"] for trace in record["traces"]] == [[]] * 5
    assert not conmons_of(saga)
    assert sorted(os.listdir(saga.state / "drills" / record["name"])) == ["begun.json", "lock", "record.json"]


def test_a_drill_that_is_killed_takes_its_container_along(saga: SiteProcess, tmp_path: Path) -> None:
    path = plan(tmp_path, free_port(), drill=True, more=ASKING)
    leader, follower = os.openpty()
    words = ["rehearse", path, "--scenario", "浸水", "--participant", "森"]
    drill = subprocess.Popen(
        command(saga, tmp_path, *words), stdin=follower, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=saga.environment,
    )
    os.close(follower)
    assert drill.stderr is not None
    assert any("揃っていますか" in line.decode() for line in drill.stderr)
    assert conmons_of(saga), "it runs, and waits for people"
    drill.send_signal(signal.SIGKILL)
    drill.wait()
    drill.stderr.close()
    os.close(leader)
    (left,) = (saga.state / "drills").iterdir()
    with open(left / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert not conmons_of(saga)
    assert rehearsed(saga, tmp_path, plan(tmp_path, free_port(), drill=True))["outcome"] == "proved"
    assert sorted(os.listdir(left)) == ["begun.json", "lock", "record.json"]


def test_in_earnest_it_is_started_anew_after_a_kill_and_ends_with_the_run(saga: SiteProcess, tmp_path: Path) -> None:
    port = free_port()
    process, document = begun(saga, tmp_path, "run", plan(tmp_path, port), "--mode", "failback")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert answers(port), "a container's parent survives whoever started it"
    process, again = begun(saga, tmp_path, "resume", document["run"])
    assert answers(port)
    assert container_of(again)["pid"] != container_of(document)["pid"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not answers(port) and not conmons_of(saga)
    assert not (Path(saga.state) / "recovery" / document["run"] / "app.container").exists()
