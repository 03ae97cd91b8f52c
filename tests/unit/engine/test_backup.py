"""A backup run: every point gives back what was taken, and a day's change costs little."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from onesite import DATASET, TENANT, MemorySource, Site

from jbackupd.engine.verify import VerifyReport, verify_content, verify_objects
from jbackupd.model.errors import DamageError, KeyMissingError, NotFoundError, TryLaterError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector
from jbackupd.model.records import EntryType
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.vault import Vault


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def rows(count: int, seed: int = 1, changed: int = 0) -> bytes:
    source, changes = random.Random(seed), random.Random(changed)
    lines = [b"%06d\t%032x\t%s\n" % (i, source.getrandbits(128), b"Saga " * 8) for i in range(count)]
    for i in changes.sample(range(count), count // 100) if changed else ():
        lines[i] = lines[i].replace(b"Saga", b"Imari", 1)
    return b"".join(lines)


def test_a_point_gives_back_what_was_taken(site: Site) -> None:
    files = {b"a/empty": b"", b"a/small": b"hello", b"b": os.urandom(3_000_000), b"c/d/e": rows(40_000)}
    result = site.backup(MemorySource(files))
    assert result.header.sequence == 1
    assert result.statistics.files == 4
    assert result.statistics.folders == 3
    assert result.statistics.source_bytes == sum(map(len, files.values()))
    assert site.content() == files


def test_names_that_are_no_text_come_back(site: Site) -> None:
    files = {"住民台帳.csv".encode("cp932"): b"x", b"\xff\xfe\x01": b"y", "税/令和.txt".encode(): b"z"}
    site.backup(MemorySource(files))
    assert site.content() == files


def test_a_day_of_changed_rows_costs_a_fiftieth_of_the_compressed_copy(site: Site) -> None:
    first = site.backup(MemorySource({b"dump.sql": rows(60_000)}))
    later = rows(60_000, changed=5)
    second = site.backup(MemorySource({b"dump.sql": later}, times={b"dump.sql": 2 * 10**18}))
    assert second.statistics.delta_frames > 0
    assert second.new_object_bytes < first.new_object_bytes / 20
    assert site.content(2) == {b"dump.sql": later}


def test_forty_days_stay_readable_within_the_budget(site: Site) -> None:
    contents = []
    for day in range(40):
        contents.append(rows(4_000, changed=day + 1) + b"small tail %d" % day)
        site.backup(MemorySource({b"dump": contents[-1] * 2, b"note": contents[-1][:20_000]}, times={
            b"dump": day + 1, b"note": day + 1,
        }))
    for day in (0, 1, 15, 16, 38, 39):
        assert site.content(day + 1) == {b"dump": contents[day] * 2, b"note": contents[day][:20_000]}


def test_an_unchanged_file_is_not_read_again(site: Site) -> None:
    source = MemorySource({b"a": b"one", b"b": rows(30_000)}, times={b"a": 5, b"b": 6})
    site.backup(source)
    source.opened.clear()
    second = site.backup(source)
    assert source.opened == []
    assert second.statistics.new_frames <= 1
    assert second.new_object_bytes < 10_000
    assert site.content(2) == source.files


def test_a_file_touched_while_the_run_began_is_read_again(site: Site) -> None:
    moment = int((site.clock.now().timestamp() + 86_400) * 1e9)
    source = MemorySource({b"a": b"one"}, times={b"a": moment})
    site.backup(source)
    source.opened.clear()
    site.backup(source)
    assert source.opened == [b"a"]


def test_a_file_that_changed_while_it_was_read_is_read_again(site: Site) -> None:
    source = MemorySource({b"a": b"one", b"b": b"two"}, times={b"a": 5, b"b": 5}, changing={b"a"})
    result = site.backup(source)
    # It is in the point, and the point is complete; that it changed is counted and stands in its entry.
    assert (result.statistics.changed_files, result.header.incomplete) == (1, False)
    assert [(entry.path, entry.ctime_ns == 0) for entry in site.open_point().entries()] == [(b"a", True), (b"b", False)]
    source.opened.clear()
    source.changing.clear()
    assert site.backup(source).statistics.changed_files == 0
    assert source.opened == [b"a"]


def test_an_unreadable_file_makes_the_point_incomplete_and_is_named(site: Site) -> None:
    source = MemorySource({b"a": b"one", b"bad": b"half", b"c": b"three"}, failing={b"bad"})
    result = site.backup(source)
    assert result.header.incomplete
    assert [(u.path, u.reason) for u in result.statistics.unreadable] == [(b"bad", "input/output error")]
    assert site.content() == {b"a": b"one", b"c": b"three"}
    assert site.open_point().body.statistics.unreadable == result.statistics.unreadable


def test_equal_content_is_stored_once(site: Site) -> None:
    block = os.urandom(5_000_000)
    result = site.backup(MemorySource({b"a": block, b"b/copy": block, b"c": b"x" + block}))
    assert result.new_object_bytes < 5_700_000
    assert site.content()[b"c"] == b"x" + block


def test_a_stopped_run_makes_no_point(site: Site) -> None:
    with pytest.raises(TryLaterError):
        site.backup(MemorySource({b"a": b"one"}), stopped=lambda: True)
    with pytest.raises(NotFoundError):
        site.open_point()


def test_a_lost_catalog_is_rebuilt_and_still_deduplicates_and_still_deltas(site: Site) -> None:
    site.backup(MemorySource({b"dump": rows(60_000), b"noise": (noise := os.urandom(2_000_000))}))
    found = site.open_vault(catalog="catalog/other.sqlite")
    assert (found.forgotten, found.closed, found.damaged) == (0, 0, ())
    assert found.learned > 0
    later = rows(60_000, changed=3)
    second = site.backup(MemorySource({b"dump": later, b"noise": noise}, times={b"dump": 9, b"noise": 9}))
    assert second.new_object_bytes < 150_000
    assert site.content(2) == {b"dump": later, b"noise": noise}


def test_a_pack_that_vanished_is_noticed_and_stored_again(site: Site) -> None:
    source = MemorySource({b"noise": os.urandom(2_000_000)})
    site.backup(source)
    for name in site.store.names(ObjectKind.PACK):
        (site.folder / "vaults/imari/packs" / name.hex()[:2] / name.hex()).unlink()
    assert site.open_vault().forgotten > 0
    source.times[b"noise"] = 77
    site.backup(source)
    assert site.content(2) == source.files


def test_recovered_keys_read_every_point(site: Site) -> None:
    source = MemorySource({b"a": rows(2_000)})
    site.backup(source)
    objects = [site.files.read(f"vaults/imari/keys/{n.hex()}") for n in site.store.names(ObjectKind.KEY)]
    keys = RecoveredKeys.from_seed(site.seed, TENANT, objects)
    vault = Vault(
        site.store, site.catalog, keys, tenant=TENANT, verifiers={site.author.site: site.signer.public}
    )
    point = vault.open_point(vault.points.find(PointSelector(DATASET)))
    [entry] = list(point.entries())
    assert b"".join(point.read(entry.extents)) == source.files[b"a"]


def test_a_pruned_history_reads_the_newest_point_and_no_older_one(site: Site) -> None:
    first = site.backup(MemorySource({b"a": os.urandom(100_000)}))
    second = site.backup(MemorySource({b"a": os.urandom(100_000)}, times={b"a": 3}))
    site.keyring.prune(site.clock.now(), history_days=0, needed={second.header.session_id})
    site.vault.reader.forget()
    with pytest.raises(KeyMissingError):
        site.content(1)
    assert first.header.session_id != second.header.session_id
    third = site.backup(MemorySource({b"a": b"new"}, times={b"a": 4}))
    assert third.header.sequence == 3
    assert site.content(3) == {b"a": b"new"}


def test_the_point_names_exactly_what_it_needs(site: Site) -> None:
    site.backup(MemorySource({b"a": os.urandom(400_000)}))
    site.backup(MemorySource({b"b": os.urandom(400_000)}))
    needed = site.vault.points.needed(DATASET, 2)
    first = site.vault.points.needed(DATASET, 1)
    assert {ref.kind for ref in needed} == {ObjectKind.PACK, ObjectKind.INDEX, ObjectKind.KEY}
    assert {r for r in first if r.kind is ObjectKind.PACK}.isdisjoint(needed)
    assert all(site.store.has(ref) for ref in needed)


def test_verify_finds_nothing_in_a_whole_vault(site: Site) -> None:
    site.backup(MemorySource({b"a": rows(5_000), b"b": b"x"}))
    report = verify_objects(site.store, site.vault.points)
    assert (report.findings, report.points) == ([], 1)
    full = VerifyReport()
    verify_content(site.vault, site.vault.points.chain(DATASET), full)
    assert (full.findings, full.files) == ([], 2)


@pytest.mark.parametrize("kind", [ObjectKind.PACK, ObjectKind.INDEX, ObjectKind.POINT, ObjectKind.KEY])
def test_verify_names_a_damaged_object_and_the_points_that_need_it(site: Site, kind: ObjectKind) -> None:
    site.backup(MemorySource({b"a": rows(5_000)}))
    site.backup(MemorySource({b"a": rows(5_000), b"b": b"x"}))
    name = site.store.names(kind)[0]
    folder = site.folder / "vaults/imari" / kind.folder / (name.hex()[:2] if kind is ObjectKind.PACK else "")
    data = bytearray((folder / name.hex()).read_bytes())
    data[len(data) // 2] ^= 4
    (folder / name.hex()).write_bytes(data)
    site.open_vault()
    report = verify_objects(site.store, site.vault.points)
    found = [finding for finding in report.findings if finding.ref is not None]
    assert [(f.ref.kind, f.ref.name) for f in found if f.ref] == [(kind, name)]
    if kind is not ObjectKind.POINT:
        assert found[0].points


def damage_point(site: Site, sequence: int) -> None:
    name = next(p.name for p in site.vault.points.listed(DATASET) if p.header.sequence == sequence)
    path = site.folder / "vaults/imari" / ObjectKind.POINT.folder / name.hex()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    site.open_vault()


def test_a_damaged_older_point_does_not_hide_the_newest(site: Site) -> None:
    for content in (b"1", b"22", b"333", b"4444"):
        site.backup(MemorySource({b"a": content}))
    damage_point(site, 2)
    assert site.content() == {b"a": b"4444"}
    times = {p.header.sequence: p.header.taken_at for p in site.vault.points.listed(DATASET)}
    find = site.vault.points.find
    assert find(PointSelector(DATASET, before=times[4])).header.sequence == 3
    with pytest.raises(DamageError):
        find(PointSelector(DATASET, before=times[3]))


def test_a_damaged_newest_point_is_no_reason_to_hand_out_an_older_one_as_the_newest(site: Site) -> None:
    for content in (b"1", b"22"):
        site.backup(MemorySource({b"a": content}))
    damage_point(site, 2)
    with pytest.raises(DamageError):
        site.open_point()
    assert site.content(1) == {b"a": b"1"}


def test_folders_and_types_come_back(site: Site) -> None:
    site.backup(MemorySource({b"x/y/z": b"1"}))
    assert [(e.path, e.type) for e in site.open_point().entries()] == [
        (b"x", EntryType.FOLDER), (b"x/y", EntryType.FOLDER), (b"x/y/z", EntryType.FILE),
    ]


def test_an_unchanged_file_whose_pack_vanished_is_stored_again(site: Site) -> None:
    source = MemorySource({b"noise": os.urandom(18_000_000), b"z": b"small"}, times={b"noise": 5, b"z": 5})
    site.backup(source)
    packs = [ObjectRef(ObjectKind.PACK, name) for name in site.store.names(ObjectKind.PACK)]
    assert len(packs) == 2
    (site.folder / site.store.path(max(packs, key=site.store.size))).unlink()
    site.open_vault()
    site.backup(source)
    assert site.content(2) == source.files
