"""What is no catalog any more becomes an empty one; the vault fills it again, however much it holds."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from jbackupd.catalog.database import Catalog, discard
from jbackupd.format.index import IndexedPack
from jbackupd.format.pack import ChunkRecord, FrameRecord
from jbackupd.model.errors import NoSpaceError, StorageError
from jbackupd.model.ids import ChunkId, FrameId, ObjectName
from jbackupd.model.records import Encoding


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


def packs_of(numbers: range) -> list[IndexedPack]:
    """Return packs of two frames with 300 chunks each; the frames' chunks share some with the next pack's."""
    found = []
    for number in numbers:
        frames = tuple(
            FrameRecord(
                FrameId(sha256(b"f%d %d" % (number, slot)).digest()[:16]), 72 + slot, 50, 3000, Encoding.ZSTD, (),
                tuple(ChunkRecord(ChunkId(sha256(b"%d %d" % (number * 500 + i, slot)).digest()[:16]), 10)
                      for i in range(300)),
            )
            for slot in range(2)
        )
        found.append(IndexedPack(ObjectName(number.to_bytes(32, "big")), 1000, b"s" * 16, frames))
    return found


@pytest.mark.parametrize("held", [32, 1 << 20])
def test_filled_at_once_or_pack_by_pack_a_catalog_says_the_same(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr("jbackupd.catalog.sorting.HELD_BYTES", held)
    packs = packs_of(range(6))
    chunks = [chunk.id for pack in packs for frame in pack.frames for chunk in frame.chunks]
    one, other = Catalog(":memory:"), Catalog(":memory:")
    for pack in packs:
        one.add_packs([pack])
    other.fill(iter(packs))
    assert one.count() == other.count() == (6, 12, 3600)
    assert one.find_chunks(chunks) == other.find_chunks(chunks)
    assert len(one.find_chunks(chunks)) == 3600
    with other.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # Again, and with packs that it does not know yet: harmless.
    other.fill(packs_of(range(7)))
    assert other.count()[0] == 7
    one.close()
    other.close()


def test_a_filling_that_fails_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "imari.sqlite"))
    catalog.add_packs(packs_of(range(1)))

    def failing() -> Iterator[IndexedPack]:
        yield from packs_of(range(1, 4))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpaceError, match="the disk is full"):
        catalog.fill(failing())
    assert catalog.count() == (1, 2, 600)
    catalog.close()
    assert [path.name for path in tmp_path.iterdir()] == ["imari.sqlite"]
