"""What verify remembers, what repair heals, what a run does with damage that nobody heals."""

import asyncio
import random

import pytest

from jbackupd.engine.affected import affected_files
from jbackupd.engine.repair import Broken, FolderPlace, Repair, find_broken, repair
from jbackupd.engine.verify import Allowance, VerifyReport, verify_content, verify_objects
from jbackupd.model.errors import DamageError, JbackupdError, NoSpaceError, NotFoundError, PeerError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import QUARANTINE, ObjectStore
from jbackupd.vault.unsound import forget_unsound
from tests.support.onesite import DATASET, TENANT, MemorySource, Site

FILES = {
    b"large": random.Random(1).randbytes(5_000_000),
    b"office/a": b"".join(b"%d,%d\n" % (i, i * i) for i in range(20_000)),
    b"office/b": random.Random(2).randbytes(30_000),
}


@pytest.fixture
def site(tmp_path) -> Site:
    made = Site(tmp_path / "saga")
    made.backup(MemorySource(FILES))
    made.backup(MemorySource(FILES | {b"office/c": b"new"}))
    return made


@pytest.fixture
def copy(site, tmp_path) -> ObjectStore:
    """The same objects in another folder."""
    other = ObjectStore(PosixFiles(str(tmp_path / "usb")), "imari")
    other.create()
    for kind in ObjectKind:
        for name in site.store.names(kind):
            other.put(kind, site.store.read(ObjectRef(kind, name)))
    return other


def path_of(site: Site, ref: ObjectRef):
    return site.folder / site.store.path(ref)


def flip(site: Site, ref: ObjectRef, part: float = 0.5) -> None:
    data = bytearray(path_of(site, ref).read_bytes())
    data[int(len(data) * part)] ^= 4
    path_of(site, ref).write_bytes(data)


def of(site: Site, kind: ObjectKind) -> list[ObjectRef]:
    """The objects of a kind, the largest first."""
    return sorted((ObjectRef(kind, name) for name in site.store.names(kind)), key=lambda ref: -site.store.size(ref))


def verified(site: Site, **more: object) -> VerifyReport:
    points = site.vault.points
    return verify_objects(site.store, points, soundness=Soundness(site.store), clock=site.clock, **more)


def broken(site: Site) -> list[Broken]:
    return find_broken(site.store, site.vault.points, Soundness(site.store))


def repaired(site: Site, *places: object) -> Repair:
    return asyncio.run(repair(site.store, lambda: broken(site), places))


def test_what_waits_longest_is_looked_at_first_until_all_was(site):
    everything = {ObjectRef(kind, name) for kind in ObjectKind for name in site.store.names(kind)}
    looked, runs = 0, 0
    while looked < len(everything):
        report = verified(site, allowance=Allowance(bytes=1))
        assert report.findings == [] and report.objects > 0
        assert report.objects + report.left_objects == len(everything)
        looked, runs = looked + report.objects, runs + 1
        site.clock.advance(60)
        never = Soundness(site.store).coverage(everything, site.clock.now()).never
        assert never == max(0, len(everything) - looked)
    assert runs > 1
    coverage = Soundness(site.store).coverage(everything, since=site.clock.now().replace(year=2000))
    assert coverage.ratio == 1.0 and coverage.never == 0 and coverage.oldest is not None


def test_the_newest_point_that_was_read_whole_can_be_asked_for(site):
    wanted = PointSelector.parse("imari/juki@latest-verified")
    with pytest.raises(NotFoundError, match="verified"):
        site.vault.points.find(wanted)
    verified(site)
    assert site.vault.points.find(wanted).header.sequence == 2
    site.backup(MemorySource(FILES | {b"office/c": b"newer"}))
    assert site.vault.points.find(wanted).header.sequence == 2
    verified(site)
    assert site.vault.points.find(wanted).header.sequence == 3
    added = site.vault.points.needed(DATASET, 3) - site.vault.points.needed(DATASET, 2)
    flip(site, max((ref for ref in added if ref.kind is ObjectKind.PACK), key=site.store.size))
    verified(site)
    assert site.vault.points.find(wanted).header.sequence == 2


def test_time_is_an_allowance_too_and_one_object_is_always_looked_at(site):
    assert verified(site, allowance=Allowance(seconds=0)).objects >= 1


def test_what_cannot_be_remembered_only_means_reading_again(site):
    verified(site)
    (site.folder / "vaults/imari/verify/looks").write_bytes(b"\x81\xff")
    everything = {ObjectRef(kind, name) for kind in ObjectKind for name in site.store.names(kind)}
    assert Soundness(site.store).coverage(everything, site.clock.now()).never == len(everything)
    assert verified(site).findings == []


@pytest.mark.parametrize("kind", list(ObjectKind)[:4])
@pytest.mark.parametrize("harm", ["flipped", "gone", "cut"])
def test_every_kind_is_healed_from_another_copy_and_the_damaged_file_kept(site, copy, kind, harm):
    ref = of(site, kind)[0]
    data = path_of(site, ref).read_bytes()
    if harm == "gone":
        path_of(site, ref).unlink()
    elif harm == "cut":
        path_of(site, ref).write_bytes(data[: len(data) // 2])
    else:
        flip(site, ref)
    site.open_vault()
    assert {finding.ref for finding in verified(site).findings if finding.ref} == {ref}
    assert [each.ref for each in broken(site)] == [ref]
    done = repaired(site, FolderPlace(copy, name="usb"))
    assert [each.ref for each in done.healed] == [ref] and done.hopeless == [] and done.failures == {}
    assert path_of(site, ref).read_bytes() == data
    kept = list((site.folder / "vaults/imari" / QUARANTINE).glob("*"))
    assert len(kept) == (harm != "gone")
    site.open_vault()
    assert verified(site).findings == [] and broken(site) == []
    report = VerifyReport()
    verify_content(site.vault, site.vault.points.listed(DATASET), report)
    assert report.findings == [] and report.files == 7


def test_a_point_of_which_only_its_successor_tells_is_found_missing(site, copy):
    first = site.vault.points.chain(DATASET)[0]
    ref = ObjectRef(ObjectKind.POINT, first.name)
    path_of(site, ref).unlink()
    site.open_vault()
    assert [(each.ref, each.points) for each in broken(site)] == [(ref, ("imari/juki@1",))]
    assert repaired(site, FolderPlace(copy, name="usb")).hopeless == []


def test_a_healed_point_tells_what_else_is_missing(site, copy):
    newest = ObjectRef(ObjectKind.POINT, site.vault.points.chain(DATASET)[1].name)
    needed = site.vault.points.needed(DATASET, 2) - site.vault.points.needed(DATASET, 1)
    gone = max((ref for ref in needed if ref.kind is ObjectKind.PACK), key=site.store.size)
    flip(site, newest)
    path_of(site, gone).unlink()
    site.open_vault()
    verified(site)
    assert [each.ref for each in broken(site)] == [newest]
    assert {each.ref for each in repaired(site, FolderPlace(copy, name="usb")).healed} == {newest, gone}


def test_a_newest_point_that_was_seen_once_is_missed(site, copy):
    verified(site)
    newest = ObjectRef(ObjectKind.POINT, site.vault.points.chain(DATASET)[1].name)
    path_of(site, newest).unlink()
    site.open_vault()
    assert [finding.ref for finding in verified(site).findings] == [newest]
    assert [each.ref for each in repaired(site, FolderPlace(copy, name="usb")).healed] == [newest]
    assert len(site.vault.points.chain(DATASET)) == 2


class Lying:
    name = "lying"

    async def read(self, ref: ObjectRef) -> bytes:
        return b"not what was asked for"


class Gone:
    name = "gone"
    asked = 0

    async def read(self, ref: ObjectRef) -> bytes:
        self.asked += 1
        raise PeerError("the line is down")


def test_a_place_that_lies_or_fails_heals_nothing_and_harms_nothing(site, copy):
    refs = of(site, ObjectKind.PACK)[:1] + of(site, ObjectKind.INDEX)[:1]
    for ref in refs:
        flip(site, ref)
    before = [path_of(site, ref).read_bytes() for ref in refs]
    verified(site)
    gone = Gone()
    done = repaired(site, Lying(), gone)
    assert done.healed == [] and len(done.hopeless) == 2 and gone.asked == 1
    assert isinstance(done.failures["lying"], DamageError) and isinstance(done.failures["gone"], PeerError)
    assert [path_of(site, ref).read_bytes() for ref in refs] == before
    done = repaired(site, Lying(), gone, FolderPlace(copy, name="usb"))
    assert {each.place for each in done.healed} == {"usb"} and not done.hopeless


def test_a_full_disk_leaves_the_damaged_file_where_it_was(site, copy, monkeypatch):
    ref = of(site, ObjectKind.PACK)[0]
    flip(site, ref)
    verified(site)

    def full(*_: object) -> None:
        raise NoSpaceError("full")

    monkeypatch.setattr(PosixFiles, "create", full)
    before = path_of(site, ref).read_bytes()
    with pytest.raises(NoSpaceError):
        repaired(site, FolderPlace(copy, name="usb"))
    assert path_of(site, ref).read_bytes() == before


def test_exactly_the_files_are_named_that_nobody_can_read_whole(site):
    pack = of(site, ObjectKind.PACK)[0]
    flip(site, pack, 0.4)
    verified(site)
    lost = [each.ref for each in repaired(site).hopeless]
    named = {(each.point, each.path) for each in affected_files(site.vault, lost, site.vault.points.listed(DATASET))}
    report = VerifyReport()
    verify_content(site.vault, site.vault.points.listed(DATASET), report)
    assert named == {(finding.points[0], finding.path) for finding in report.findings}
    assert named == {("imari/juki@1", b"large"), ("imari/juki@2", b"large")}


def test_a_pack_that_is_gone_takes_every_file_that_lay_in_it(site):
    for pack in of(site, ObjectKind.PACK):
        path_of(site, pack).unlink()
    site.open_vault()
    lost = [each.ref for each in broken(site)]
    assert {each.path for each in affected_files(site.vault, lost, site.vault.points.listed(DATASET))} == {None}


def test_the_next_run_stores_again_what_is_damaged_and_heals_what_is_cut_the_same(site):
    """Nobody else has it; the town's server still does."""
    pack = of(site, ObjectKind.PACK)[0]
    flip(site, pack, 0.4)
    verified(site)
    damaged = {ref.name for ref in Soundness(site.store).unsound(ObjectKind.PACK)}
    assert damaged == {pack.name}
    assert forget_unsound(site.store, site.catalog, site.keyring, damaged, tenant=TENANT) == 1
    assert forget_unsound(site.store, site.catalog, site.keyring, damaged, tenant=TENANT) == 0
    source = MemorySource(FILES | {b"office/c": b"newer"})
    result = site.backup(source)
    assert b"large" in source.opened and b"office/b" not in source.opened
    assert 0 < result.new_object_bytes < 4_500_000
    report = VerifyReport()
    verify_content(site.vault, site.vault.points.listed(DATASET), report)
    assert report.findings == []
    # The index that lists the damaged pack is lost too: the one that is made for it has every frame at its place.
    frames = site.catalog.indexed_pack(pack.name).frames
    site.catalog.clear()
    reconcile(site.store, site.catalog, site.keyring, tenant=TENANT)
    assert [frame.id for frame in site.catalog.indexed_pack(pack.name).frames] == [frame.id for frame in frames]
    # Read from the sound copy, whichever way a catalog came to be.
    for with_chunks in (True, False):
        site.catalog.clear()
        reconcile(site.store, site.catalog, site.keyring, tenant=TENANT, with_chunks=with_chunks)
        assert site.content(1)[b"large"] == FILES[b"large"]
        assert list(affected_files(site.vault, [pack], site.vault.points.listed(DATASET))) == []


def test_errors_of_a_place_are_typed(site, tmp_path):
    nothing = ObjectStore(PosixFiles(str(tmp_path / "empty")), "imari")
    flip(site, of(site, ObjectKind.PACK)[0])
    verified(site)
    done = repaired(site, FolderPlace(nothing, name="empty"))
    assert len(done.hopeless) == 1 and isinstance(done.hopeless[0].error, JbackupdError)
