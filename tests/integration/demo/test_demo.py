"""The demo plays the whole story for real, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from jbackupd.desk.probe import probe_desk

TIMEOUT_SECONDS = 280


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all daemons whose configuration lies in a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in line and "-m jbackupd -c" in line:
            found.append(line)
    return found


def test_the_whole_story_holds_every_promise(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jbackupd", "--json", "--language", "ja", "demo", "--dir", str(tmp_path / "demo")],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["crossed_bytes"] * 20 <= document["compressed_copy_bytes"] < document["plain_copy_bytes"]
    assert document["rto_seconds"] > 0 and document["rpo_seconds"] > 0
    for line in ("■ 発災", "■ 時系列", "実績復旧時間 RTO", "実績復旧時点 RPO", "基準日時 令和"):
        assert line in done.stderr
    assert processes_of(tmp_path) == []


def test_kept_open_the_counter_answers_until_it_is_told_to_end(tmp_path: Path) -> None:
    playing = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "--language", "en", "demo", "--keep", "--dir", str(tmp_path / "demo")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    assert playing.stderr is not None
    try:
        words: list[str] = []
        query = ""
        for line in playing.stderr:
            if "the clerk types" in line:
                query = line.split("the clerk types ")[1].split(" and reads")[0]
            if "The counter is open at" in line:
                words = line.replace(";", "").split()
            if "Look around" in line:
                break
        url, account, password = words[5], words[9], words[11]
        assert probe_desk(url, account, password, query, "").persons == 1
        assert len(processes_of(tmp_path)) == 2
    finally:
        playing.send_signal(signal.SIGTERM)
        playing.stderr.read()
        assert playing.wait(60) == 0
    assert processes_of(tmp_path) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = subprocess.run(
        [sys.executable, "-m", "jbackupd", "--language", "en", "demo", "--dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 5
    assert "it is not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "precious"
