"""However large a vault is, memory is not: each piece of work is a process of its own, and its own peak is told.

The bounds stand on what an idle command has (some 50 MiB with numpy, keys and SQLite) and on its caches, which are of
one size for every vault: 64 MiB of plaintext to read, 32 of bases, 16 of catalog.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
WORKS = ("first", "unchanged", "changed", "restore-some", "restore", "verify", "reclaim", "rebuild")


def work(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """Do one piece of work in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.scale.model", str(folder), name, *options], cwd=TOP, capture_output=True,
        text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def all_works(folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    return {name: work(folder, name, *options) for name in WORKS}


def test_twenty_thousand_files_and_a_hundred_thousand_chunks(tmp_path: Path) -> None:
    done = all_works(tmp_path, "--small", "20000", "--large", "3", "--frames", "16")
    assert done["first"]["chunks"] > 100_000
    assert done["unchanged"]["chunks"] == done["first"]["chunks"]
    assert done["changed"]["chunks"] > done["rebuild"]["chunks"] > 100_000
    assert done["reclaim"]["bytes"] > 200 * 1000
    assert done["restore"]["files"] == done["verify"]["files"] == 20_003
    assert done["restore-some"]["files"] == 101
    assert {name: found["peak_mib"] for name, found in done.items() if found["peak_mib"] > 160} == {}


@pytest.mark.soak
def test_a_million_files_and_ten_million_chunks(tmp_path: Path) -> None:
    done = all_works(tmp_path, "--small", "1000000", "--large", "440", "--frames", "64")
    assert done["first"]["chunks"] > 10_000_000
    assert done["rebuild"]["chunks"] > 10_000_000
    assert {name: found["peak_mib"] for name, found in done.items() if found["peak_mib"] >= 300} == {}
