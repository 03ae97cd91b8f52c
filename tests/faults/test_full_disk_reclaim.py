"""A full file system: reclaim makes room without needing any first."""

from __future__ import annotations

import os
import pathlib
import random

import pytest

from tests.faults.test_full_disk import BLOCK, small_disk
from tests.operator.conftest import Town


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_disk_without_a_free_byte_is_reclaimed(tmp_path: pathlib.Path) -> None:
    with small_disk(tmp_path, 16 * 1024 * 1024) as folder:
        town = Town(str(folder))
        town.make_vault()
        with open(town.config, "a", encoding="utf-8") as file:
            file.write("[dataset.retention]\nlast = 2\n[reclaim]\nrewrite_below_percent = 0\n")
        town.document("vault", "reclaim")
        for day in range(1, 6):
            town.write("source/scan", random.Random(day).randbytes(1_200_000))
            town.document("backup", "imari/juki", "--local")
        status = os.statvfs(folder)
        town.write("ballast", bytes(status.f_bavail * BLOCK))
        assert os.statvfs(folder).f_bavail == 0
        done = town.document("vault", "reclaim")["vaults"][0]
        assert [each["point"] for each in done["removed"]] == [f"imari/juki@{n}" for n in (1, 2, 3)]
        assert done["freed_bytes"] > 2_000_000
        town.write("source/scan", random.Random(9).randbytes(1_200_000))
        town.document("backup", "imari/juki", "--local")
        assert town.document("verify", "--full")["findings"] == []
        again = town.document("vault", "reclaim")["vaults"][0]
        assert [each["point"] for each in again["removed"]] == ["imari/juki@4"]
