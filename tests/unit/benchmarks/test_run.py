"""`python -m benchmarks` on a machine that has none of the other programs."""

import os
import subprocess
import sys

from benchmarks.programs import HERE


def bench(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=HERE, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def test_it_measures_jbackupd_and_says_plainly_what_is_missing(tmp_path):
    done = bench("noise", "--megabytes", "2", "--days", "1", "--folder", str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("| ")}
    assert rows["jbackupd"].rstrip().endswith("| yes |")
    assert all("not installed" in rows[name] for name in ("restic", "borg", "*zstd -3 --patch-from*", "*xdelta3 -9*"))
    assert os.listdir(tmp_path) == []


def test_days_of_ones_own_are_measured_against_the_aims(tmp_path):
    for day in range(2):
        (tmp_path / f"day{day}").mkdir()
        (tmp_path / f"day{day}" / "dump.sql").write_bytes(os.urandom(200_000) + b"%d" % day)
    done = bench("--register", str(tmp_path), "--days", "1", "--rounds", "1", PATH="")
    assert "| restore of every day | byte-identical | yes | met |" in done.stdout
    # So little data cannot reach the rate, and a missed aim is an exit code.
    assert done.returncode == 1


def test_a_misspelt_workload_and_a_missing_day_are_refused(tmp_path):
    assert "there is no workload nois" in bench("nois").stderr
    assert "there is no " in bench("--register", str(tmp_path)).stderr
