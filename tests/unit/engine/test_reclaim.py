"""What reclaim removes, and what it must not."""

import random
from datetime import timedelta

import pytest

import jbackupd.vault.writer
from jbackupd.engine.reclaim import expire, forget, remove, settle_for_reclaim
from jbackupd.engine.reclaimplan import find_garbage
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.format.expiry import RemovedPoint
from jbackupd.model.errors import DamageError, NotFoundError, RemovedError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef, PointSelector
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.vault import Vault
from tests.support.onesite import DATASET, TENANT, MemorySource, Site


def files_of(day: int) -> dict[bytes, bytes]:
    """A register of which a hundredth changes a day, a folder of which every file is replaced every fourth day, and
    something new each day."""
    chance = random.Random(1)
    rows = [b"%06d,%05d,%04d\n" % (i, chance.randrange(10**5), chance.randrange(10**4)) for i in range(5_000)]
    for row in range(day, len(rows), 100):
        rows[row] = b"%06d,changed %d\n" % (row, day)
    files = {b"juki.csv": b"".join(rows), b"new/%d" % day: random.Random(1000 + day).randbytes(1_200_000)}
    for number in range(4):
        files[b"office/%d" % number] = random.Random(number + 100 * ((day + number) // 4)).randbytes(90_000)
    return files


def source_of(day: int, dataset: int = 0) -> MemorySource:
    files = {b"%d/" % dataset + path: data for path, data in files_of(day).items()}
    return MemorySource(files, times=dict.fromkeys(files, 10**18 + day))


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    made = Site(tmp_path)
    for day in range(1, 7):
        if day > 3:
            # The first points have packs that hold much, the later ones a pack for each frame.
            monkeypatch.setattr(jbackupd.vault.writer, "PACK_BYTES_MIN", 1)
            monkeypatch.setattr(jbackupd.vault.writer, "PACK_BYTES", 1)
        made.backup(source_of(day))
    monkeypatch.undo()
    return made


def give_up(site: Site, *sequences: int) -> None:
    chain = site.vault.points.chain(DATASET)
    expire(
        site.store, TENANT,
        [RemovedPoint(DATASET, n, chain[n - 1].name, "not-kept") for n in sequences],
        author=site.author, now=site.clock.now(),
    )


def sweep(site: Site) -> int:
    settle_for_reclaim(site.store)
    garbage = find_garbage(site.store, site.vault.points, site.vault.points.verifiers)
    forget(site.catalog, garbage)
    return remove(site.store, garbage).bytes


def repacked(site: Site, below: float = 0.9, **more: object) -> int:
    usage = survey_usage(site.vault, **more)
    planned = plan_repacks(site.vault, usage, below=below)
    done, damaged = repack(
        site.vault, planned, usage, keyring=site.keyring, author=site.author, now=site.clock.now(),
    )
    assert not damaged
    return sum(len(each.packs) for each in done)


def content_of(site: Site, sequence: int) -> dict[bytes, bytes]:
    return {path.partition(b"/")[2]: data for path, data in site.content(sequence).items()}


def test_nothing_goes_while_every_point_is_kept(site):
    assert sweep(site) == 0


def test_what_only_removed_points_need_goes_and_all_others_restore(site):
    before = sum(site.store.size(ObjectRef(ObjectKind.PACK, name)) for name in site.store.names(ObjectKind.PACK))
    give_up(site, 1, 2, 4)
    freed = sweep(site)
    assert 0.1 * before < freed < before
    for sequence in (3, 5, 6):
        assert content_of(site, sequence) == files_of(sequence)
    assert sweep(site) == 0


def test_a_removed_point_is_told_as_such_and_the_others_are_found_by_time(site):
    give_up(site, 2, 3)
    with pytest.raises(RemovedError) as caught:
        site.vault.points.find(PointSelector(DATASET, 2))
    assert "imari/juki@2 is no longer kept here" in str(caught.value) and caught.value.exit_code == 10
    taken = site.vault.points.chain(DATASET)[2].header.taken_at
    assert site.vault.points.find(PointSelector(DATASET, before=taken + timedelta(hours=1))).header.sequence == 1
    assert site.vault.points.find(PointSelector(DATASET)).header.sequence == 6
    with pytest.raises(NotFoundError):
        site.vault.points.find(PointSelector(DATASET, 0))


def test_backups_go_on_after_a_reclaim_and_after_the_catalog_was_lost(site):
    give_up(site, 1, 2, 3, 4, 5)
    sweep(site)
    site.backup(source_of(7))
    assert content_of(site, 7) == files_of(7)
    rebuild(site.store, site.catalog, site.keyring, tenant=TENANT)
    site.backup(source_of(8))
    assert content_of(site, 6) == files_of(6) and content_of(site, 8) == files_of(8)


def test_an_interrupted_run_s_packs_go_and_what_another_dataset_needs_stays(site):
    other = DatasetId(TENANT, "zei")
    site.backup(source_of(6), other)
    site.store.put(ObjectKind.INDEX, b"JBKP\x01\x02\0\0 left behind")
    give_up(site, 1, 2, 3, 4, 5)
    sweep(site)
    assert {path.partition(b"/")[2]: data for path, data in site.content(1, other).items()} == files_of(6)
    assert content_of(site, 6) == files_of(6)


def test_sparse_packs_are_written_anew_and_the_old_ones_go(site):
    give_up(site, 1, 2, 3)
    sweep(site)
    assert repacked(site) > 0
    assert sweep(site) > 1_000_000
    for sequence in (4, 5, 6):
        assert content_of(site, sequence) == files_of(sequence)
    site.backup(source_of(7))
    assert content_of(site, 7) == files_of(7)


def test_a_moved_frame_is_read_after_the_catalog_was_rebuilt_also_while_its_old_pack_is_there(site):
    give_up(site, 1, 2, 3)
    sweep(site)
    assert repacked(site) > 0
    rebuild(site.store, site.catalog, site.keyring, tenant=TENANT)
    old = moved_packs(site.store)
    assert not old.keys() & site.catalog.packs().keys()
    for sequence in (4, 5, 6):
        assert content_of(site, sequence) == files_of(sequence)
    sweep(site)
    rebuild(site.store, site.catalog, site.keyring, tenant=TENANT)
    for sequence in (4, 5, 6):
        assert content_of(site, sequence) == files_of(sequence)


def test_packs_of_points_whose_keys_are_not_at_hand_are_left_as_they_are_also_where_they_were_moved_to(site):
    give_up(site, 1, 2, 3)
    sweep(site)
    assert repacked(site) > 0
    sweep(site)
    places = set(moved_packs(site.store).values())

    class Closing:
        def __getattr__(self, name):
            return getattr(site.keyring, name)

        def object_key(self, session_id, object_id, kind):
            if kind is ObjectKind.POINT and session_id == chain[3].header.session_id:
                return site.keyring.session_key(b"?" * 16)
            return site.keyring.object_key(session_id, object_id, kind)

    chain = site.vault.points.chain(DATASET)
    site.vault = Vault(site.store, site.catalog, Closing(), tenant=TENANT, verifiers=site.vault.points.verifiers)
    usage = survey_usage(site.vault)
    assert [point.header.sequence for point in usage.closed] == [4]
    assert places <= usage.opaque


def test_what_a_waiting_point_names_stays_under_its_name(site):
    give_up(site, 1, 2, 3)
    sweep(site)
    names = set(site.store.names(ObjectKind.PACK))
    waiting = [point.name for point in site.vault.points.chain(DATASET)[3:]]
    repacked(site, waiting=waiting)
    sweep(site)
    assert names <= set(site.store.names(ObjectKind.PACK))


def test_content_that_does_not_resemble_its_earlier_version_keeps_none_of_it_alive(tmp_path):
    site = Site(tmp_path)
    for day in (1, 2):
        site.backup(MemorySource({b"scan": random.Random(day).randbytes(300_000)}, times={b"scan": day}))
    frames = [frame for pack in site.catalog.packs() for frame in site.catalog.indexed_pack(pack).frames]
    assert [frame.bases for frame in frames if frame.plain_length > 100_000] == [(), ()]


def test_a_damaged_pack_is_left_as_it_is_and_told(site):
    give_up(site, 1, 2, 3)
    sweep(site)
    usage = survey_usage(site.vault)
    planned = plan_repacks(site.vault, usage, below=0.9)
    ref = ObjectRef(ObjectKind.PACK, planned[0].packs[0].name)
    path = site.folder / site.store.path(ref)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    done, damaged = repack(
        site.vault, planned, usage, keyring=site.keyring, author=site.author, now=site.clock.now()
    )
    assert not done and str(ref) in str(damaged[0])
    sweep(site)
    assert site.store.has(ref) and not moved_packs(site.store)


def test_a_damaged_point_or_expiry_stops_everything(site):
    give_up(site, 1)
    (name,) = site.files.names("vaults/imari/expiry")
    path = site.folder / "vaults/imari/expiry" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamageError):
        find_garbage(site.store, site.vault.points, site.vault.points.verifiers)
    # Restoring goes on.
    assert site.vault.points.find(PointSelector(DATASET)).header.sequence == 6
    path.write_bytes(whole)
    point = site.folder / "vaults/imari/points" / site.store.names(ObjectKind.POINT)[0].hex()
    point.write_bytes(b"?" + point.read_bytes()[1:])
    site.open_vault(catalog="catalog/again.sqlite")
    with pytest.raises(DamageError):
        find_garbage(site.store, site.vault.points, site.vault.points.verifiers)


def test_a_run_that_is_stopped_leaves_the_rest_to_the_next(site):
    give_up(site, 1, 2, 3, 4)
    garbage = find_garbage(site.store, site.vault.points, site.vault.points.verifiers)
    forget(site.catalog, garbage)
    assert remove(site.store, garbage, lambda: False).objects == 0
    assert sweep(site) == garbage.bytes
    assert {removed.reason for removed in removed_points(site.store).values()} == {"not-kept"}


def test_a_catalog_of_before_the_reclaim_is_put_right_when_it_is_opened(site):
    early = site.catalog._connection.serialize()
    give_up(site, 1, 2, 3, 5)
    sweep(site)
    repacked(site)
    sweep(site)
    site.catalog.close()
    for suffix in ("", "-wal", "-shm"):
        (site.folder / f"catalog/old.sqlite{suffix}").unlink(missing_ok=True)
    (site.folder / "catalog/old.sqlite").write_bytes(early)
    site.open_vault(catalog="catalog/old.sqlite")
    site.backup(source_of(7))
    for sequence in (4, 6, 7):
        assert content_of(site, sequence) == files_of(sequence)
