"""The lock of a state folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jbackupd.model.errors import BusyError, StorageError
from jbackupd.service.lock import state_lock

HOLD = """
import sys
from jbackupd.service.lock import state_lock
with state_lock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def holder(state: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(BusyError) as raised, state_lock(str(tmp_path)):
            pass
        assert raised.value.exit_code == 7
        assert f"process {process.pid}" in str(raised.value)
    finally:
        process.communicate(timeout=10)


def test_a_killed_holder_leaves_the_lock_free(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.kill()
    process.communicate(timeout=10)
    with state_lock(str(tmp_path)):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_missing_state_folder_is_made_private(tmp_path: Path) -> None:
    with state_lock(str(tmp_path / "state")):
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_state_that_is_no_folder_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), state_lock(str(tmp_path / "file")):
        pass
