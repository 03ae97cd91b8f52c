"""What is no catalog any more becomes an empty one; the vault fills it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from jbackupd.catalog.database import Catalog, discard
from jbackupd.model.errors import StorageError


@pytest.mark.parametrize("garbage", [b"\x93" * 9000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_file_that_is_no_database_is_made_anew(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "catalog" / "imari.sqlite"
    Catalog(str(path)).close()
    path.write_bytes(garbage)
    catalog = Catalog(str(path))
    assert (catalog.is_new, catalog.count()) == (True, (0, 0, 0))
    catalog.close()
    again = Catalog(str(path))
    assert not again.is_new
    again.close()


def test_what_is_discarded_need_not_be_there_and_takes_its_side_files_along(tmp_path: Path) -> None:
    path = tmp_path / "imari.sqlite"
    discard(str(path))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(b"old")
    discard(str(path))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "imari.sqlite").mkdir()
    with pytest.raises(StorageError, match="unable to use"):
        discard(str(tmp_path / "imari.sqlite"))
