"""Content is encoded against what it resembles, wherever that was: renamed, rotated, moved, in another dataset."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from onesite import DATASET, TENANT, MemorySource, Site

from jbackupd.catalog.versions import VersionTable
from jbackupd.engine.closure import Closures
from jbackupd.model.ids import DatasetId
from jbackupd.model.records import Extent
from jbackupd.policy.skip import DEPTH_MAX


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def rows(count: int, seed: int = 1, changed: int = 0) -> bytes:
    source, changes = random.Random(seed), random.Random(changed)
    lines = [b"%06d\t%032x\t%s\n" % (i, source.getrandbits(128), b"Saga " * 8) for i in range(count)]
    for i in changes.sample(range(count), count // 100) if changed else ():
        lines[i] = lines[i].replace(b"Saga", b"Imari", 1)
    return b"".join(lines)


def new_bytes(site: Site, files: dict[bytes, bytes], dataset: DatasetId = DATASET) -> int:
    times = {path: hash(data) & 0xFFFF_FFFF for path, data in files.items()}
    return site.backup(MemorySource(files, times=times), dataset).new_object_bytes


def test_a_dump_that_bears_the_day_in_its_name_costs_its_changes(site: Site) -> None:
    first = new_bytes(site, {b"dump-1.sql": rows(40_000)})
    for day in (2, 3, 4):
        dump = {b"dump-%d.sql" % day: rows(40_000, changed=day)}
        assert new_bytes(site, dump) < first / 20
        assert site.content(day) == dump


def test_no_chain_is_deeper_than_allowed_however_long_names_rotate(site: Site) -> None:
    for day in range(1, DEPTH_MAX + 6):
        new_bytes(site, {b"dump-%d.sql" % day: rows(15_000, changed=day), b"note-%d" % day: rows(300, changed=day)})
    closures = Closures(site.vault.catalog)
    with site.vault.catalog.reading() as connection:
        frames = [frame for (frame,) in connection.execute("SELECT frame FROM frames")]
    depths = [closures.of(Extent(frame, 0, 1)).depth for frame in frames]
    assert 3 < max(depths) <= DEPTH_MAX
    assert site.content(DEPTH_MAX + 5)[b"dump-%d.sql" % (DEPTH_MAX + 5)] == rows(15_000, changed=DEPTH_MAX + 5)


def test_a_long_file_that_was_renamed_and_edited_is_found(site: Site) -> None:
    first = new_bytes(site, {b"2025/residents.csv": rows(40_000)})
    assert new_bytes(site, {b"2026/juumin.csv": rows(40_000, changed=3)}) < first / 20


def test_parts_of_several_files_are_found_in_one(site: Site) -> None:
    one, other = rows(30_000, seed=1), rows(30_000, seed=2)
    first = new_bytes(site, {b"one": one, b"other": other})
    joined = {b"both": rows(30_000, seed=2, changed=3)[500_000:] + rows(30_000, seed=1, changed=3)[:1_500_000]}
    assert new_bytes(site, joined) < first / 4
    assert site.content(2) == joined


def test_a_folder_of_small_files_that_was_renamed_and_edited_costs_its_edits(site: Site) -> None:
    def tree(folder: bytes, changed: int) -> dict[bytes, bytes]:
        return {b"%s/%03d.py" % (folder, i): rows(200, seed=i, changed=changed) for i in range(60)}

    first = new_bytes(site, tree(b"app-1.2", 0))
    upgraded = tree(b"app-1.3", 7)
    assert new_bytes(site, upgraded) < first / 8
    assert site.content(2) == upgraded


def test_another_dataset_of_the_tenant_is_a_base_too(site: Site) -> None:
    first = new_bytes(site, {b"dump": rows(40_000)})
    copy = {b"export/copy": rows(40_000, changed=4)}
    zei = DatasetId(TENANT, "zei")
    assert new_bytes(site, copy, zei) < first / 20
    assert site.content(dataset=zei) == copy


def test_what_resembles_nothing_is_stored_as_it_is(site: Site) -> None:
    new_bytes(site, {b"dump": rows(20_000)})
    strange = {b"noise": random.Random(9).randbytes(2_000_000), b"small": random.Random(8).randbytes(5_000)}
    result = site.backup(MemorySource(strange))
    assert site.content(2) == strange
    assert result.new_object_bytes < 2_150_000


def test_an_unchanged_long_file_is_one_version_over_many_points(site: Site) -> None:
    source = MemorySource({b"dump": rows(20_000)}, times={b"dump": 5})
    for _ in range(4):
        site.backup(source)
    version = VersionTable(site.vault.catalog).find(str(DATASET), b"dump", 4)
    assert version is not None
    assert (version.since, version.until) == (1, 4)
    changed = MemorySource({b"dump": rows(20_000, changed=2)}, times={b"dump": 6})
    assert site.backup(changed).new_object_bytes < 60_000
