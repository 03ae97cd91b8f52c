"""The unit file: understood by systemd, hardened, and the program works under what it forbids."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "systemd" / "jbackupd.service"
PR_SET_MDWE = 65
EXPOSURE_MAX = 2.0


def settings() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    return {pair[0]: pair[1] for pair in pairs}


@pytest.mark.parametrize("options", [["--recursive-errors=no"], []])
def test_systemd_finds_nothing_to_complain_of(options: list[str]) -> None:
    command = ["systemd-analyze", "verify", *options, str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exposure_is_that_of_a_hardened_reader() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}", str(UNIT)],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) < EXPOSURE_MAX


def test_times_of_the_unit_and_of_the_daemon_fit_together() -> None:
    from jbackupd.service.daemon import STOP_SECONDS

    found = settings()
    assert found["Type"] == "notify"
    assert int(found["TimeoutStopSec"]) > STOP_SECONDS
    assert int(found["WatchdogSec"]) >= 30


def test_what_a_restart_cannot_mend_is_not_restarted() -> None:
    from jbackupd.model import errors

    prevented = {int(code) for code in settings()["RestartPreventExitStatus"].split()}
    for kind in (errors.ConfigError, errors.BusyError, errors.UsageError, errors.KeyringError, errors.NotFoundError):
        assert kind.exit_code in prevented
    assert errors.JbackupdError.exit_code not in prevented


def test_restoring_is_not_forbidden() -> None:
    """RestrictSUIDSGID= answers every openat2 with ENOSYS, since its filter cannot look into that call's struct."""
    assert settings().get("RestrictSUIDSGID", "no") == "no"


def test_the_program_works_where_no_memory_may_be_written_and_executed() -> None:
    """MemoryDenyWriteExecute, by the kernel's own switch; kernels before 6.3 refuse it and change nothing."""

    def deny() -> None:
        ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0)

    code = (
        "import asyncssh, blake3, cryptography, numpy, prometheus_client, pyfastcdc, sqlite3, zstandard\n"
        "import jbackupd.service.daemon\n"
        "from jbackupd.codec.signing import SiteSigner\n"
        "SiteSigner(bytes(64)).sign(b'x', b'y')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=deny, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
