"""A really full file system: exit 9, the vault stays whole, and with space again the next run succeeds."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import subprocess
from collections.abc import Iterator

import pytest

from jbackupd.catalog.database import Catalog
from jbackupd.model.errors import NoSpaceError
from jbackupd.storage.files import PosixFiles
from tests.crash.local_backup import Acknowledged, Town, check_points, init
from tests.support.onesite import MemorySource

BLOCK = 4096


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: int) -> Iterator[pathlib.Path]:
    """Mount a small file system."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as the disk of a visitor who is not root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def open_town(folder: pathlib.Path) -> Town:
    return Town(PosixFiles(str(folder)), Catalog(str(folder / "catalog/imari.sqlite")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_disk_that_fills_up_at_any_place_stays_whole(tmp_path: pathlib.Path) -> None:
    with small_disk(tmp_path, 2 * 1024 * 1024) as folder:
        init(PosixFiles(str(folder)))
        first = open_town(folder).backup()
        facts = [Acknowledged(first.header.sequence, first.name)]
        ballast = folder / "ballast"
        failed = 0
        for blocks in range(26):
            status = os.statvfs(folder)
            ballast.write_bytes(bytes(max(0, status.f_bavail - blocks) * BLOCK))
            try:
                result = open_town(folder).backup()
                facts.append(Acknowledged(result.header.sequence, result.name))
            except NoSpaceError as error:
                assert error.exit_code == 9
                failed += 1
            ballast.unlink()
            check_points(open_town(folder).vault, facts)
        assert 5 < failed < 26
        open_town(folder).backup()


def test_a_source_larger_than_the_disk_ends_with_no_space_and_earlier_points_stay(tmp_path: pathlib.Path) -> None:
    init(PosixFiles(str(tmp_path)))
    town = open_town(tmp_path)
    first = town.backup()
    with small_files(256 * 1024), pytest.raises(NoSpaceError):
        town.backup(MemorySource({b"large": os.urandom(2**20)}))
    facts = [Acknowledged(first.header.sequence, first.name)]
    check_points(town.vault, facts)
    town.backup()
    check_points(open_town(tmp_path).vault, facts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_catalog_that_cannot_be_opened_for_want_of_room_says_so(tmp_path: pathlib.Path) -> None:
    with small_disk(tmp_path, 1024 * 1024) as folder:
        path = str(folder / "catalog/imari.sqlite")
        Catalog(path).close()
        status = os.statvfs(folder)
        (folder / "ballast").write_bytes(bytes(status.f_bavail * BLOCK))
        with pytest.raises(NoSpaceError):
            Catalog(path)
