"""Memory does not grow with the number of files in a point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[3]
GROWTH_MIB_MAX = 12
"""What the heap's own ways may come to; 18,000 entries in memory would be 20."""


def restored(folder: Path, files: int) -> dict[str, Any]:
    """Restore so many files in a process of its own; return counts and peak memory."""
    folder.mkdir()
    arguments = [str(folder / "site"), str(folder / "out"), str(files)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.synthetic", *arguments], cwd=TOP, capture_output=True, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout)
    assert (document["files"], document["symlinks"], document["code"]) == (files, -(-files // 16), 0)
    return document


def test_ten_times_the_files_take_the_same_memory(tmp_path: Path) -> None:
    few, many = restored(tmp_path / "few", 2_000), restored(tmp_path / "many", 20_000)
    assert many["peak_mib"] - few["peak_mib"] < GROWTH_MIB_MAX


@pytest.mark.soak
def test_a_million_files_come_back_in_less_than_300_mb(tmp_path: Path) -> None:
    assert restored(tmp_path / "million", 1_000_000)["peak_mib"] < 300_000_000 // (1 << 20)
