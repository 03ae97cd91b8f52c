"""--in-place writes only what differs, and a name never stands for mixed bytes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from jbackupd.model.errors import DamageError
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.inplace import BLOCK_BYTES, IN_PLACE_BYTES_MIN
from jbackupd.restore.options import Conflict, RestoreOptions, RestoreResult
from jbackupd.restore.partial import in_place_name
from jbackupd.restore.place import restore
from tests.unit.restore.test_place import HASHES, MemoryPoint, file, folder, link, point, tree

FRAME_BYTES = 256 * 1024
IN_PLACE = RestoreOptions(conflict=Conflict.IN_PLACE, label="t/d@1")


class FramedPoint(MemoryPoint):
    """A point whose long files have frames that are named as in a vault; tells which were read."""

    def __init__(self, files: dict[bytes, bytes], lost: int | None = None) -> None:
        self.frames: dict[FrameId, bytes] = {}
        self.read_frames: list[FrameId] = []
        entries = [self._framed(path, data) for path, data in sorted(files.items())]
        self.lost = None if lost is None else list(self.frames)[lost]
        super().__init__(entries, {})

    def _framed(self, path: bytes, data: bytes) -> TreeEntry:
        extents = []
        for offset in range(0, len(data), FRAME_BYTES):
            piece = data[offset : offset + FRAME_BYTES]
            extents.append(Extent(HASHES.frame_id(piece), 0, len(piece)))
            self.frames[extents[-1].frame] = piece
        return file(path, data, extents=tuple(extents))

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        for extent in extents:
            if extent.frame == self.lost:
                raise DamageError("frame {frame} is damaged", frame=extent.frame.hex())
            self.read_frames.append(extent.frame)
            yield self.frames[extent.frame]


def long_file(seed: int = 1, frames: int = 8) -> bytes:
    return random.Random(seed).randbytes(frames * FRAME_BYTES - 1000)


def put(target: Path, name: str, data: bytes, when: int = 1) -> Path:
    target.mkdir(exist_ok=True)
    path = target / name
    path.write_bytes(data)
    os.utime(path, ns=(when, when))
    return path


def restored(made: MemoryPoint, target: Path, options: RestoreOptions = IN_PLACE) -> RestoreResult:
    return restore(made, str(target), options)


def test_of_a_long_file_only_frames_that_differ_are_read_and_only_their_blocks_written(tmp_path: Path) -> None:
    data = long_file()
    changed = bytearray(data)
    changed[5 * FRAME_BYTES + 7] ^= 1
    path = put(tmp_path / "out", "dump", bytes(changed))
    inode = path.stat().st_ino
    made = FramedPoint({b"dump": data})
    result = restored(made, tmp_path / "out")
    assert path.read_bytes() == data
    assert (result.files, result.bytes, result.bytes_written, result.exit_code) == (1, len(data), BLOCK_BYTES, 0)
    assert made.read_frames == [list(made.frames)[5]]
    status = path.stat()
    assert (status.st_ino, status.st_mode & 0o7777, status.st_mtime_ns) == (inode, 0o640, 1_700_000_000_123_456_789)


@pytest.mark.parametrize("length", [0, 5, IN_PLACE_BYTES_MIN, 3_000_000])
def test_a_long_file_that_has_another_length_becomes_right(tmp_path: Path, length: int) -> None:
    data = long_file()
    path = put(tmp_path / "out", "dump", (data + bytes(3_000_000))[:length])
    result = restored(FramedPoint({b"dump": data}), tmp_path / "out")
    assert path.read_bytes() == data
    assert (result.files, result.problems) == (1, [])


def test_what_is_right_is_not_written_and_gets_its_mode_and_times(tmp_path: Path) -> None:
    data = long_file()
    target = tmp_path / "out"
    inodes = [put(target, "dump", data).stat().st_ino, put(target, "small", b"1").stat().st_ino]
    (target / "l").symlink_to("at")
    os.utime(target / "l", ns=(1_650_000_000_000_000_000,) * 2, follow_symlinks=False)
    made = FramedPoint({b"dump": data})
    made._entries += [link(b"l", b"at"), file(b"small", b"1")]
    result = restored(made, target)
    assert (result.kept, result.files, result.bytes_written, result.symlinks) == (3, 0, 0, 0)
    assert made.read_frames == []
    found = [(target / name).stat() for name in ("dump", "small")]
    assert [status.st_ino for status in found] == inodes
    assert {(status.st_mode & 0o7777, status.st_mtime_ns) for status in found} == {(0o640, 1_700_000_000_123_456_789)}


def test_times_that_fit_deceive_nobody(tmp_path: Path) -> None:
    right = file(b"a", b"right")
    put(tmp_path / "out", "a", b"wrong", when=right.mtime_ns)
    assert restored(point(right), tmp_path / "out").files == 1
    assert tree(tmp_path / "out") == {b"a": b"right"}


def test_a_file_with_another_name_elsewhere_is_not_changed_through_it(tmp_path: Path) -> None:
    data = long_file()
    put(tmp_path / "out", "dump", bytes(len(data)))
    os.link(tmp_path / "out" / "dump", tmp_path / "elsewhere")
    restored(FramedPoint({b"dump": data}), tmp_path / "out")
    assert (tmp_path / "out" / "dump").read_bytes() == data
    assert (tmp_path / "elsewhere").read_bytes() == bytes(len(data))


def test_what_the_point_does_not_have_stays_and_a_folder_is_not_replaced(tmp_path: Path) -> None:
    put(tmp_path / "out", "mine", b"own")
    (tmp_path / "out" / "a").mkdir()
    result = restored(point(file(b"a", b"1"), folder(b"d"), file(b"d/x", b"2")), tmp_path / "out")
    assert tree(tmp_path / "out") == {b"mine": b"own", b"d/x": b"2"}
    assert [(problem.path, problem.error.exit_code) for problem in result.problems] == [(b"a", 5)]


def test_a_symlink_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "outside", b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dump").symlink_to(tmp_path / "outside")
    data = long_file()
    restored(FramedPoint({b"dump": data}), tmp_path / "out")
    assert tree(tmp_path / "out") == {b"dump": data}
    assert (tmp_path / "outside").read_bytes() == b"precious"


def test_damage_before_anything_was_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = put(tmp_path / "out", "dump", bytes(8 * FRAME_BYTES))
    result = restored(FramedPoint({b"dump": long_file()}, lost=0), tmp_path / "out")
    assert tree(tmp_path / "out") == {b"dump": bytes(8 * FRAME_BYTES)}
    assert (result.exit_code, path.stat().st_mtime_ns) == (4, 1)


def test_damage_in_the_middle_leaves_no_mixed_bytes_under_the_name_and_is_made_right_later(tmp_path: Path) -> None:
    data = long_file()
    put(tmp_path / "out", "dump", bytes(len(data)))
    assert restored(FramedPoint({b"dump": data}, lost=5), tmp_path / "out").exit_code == 4
    assert tree(tmp_path / "out").keys() == {in_place_name(b"dump")}
    made = FramedPoint({b"dump": data})
    result = restored(made, tmp_path / "out")
    assert tree(tmp_path / "out") == {b"dump": data}
    assert (result.problems, len(made.read_frames)) == ([], 3)


def test_a_file_that_came_there_after_a_kill_counts_not_the_left_over_one(tmp_path: Path) -> None:
    data = long_file()
    put(tmp_path / "out", os.fsdecode(in_place_name(b"dump")), bytes(len(data)))
    put(tmp_path / "out", "dump", data)
    result = restored(FramedPoint({b"dump": data}), tmp_path / "out")
    assert tree(tmp_path / "out") == {b"dump": data}
    assert result.kept == 1


def test_after_a_kill_between_the_last_block_and_the_name_nothing_is_read_again(tmp_path: Path) -> None:
    data = long_file()
    put(tmp_path / "out", os.fsdecode(in_place_name(b"dump")), data)
    made = FramedPoint({b"dump": data})
    result = restored(made, tmp_path / "out")
    assert tree(tmp_path / "out") == {b"dump": data}
    assert (made.read_frames, result.bytes_written, result.problems) == ([], 0, [])


def test_an_entry_with_mode_zero_is_changed_in_place_by_who_owns_it(tmp_path: Path) -> None:
    data = long_file()
    path = put(tmp_path / "out", "dump", bytes(len(data)))
    path.chmod(0)
    assert restored(FramedPoint({b"dump": data}), tmp_path / "out").exit_code == 0
    path.chmod(0o600)
    assert path.read_bytes() == data


def test_entries_of_other_sorts_are_as_with_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "out"
    put(target, "l", b"a file")
    made = point(TreeEntry(b"l", EntryType.SYMLINK, 0o777, os.getuid(), os.getgid(), 5, target=b"x"))
    assert restored(made, target).symlinks == 1
    assert tree(target) == {b"l": b"x"}
