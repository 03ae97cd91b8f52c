"""Real processes on a real disk, killed at random moments and at system calls: what they said holds."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

from jbackupd.catalog.database import Catalog
from jbackupd.model.ids import ObjectName
from jbackupd.storage.files import PosixFiles
from tests.crash.local_backup import Acknowledged, Town, check_points, init
from tests.crash.transfer import Receipted, check_held


def worker(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.worker", *map(str, arguments)], stdout=subprocess.PIPE, text=True,
        check=False,
    )


def said(output: str) -> list[tuple[int, ObjectName]]:
    """Return what was acknowledged; a line that was cut off was not."""
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(sequence), ObjectName(bytes.fromhex(name))) for sequence, name in lines]


def open_town(folder: pathlib.Path) -> Town:
    return Town(PosixFiles(str(folder)), Catalog(str(folder / "catalog/imari.sqlite")))


def check_site(folder: pathlib.Path, acknowledged: list[tuple[int, ObjectName]]) -> None:
    facts = [Acknowledged(*each) for each in acknowledged]
    town = open_town(folder)
    check_points(town.vault, facts)
    town.backup()
    check_points(town.vault, facts)


def kill_backups(folder: pathlib.Path, seed: int, kills: int) -> int:
    init(PosixFiles(str(folder)))
    done = worker("kill", seed, kills, "backup", folder, 1000)
    assert done.returncode == 0
    acknowledged = said(done.stdout)
    check_site(folder, acknowledged)
    return len(acknowledged)


def kill_transfers(tmp_path: pathlib.Path, seed: int, kills: int) -> int:
    source, holder = tmp_path / "saga", tmp_path / "kyoto"
    key_seed = init(PosixFiles(str(source)))
    town = open_town(source)
    for _ in range(6):
        town.backup()
    done = worker("kill", seed, kills, "send", source, holder, 6)
    assert done.returncode == 0
    acknowledged = said(done.stdout)
    check_held(PosixFiles(str(holder)), key_seed, [Receipted(*each) for each in acknowledged])
    assert worker("send", source, holder, 6).returncode == 0
    check_held(PosixFiles(str(holder)), key_seed, [Receipted(*each) for each in acknowledged])
    return len(acknowledged)


def test_backups_killed_at_random_moments_keep_every_acknowledged_point(tmp_path: pathlib.Path) -> None:
    assert kill_backups(tmp_path, seed=1, kills=25) >= 3


def test_transfers_killed_at_random_moments_keep_every_receipted_point(tmp_path: pathlib.Path) -> None:
    assert kill_transfers(tmp_path, seed=1, kills=15) >= 3


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_thousands_of_kills(tmp_path: pathlib.Path, seed: int) -> None:
    for number in range(5):
        folder = tmp_path / str(number)
        kill_backups(folder / "backup", seed=100 * seed + number, kills=50)
        kill_transfers(folder, seed=100 * seed + number, kills=50)
        shutil.rmtree(folder)


def inject(folder: pathlib.Path, fault: str) -> subprocess.CompletedProcess[str]:
    """Take a point in a process that a system call fails or kills."""
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}",
         sys.executable, "-m", "tests.faults.worker", "backup", str(folder), "1"],
        capture_output=True, text=True, check=False,
    )


@pytest.fixture
def town(tmp_path: pathlib.Path) -> pathlib.Path:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    init(PosixFiles(str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("fault", [
    "fsync:signal=SIGKILL:when=1", "fsync:signal=SIGKILL:when=7", "fsync:signal=SIGKILL:when=16",
    "rename:signal=SIGKILL:when=1", "rename:signal=SIGKILL:when=3", "write:signal=SIGKILL:when=2",
])
def test_a_kill_at_a_system_call_leaves_the_vault_whole(town: pathlib.Path, fault: str) -> None:
    run = inject(town, fault)
    assert run.returncode not in (0, 1), run.stderr
    check_site(town, said(run.stdout))


@pytest.mark.parametrize(("fault", "message"), [
    ("fsync:error=EIO:when=9", "StorageError"), ("fsync:error=ENOSPC:when=12", "NoSpaceError"),
])
def test_an_error_of_a_real_system_call_is_typed(town: pathlib.Path, fault: str, message: str) -> None:
    run = inject(town, fault)
    assert run.returncode == 1
    assert f"jbackupd.model.errors.{message}" in run.stderr
    assert said(run.stdout) == []
    check_site(town, [])


@pytest.mark.soak
@pytest.mark.parametrize("call", ["openat", "write", "fsync", "rename", "mkdir", "unlink", "pwrite64", "fdatasync"])
def test_a_kill_at_every_system_call(town: pathlib.Path, call: str) -> None:
    for number in range(1, 5000):
        run = inject(town, f"{call}:signal=SIGKILL:when={number}")
        check_site(town, said(run.stdout))
        if run.returncode == 0:
            return
