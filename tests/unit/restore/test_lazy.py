"""A file that is not complete: cuts, holes, crashes at the worst moment, and what is told when its point is damaged."""

from __future__ import annotations

import errno
import os

import pytest
from overlays import SIZES, Rig

from jbackupd.model.errors import BusyError, RefusedError
from jbackupd.restore import lazyfiles
from jbackupd.restore.filling import Fill, FillOrder
from jbackupd.restore.lazy import BLOCK_BYTES, runs
from jbackupd.restore.lazyjournal import LazyJournal
from jbackupd.restore.overlay import Overlay, is_whole, make_overlay

LONG = b"file4"


@pytest.fixture
def rig(tmp_path) -> Rig:
    """Return an overlay in which nothing is at hand yet."""
    return Rig(str(tmp_path / "upper"))


def test_what_was_cut_off_and_has_grown_again_is_zeros_after_a_crash(rig):
    rig.overlay.truncate(LONG, 10)
    rig.model[LONG] = rig.model[LONG][:10]
    rig.write(LONG, 5 * BLOCK_BYTES, b"far", sync=True)
    rig.crash()
    rig.check()


def test_a_cut_that_was_killed_before_its_note_is_a_cut(rig, monkeypatch):
    def killed(self, number, length):
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyJournal, "note_limit", killed)
    with pytest.raises(KeyboardInterrupt):
        rig.overlay.truncate(LONG, 10)
    monkeypatch.undo()
    rig.crash()
    rig.model[LONG] = rig.model[LONG][:10]
    rig.check()
    rig.write(LONG, 5 * BLOCK_BYTES, b"far", sync=True)
    rig.check()


def test_what_was_at_hand_beyond_a_cut_does_not_count_for_what_is_left(rig):
    for block in (0, 4, 5):
        rig.write(LONG, block * BLOCK_BYTES, b"w" * BLOCK_BYTES, sync=True)
    rig.overlay.truncate(LONG, 3 * BLOCK_BYTES)
    rig.model[LONG] = rig.model[LONG][: 3 * BLOCK_BYTES]
    rig.crash()
    rig.check()


def test_a_replaced_or_removed_file_gives_its_room_back(rig):
    rig.overlay.rename(b"file3", LONG)
    rig.overlay.unlink(b"file0")
    left = {name.split(".")[0] for name in os.listdir(os.path.join(rig.folder, "lazy"))}
    assert left == {"1", "2"}


def test_a_removed_file_that_is_open_is_read_on(rig):
    handle = rig.overlay.open(LONG, os.O_RDWR)
    rig.overlay.unlink(LONG)
    rig.overlay.rename(b"file0", LONG)
    assert rig.overlay.read(handle, BLOCK_BYTES, 100) == rig.model[LONG][BLOCK_BYTES : BLOCK_BYTES + 100]
    rig.overlay.release(handle)
    rig.model[LONG] = rig.model.pop(b"file0")
    rig.check()


def test_a_write_of_a_whole_block_needs_nothing_of_the_point(rig):
    rig.point.damaged = set(range(len(SIZES)))
    rig.write(LONG, BLOCK_BYTES, b"w" * BLOCK_BYTES, sync=True)
    handle = rig.overlay.open(LONG, os.O_RDWR)
    with pytest.raises(OSError) as failed:
        rig.overlay.write(handle, 3, b"part of a block")
    assert failed.value.errno == errno.EIO
    assert rig.overlay.read(handle, BLOCK_BYTES, 5) == b"wwwww"
    rig.overlay.release(handle)


def test_a_failed_sync_is_never_followed_by_one_that_says_yes(rig, monkeypatch):
    handle = rig.overlay.open(LONG, os.O_RDWR)
    rig.overlay.write(handle, 0, b"w" * BLOCK_BYTES)
    real = os.fsync

    def failing(descriptor):
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError):
        rig.overlay.sync(handle)
    monkeypatch.setattr(os, "fsync", real)
    with pytest.raises(OSError):
        rig.overlay.sync(handle)


def test_modes_owners_and_times_are_the_points_and_stay_when_contents_come(rig):
    before = rig.overlay.look(LONG)
    assert (before.st_mode & 0o7777, before.st_mtime_ns, before.st_size) == (0o600, 4, SIZES[4])
    assert rig.content(LONG) == rig.model[LONG]
    assert rig.overlay.look(LONG).st_mtime_ns == 4


def test_a_damaged_file_leaves_the_rest_to_be_filled(rig):
    rig.point.damaged = {0}
    rig.overlay.close()
    ended = []
    fill = Fill(rig.point, ended.append)
    rig.overlay = Overlay(rig.folder, fill, fill.touched)
    fill.start(rig.overlay.lazy)
    assert fill.wait(60)
    assert set(fill.result.problems) == {0}
    assert fill.result.missing_bytes == 4 * BLOCK_BYTES
    assert len(ended) == 1
    rig.overlay.close()
    assert not is_whole(rig.folder)


def test_a_folder_is_of_one_point_and_of_one_process(rig, monkeypatch):
    monkeypatch.setattr(lazyfiles, "WAIT_SECONDS", 0.0)
    with pytest.raises(BusyError):
        Overlay(rig.folder, rig.point)
    rig.overlay.close()
    with pytest.raises(RefusedError, match="imari/db@1"):
        make_overlay(rig.folder, "imari/db@2", rig.point.entries)


def test_an_overlay_that_was_not_finished_is_made_anew(rig):
    rig.overlay.close()
    os.truncate(os.path.join(rig.folder, "journal"), 0)
    os.unlink(os.path.join(rig.folder, "tree", "file1"))
    make_overlay(rig.folder, "imari/db@1", rig.point.entries)
    rig.overlay = Overlay(rig.folder, rig.point)
    rig.check()


def test_what_is_used_is_filled_first_and_nothing_is_left_out():
    order = FillOrder([1, 2, 3])
    assert order.next() == (1, 0)
    order.done(1, 0, 16)
    order.touch(3, 40)
    assert order.next() == (3, 40)
    order.done(3, 40, None)
    assert order.next() == (3, 0), "what lies before the place that was touched"
    order.done(3, 0, None)
    assert order.next() == (1, 16)
    order.touch(9, 0)
    order.done(1, 16, None)
    order.done(2, 0, None)
    assert order.next() is None


def test_runs_of_blocks():
    assert runs({5, 1, 2, 9, 3}) == [(1, 4), (5, 6), (9, 10)]
