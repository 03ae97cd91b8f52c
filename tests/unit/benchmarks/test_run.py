"""`python -m benchmarks` as small as it can be, on a machine that has next to none of the other programs."""

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.child import ProgramError
from benchmarks.data import Data
from benchmarks.kinds import Kind, Size
from benchmarks.tools import HERE


def bench(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=HERE, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    cells = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_the_smallest_run_measures_and_says_plainly_what_is_missing(tmp_path):
    # The tools that .ci/packages names, and no others, whatever this machine has besides.
    zstd = shutil.which("zstd")
    assert zstd is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "zstd").symlink_to(zstd)
    (tmp_path / "work").mkdir()
    tools = {"PATH": str(tmp_path / "bin"), "JBACKUPD_BENCH_TOOLS": "/"}
    done = bench("--only", "twins", "--megabytes", "2", "--folder", str(tmp_path / "work"), **tools)
    assert done.returncode == 0, done.stderr
    found = rows(done)
    assert found["jbackupd"][-1] == "yes"
    assert found["twins: peak memory"][0] == "at most 250 MB"
    assert all("kB)" in found[f"*zstd {level} --patch-from*"][0] for level in ("-3", "-19"))
    missing = ("restic", "restic, auto", "borg", "borg, zstd,3", "rsync", "*xdelta3 -9*")
    assert {found[name][0] for name in missing} == {"not installed"}
    assert found["twins: first copy, fast"][-1] == "not judged"
    assert os.listdir(tmp_path / "work") == []


def test_data_that_cannot_be_made_says_why(tmp_path):
    lost = Kind("lost", "Lost", "", "nobody", Size(1, 1), Size(1, 1))
    with pytest.raises(ProgramError, match="its data cannot be made: KeyError: 'nobody'"):
        Data(str(tmp_path)).find(lost, lost.quick)


def test_a_misspelt_kind_is_refused():
    done = bench("--only", "nois")
    assert done.returncode == 2
    assert "invalid choice: 'nois'" in done.stderr
