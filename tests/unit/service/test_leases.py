"""Readers keep what they can read; nobody waits for readers that came later, or for those that are dead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jbackupd.model.errors import BusyError
from jbackupd.model.ids import TenantId
from jbackupd.service.leases import deciding, reading, removing

IMARI = TenantId("imari")


def test_a_removal_waits_for_readers_from_before_and_not_for_later_ones(tmp_path) -> None:
    state = str(tmp_path)
    with reading(state, IMARI):
        with removing(state, IMARI) as alone:
            assert not alone
        with reading(state, IMARI), removing(state, IMARI) as alone:
            assert not alone
    with removing(state, IMARI) as alone:
        assert alone
        # Who begins now sees what was stated before: it is not waited for, and does not wait.
        with reading(state, IMARI):
            pass
    assert len([name for name in os.listdir(tmp_path / "leases/imari") if name.isdigit()]) == 1


def test_the_lease_of_a_killed_process_is_none(tmp_path) -> None:
    code = (
        "import sys, time\nfrom jbackupd.service.leases import reading\n"
        f"with reading({str(tmp_path)!r}, 'imari'):\n    print('here', flush=True)\n    time.sleep(60)\n"
    )
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert reader.stdout is not None and reader.stdout.readline() == b"here\n"
    with removing(str(tmp_path), IMARI) as alone:
        assert not alone
    reader.kill()
    reader.wait()
    reader.stdout.close()
    with removing(str(tmp_path), IMARI) as alone:
        assert alone


def test_readers_of_another_tenant_are_not_waited_for(tmp_path) -> None:
    with reading(str(tmp_path), TenantId("uji")), removing(str(tmp_path), IMARI) as alone:
        assert alone


def test_one_decides_at_a_time(tmp_path) -> None:
    with deciding(str(tmp_path), IMARI), pytest.raises(BusyError), deciding(str(tmp_path), IMARI):
        pass


def test_where_the_state_folder_cannot_be_written_reading_goes_on(tmp_path) -> None:
    blocked = tmp_path / "state"
    blocked.write_bytes(b"no folder")
    with reading(str(blocked), IMARI):
        pass
