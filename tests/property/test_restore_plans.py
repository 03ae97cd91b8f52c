"""Any tree comes back the same, whatever is planned at once, kept at hand, or lies in the target already."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.model.errors import DamageError
from jbackupd.restore import place
from jbackupd.restore.options import Conflict, RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.vault import reader, reading
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.vault import OpenPoint
from tests.support.onesite import MemorySource, Site

NAMES = [b"a", b"b", b"d/a", b"d/b", b"d/e/a", b"\xff\xfe"]
SIZES = [0, 1, 70_000, 1_300_000]


def content(seed: int, size: int, edits: int) -> bytes:
    """Return bytes that are the same for the same numbers, and nearly the same for other edits."""
    data = bytearray(random.Random(seed).randbytes(size))
    chance = random.Random(seed * 100 + edits)
    for _ in range(edits if size else 0):
        at = chance.randrange(size)
        data[at] ^= 1 + chance.randrange(255)
    return bytes(data)


CONTENTS = st.builds(content, st.integers(0, 2), st.sampled_from(SIZES), st.integers(0, 3))
TREES = st.dictionaries(st.sampled_from(NAMES), CONTENTS, max_size=4)


@contextmanager
def taken(days: list[dict[bytes, bytes]]) -> Iterator[tuple[Site, Path]]:
    """Give a site with a point of each day, and a folder."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder) / "site")
        for number, files in enumerate(days):
            site.backup(MemorySource(files, times=dict.fromkeys(files, 10**18 + number)))
        yield site, Path(folder)
        site.catalog.close()


def found(target: Path) -> dict[bytes, bytes]:
    top = os.fsencode(target)
    return {
        os.path.relpath(os.path.join(at, name), top): Path(os.fsdecode(os.path.join(at, name))).read_bytes()
        for at, _folders, names in os.walk(top) for name in names
    }


@settings(max_examples=12)
@given(
    days=st.lists(TREES, min_size=1, max_size=3), step=st.sampled_from([1, 3, 128]),
    cache_bytes=st.sampled_from([1, 5_000_000, 64_000_000]), batch=st.sampled_from([1, 2, 200]),
    ahead=st.sampled_from([0, 1 << 20, 1 << 24]),
)
def test_any_tree_comes_back_whatever_the_plan(
    days: list[dict[bytes, bytes]], step: int, cache_bytes: int, batch: int, ahead: int
) -> None:
    with (
        taken(days) as (site, folder), mock.patch.object(reading, "STEP_EXTENTS", step),
        mock.patch.object(place, "BATCH_FILES", batch), mock.patch.object(reader, "AHEAD_BYTES", ahead),
    ):
        vault = site.vault
        own = FrameReader(vault.store, vault.catalog, vault.keys, tenant=vault.tenant, cache_bytes=cache_bytes)
        point = site.open_point()
        result = restore(OpenPoint(point.stored, point.body, own, point.content_hash), str(folder / "out"))
        own.close()
        assert (result.problems, result.files) == ([], len(days[-1]))
        assert found(folder / "out") == days[-1]
        assert (own.planned_frames, own.ahead_bytes) == (0, 0)


class _Stopping(OpenPoint):
    """A point that cannot be read any more after some pieces, as if the process had ended there."""

    def __init__(self, point: OpenPoint, pieces: int) -> None:
        super().__init__(point.stored, point.body, point._reader, point.content_hash)
        self.pieces = pieces

    def expect(self, extents):  # type: ignore[no-untyped-def]
        planned, content_of = super().expect(extents), super().expect

        class Reading:
            close, __enter__, __exit__ = planned.close, planned.__enter__, planned.__exit__

            @staticmethod
            def read(wanted):  # type: ignore[no-untyped-def]
                for piece in content_of(wanted).read(wanted):
                    self.pieces -= 1
                    if self.pieces < 0:
                        raise DamageError("the process ended here")
                    yield piece

        return Reading()


@settings(max_examples=12)
@given(before=TREES, after=TREES, stop_after=st.integers(0, 5))
def test_any_folder_becomes_what_the_point_has_in_place_and_again_after_a_stop_anywhere(
    before: dict[bytes, bytes], after: dict[bytes, bytes], stop_after: int
) -> None:
    with taken([before, after]) as (site, folder):
        target = folder / "out"
        first: RestoreResult = restore(site.open_point(1), str(target))
        assert first.exit_code == 0
        options = RestoreOptions(conflict=Conflict.IN_PLACE)
        restore(_Stopping(site.open_point(2), stop_after), str(target), options)
        for name, data in found(target).items():
            right = {files[name] for files in (before, after) if name in files}
            assert data in right or name.rpartition(b"/")[2].startswith(b".jb-"), "wrong bytes under a right name"
        result = restore(site.open_point(2), str(target), options)
        assert [str(problem.error) for problem in result.problems] == []
        assert found(target) == before | after
        again = restore(site.open_point(2), str(target), options)
        assert (again.kept, again.bytes_written) == (len(after), 0)
