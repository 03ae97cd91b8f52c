"""A point made beside an earlier one is the point that would be made without it, and only what changed is read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jbackupd.engine.earlier
import jbackupd.engine.taking
from jbackupd.model.ids import ObjectKind
from jbackupd.model.records import EntryType
from tests.support.onesite import MemorySource, Site

NAMES = st.sampled_from([b"a", b"a!", b"b", b"c", b"~"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
CONTENTS = st.integers(0, 3).map(lambda n: b"%d" % n * 700 * n)


@st.composite
def days(draw: st.DrawFn) -> list[dict[bytes, bytes]]:
    """Files by path on successive days: some added, some gone, some changed."""
    found: list[dict[bytes, bytes]] = []
    for _ in range(draw(st.integers(2, 3))):
        files = dict(found[-1]) if found else draw(st.dictionaries(PATHS, CONTENTS, max_size=12))
        for path in draw(st.lists(st.sampled_from(sorted(files)), max_size=2)) if files and found else ():
            files.pop(path, None)
        files |= draw(st.dictionaries(PATHS, CONTENTS, max_size=2))
        # A path is a file or a folder, not both.
        found.append({p: c for p, c in files.items() if not any(other.startswith(p + b"/") for other in files)})
    return found


@pytest.fixture(params=[1, 3], ids="in batches of {}".format)
def small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jbackupd.engine.earlier, "BATCH", request.param)
    monkeypatch.setattr(jbackupd.engine.taking, "RUN_MAX", request.param)
    monkeypatch.setattr(jbackupd.engine.taking, "RECORDS_BYTES", 100 * request.param)
    monkeypatch.setattr(jbackupd.engine.taking, "WAITING_BYTES_MAX", 200 * request.param)


@pytest.mark.usefixtures("small_batches")
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days())
def test_days_of_changes(found: list[dict[bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site, times = Site(Path(folder)), dict[bytes, int]()
        before: dict[bytes, bytes] = {}
        for day, files in enumerate(found):
            changed = {path for path, content in files.items() if before.get(path) != content}
            times |= dict.fromkeys(changed, 10**18 + day)
            source = MemorySource(files, times=dict(times))
            result = site.backup(source)
            assert set(source.opened) == changed
            assert site.content() == files
            entries = list(site.open_point().entries())
            items = [item for item in source.items() if not hasattr(item, "reason")]
            assert [(e.path, e.type, e.mode, e.mtime_ns, e.ctime_ns, e.inode, e.size) for e in entries] == [
                (i.path, i.type, i.mode, i.mtime_ns, i.ctime_ns, i.inode, i.size) for i in items
            ]
            assert result.statistics.files == len(files)
            assert result.statistics.folders == sum(item.type is EntryType.FOLDER for item in items)
            assert result.statistics.source_bytes == sum(map(len, files.values()))
            if day and files == before:
                assert result.statistics.new_frames == 0
            before = files
        site.catalog.close()


def test_nothing_new_makes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    source = MemorySource({b"a/b": b"b" * 3000, b"large": bytes(2_000_000)})
    first = site.backup(source)
    for _ in range(3):
        again = site.backup(source)
        assert again.statistics.new_frames == 0
        assert {ref.kind for ref in again.header.added} == {ObjectKind.KEY}
        assert site.open_point().body.tree == site.open_point(first.header.sequence).body.tree
    assert site.backup(MemorySource({**source.files, b"c": b"new"})).statistics.new_frames == 2  # a file's, the tree's


def test_what_the_vault_has_lost_is_read_again_among_what_it_has(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.backup(MemorySource({b"a": b"a" * 3000}))
    site.backup(MemorySource({b"a": b"a" * 3000, b"b": b"b" * 3000}))
    (lost,) = {extent.frame for entry in site.open_point().entries() if entry.path == b"b" for extent in entry.extents}
    site.catalog.forget_packs([site.catalog.find_frames([lost])[lost].pack])
    again = MemorySource({b"a": b"a" * 3000, b"b": b"b" * 3000})
    site.backup(again)
    assert again.opened == [b"b"]
