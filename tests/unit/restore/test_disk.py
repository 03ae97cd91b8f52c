"""A disk with an overlay is the file as it was written last; what was flushed is there whatever happens."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.model.errors import BusyError, DamageError, FormatError, RefusedError, StorageError
from jbackupd.model.records import Extent
from jbackupd.restore.disk import BLOCK_BYTES, OverlayDisk, PointDisk
from jbackupd.restore.fileview import Extents, FileView

SIZE = 9 * BLOCK_BYTES + 1000
CONTENT = random.Random(1).randbytes(SIZE)
DIGEST = b"d" * 32


def file(content: bytes = CONTENT) -> FileView:
    """A file of one extent."""

    def read(extents: Iterable[Extent]) -> Iterator[bytes]:
        return (content[one.offset : one.offset + one.length] for one in extents)

    return FileView(read, Extents([(b"f" * 16, 0, len(content))] if content else []))


def overlay(folder: Path | str, content: bytes = CONTENT, digest: bytes = DIGEST) -> OverlayDisk:
    return OverlayDisk(file(content), str(folder), digest=digest)


SPANS = st.tuples(st.integers(0, SIZE), st.integers(0, 4 * BLOCK_BYTES))
DEEDS = st.lists(st.tuples(st.sampled_from(["write", "zero", "read", "flush", "reopen"]), SPANS), max_size=25)


@given(deeds=DEEDS)
@settings(deadline=None, max_examples=60)
def test_a_disk_is_what_was_written_last(deeds: list[tuple[str, tuple[int, int]]]) -> None:
    with TemporaryDirectory() as folder:
        expected, disk = bytearray(CONTENT), overlay(folder)
        for number, (deed, (offset, length)) in enumerate(deeds):
            length = min(length, SIZE - offset)
            data = random.Random(number).randbytes(length)
            if deed == "write":
                disk.write(offset, data)
                expected[offset : offset + length] = data
            elif deed == "zero":
                disk.zero(offset, length)
                expected[offset : offset + length] = bytes(length)
            elif deed == "flush":
                disk.flush()
            elif deed == "reopen":
                disk.flush()
                disk.close()
                disk = overlay(folder)
            assert disk.read(offset, length) == expected[offset : offset + length]
        assert disk.read(0, SIZE) == expected
        disk.close()


def test_what_was_not_flushed_is_wholly_old_or_wholly_new(tmp_path: Path) -> None:
    """A bit reaches the map only after its data: a disk that is opened again without a flush shows the point."""
    disk = overlay(tmp_path / "o")
    disk.write(100, b"a" * 5000)
    disk.flush()
    disk.write(4 * BLOCK_BYTES + 10, b"b" * 100)
    disk.close()
    with closing(overlay(tmp_path / "o")) as again:
        assert again.read(100, 5000) == b"a" * 5000
        assert again.read(4 * BLOCK_BYTES, BLOCK_BYTES) == CONTENT[4 * BLOCK_BYTES : 5 * BLOCK_BYTES]


def test_a_sync_that_failed_is_final_and_leaves_the_map_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = overlay(tmp_path / "o")
    disk.write(0, b"first")
    disk.flush()
    before = (tmp_path / "o" / "map").read_bytes()
    disk.write(8 * BLOCK_BYTES, b"second")

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        with pytest.raises(StorageError, match="Input/output error"):
            disk.flush()
    with pytest.raises(StorageError, match="failed before"):
        disk.flush()
    with pytest.raises(StorageError, match="failed before"):
        disk.write(0, b"third")
    assert (tmp_path / "o" / "map").read_bytes() == before
    disk.close()


def test_an_overlay_is_of_one_content_and_of_one_user(tmp_path: Path) -> None:
    with closing(overlay(tmp_path / "o")) as disk:
        disk.write(0, b"x")
        with pytest.raises(BusyError):
            overlay(tmp_path / "o")
    with pytest.raises(RefusedError, match="other content"):
        overlay(tmp_path / "o", digest=b"e" * 32)
    with pytest.raises(RefusedError, match="other content"):
        overlay(tmp_path / "o", CONTENT + b"x")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "letter").write_text("dear")
    with pytest.raises(RefusedError, match="something else"):
        overlay(tmp_path / "p")


@pytest.mark.parametrize("at", [0, 9, 20, 60])
def test_a_damaged_map_is_said(tmp_path: Path, at: int) -> None:
    overlay(tmp_path / "o").close()
    data = bytearray((tmp_path / "o" / "map").read_bytes())
    data[at] ^= 1
    (tmp_path / "o" / "map").write_bytes(data)
    with pytest.raises(FormatError, match="is damaged"):
        overlay(tmp_path / "o")


def test_an_overlay_that_was_never_synced_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "map").write_bytes(bytes(8192))
    with closing(overlay(tmp_path / "o")) as disk:
        assert disk.read(0, SIZE) == CONTENT


def test_writers_of_one_block_lose_nothing(tmp_path: Path) -> None:
    """Eight writers of eight pieces of each block: the first one of a block brings the rest of it, once."""
    begun = threading.Barrier(8)
    with closing(overlay(tmp_path / "o", bytes(8 * BLOCK_BYTES))) as disk:

        def write(part: int) -> None:
            begun.wait()
            for block in range(8):
                disk.write(block * BLOCK_BYTES + part * 512, bytes([65 + part]) * 512)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
        assert disk.read(0, disk.size) == b"".join(bytes([65 + part]) * 512 for part in range(8)) * 8


def test_whole_blocks_of_zeros_take_no_room(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    with closing(overlay(tmp_path / "o", b"\xff" * size)) as disk:
        disk.write(0, b"w" * size)
        disk.flush()
        disk.zero(1, size - 2)
        disk.flush()
        assert disk.read(0, size) == b"w" + bytes(size - 2) + b"w"
        assert os.stat(tmp_path / "o" / "data").st_blocks * 512 <= 64 * 1024
        assert disk.written_bytes == size


def test_a_block_that_cannot_be_completed_is_not_changed(tmp_path: Path) -> None:
    def read(extents: Iterable[Extent]) -> Iterator[bytes]:
        raise DamageError("frame 7 is damaged")

    base = FileView(read, Extents([(b"f" * 16, 0, SIZE)]))
    with closing(OverlayDisk(base, str(tmp_path / "o"), digest=DIGEST)) as disk:
        with pytest.raises(DamageError):
            disk.write(10, b"x")
        disk.write(0, b"y" * BLOCK_BYTES)
        assert disk.read(0, BLOCK_BYTES) == b"y" * BLOCK_BYTES
        with pytest.raises(DamageError):
            disk.read(BLOCK_BYTES, 1)


def test_a_point_takes_no_writes() -> None:
    disk = PointDisk(file())
    assert disk.read(5, 10) == CONTENT[5:15]
    for deed in (lambda: disk.write(0, b"x"), lambda: disk.zero(0, 1)):
        with pytest.raises(RefusedError):
            deed()
    disk.flush()
