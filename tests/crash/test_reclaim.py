"""Whenever the power goes while a vault is reclaimed: every kept point restores byte for byte."""

import errno
from collections.abc import Callable, Collection
from typing import Any

import pytest

import jbackupd.engine.repack
import jbackupd.vault.expiry
from jbackupd.catalog.database import Catalog
from jbackupd.engine import reclaim as engine
from jbackupd.engine import reclaimplan, repack
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.store import ObjectStore
from tests.crash import reclaim as scenario
from tests.crash.memory import MemoryFiles
from tests.crash.reclaim import LateHolder, Reclaim, has_worked
from tests.crash.rig import catalog_of, cut_everywhere, fail_everywhere, kill_everywhere, kill_then_cut
from tests.crash.states import folder_of


def test_the_scenario_gives_points_up_and_moves_packs() -> None:
    prepared = Reclaim()
    files, catalog = MemoryFiles(folder_of(prepared.prepare())), catalog_of(None)
    before = sum(len(data) for path, data in prepared.prepare() if data is not None and "/packs/" in path)
    prepared.open(files, catalog)()
    removed, moved = has_worked(files, catalog)
    assert removed == 3 and moved > 0
    store = ObjectStore(files, "vaults/imari")
    after = sum(store.size(ObjectRef(ObjectKind.PACK, name)) for name in store.names(ObjectKind.PACK))
    assert after < 0.8 * before


def test_a_power_cut_costs_no_kept_point() -> None:
    score = cut_everywhere(Reclaim(), subsets_max=2)
    assert (score.violations, score.first) == (0, "")
    assert score.states > 40


def test_a_kill_costs_no_kept_point_and_the_next_run_goes_on() -> None:
    score = kill_everywhere(Reclaim(), every=9)
    assert (score.violations, score.first) == (0, "")


def test_a_holder_that_joins_late_and_is_killed_goes_on_and_says_nothing_untrue() -> None:
    score = kill_everywhere(LateHolder(), every=17)
    assert (score.violations, score.first) == (0, "")
    assert score.states > 5


@pytest.mark.soak
def test_every_call_is_a_good_moment_to_die() -> None:
    for made in (Reclaim(), LateHolder()):
        for score in (cut_everywhere(made), kill_everywhere(made), kill_then_cut(made, subsets_max=8)):
            assert (score.violations, score.first) == (0, "")


@pytest.mark.soak
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_call_that_fails_costs_nothing(error: int) -> None:
    score = fail_everywhere(Reclaim(), error, same_process=False, cut=False)
    assert (score.violations, score.first) == (0, "")


def removed_before_it_is_stated(patch: pytest.MonkeyPatch) -> None:
    """Delete, then record (barman BAR-244, Duplicacy #334)."""
    expire = engine.expire

    def late(store: ObjectStore, tenant: Any, removed: Any, **options: Any) -> None:
        names = {point.name for point in removed}
        chains = reclaimplan.chains_of(scenario.Town(store.files, catalog_of(None)).vault.points)
        kept = {point.name for chain in chains for point in chain} - names
        gone = reclaimplan.needed_by(chains, names) - reclaimplan.needed_by(chains, kept)
        store.remove(ref for ref in gone if ref.kind is ObjectKind.PACK)
        expire(store, tenant, removed, **options)

    patch.setattr(scenario, "expire", late)


def stated_without_sync(patch: pytest.MonkeyPatch) -> None:
    """The statement is there for everybody to see, and a power cut takes it back (kopia #5292)."""

    def write(files: Any, path: str, data: bytes, *, temporary: str) -> None:
        handle = files.create(temporary)
        handle.write(data)
        handle.close()
        files.rename(temporary, path)

    patch.setattr(jbackupd.vault.expiry, "write_durably", write)


def old_packs_go_before_the_new_one_is_durable(patch: pytest.MonkeyPatch) -> None:
    """Rewriting without a sync between copy and delete (failures.md, 442: deletes without a barrier)."""
    put = ObjectStore.put

    def unsynced(self: ObjectStore, kind: ObjectKind, data: bytes) -> ObjectName:
        if kind is not ObjectKind.PACK or not scenario.removed_points(self):
            return put(self, kind, data)
        name = jbackupd.engine.repack.name_of(data)
        path = self.path(ObjectRef(kind, name))
        self.files.make_folder(path.rpartition("/")[0])
        handle = self.files.create(path)
        handle.write(data)
        handle.close()
        return name

    patch.setattr(ObjectStore, "put", unsynced)


def bases_are_not_followed(patch: pytest.MonkeyPatch) -> None:
    """Only what trees name is kept (barman BAR-707: dependent backups removed with their base)."""
    def alone(vault: Any, frames: Collection[Any], seen: set[Any], usage: Any) -> None:
        places = vault.catalog.find_frames(set(frames))
        for place in places.values():
            usage.slots.setdefault(place.pack, {})[place.slot] = place.record.sealed_length
        seen |= set(frames)

    patch.setattr(repack, "_note", alone)


def the_catalog_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """The cache outlives the deletion (borg #9748)."""
    patch.setattr(scenario, "forget", lambda catalog, garbage: None)
    patch.setattr(Catalog, "forget_packs", lambda self, names: None)


def what_was_found_is_not_settled(patch: pytest.MonkeyPatch) -> None:
    """Older points go for the sake of a newer one that a power cut takes back."""
    patch.setattr(scenario, "settle_for_reclaim", lambda store: None)
    patch.setattr(ObjectStore, "settle_all", lambda self: None)
    patch.setattr(ObjectStore, "settle", lambda self, refs: None)


def moved_packs_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What kept points need of a moved pack lies in one that no point names."""
    patch.setattr(reclaimplan, "with_places", lambda needed, *rest: set(needed))


@pytest.mark.parametrize(("mutant", "sweep"), [
    (removed_before_it_is_stated, cut_everywhere), (stated_without_sync, cut_everywhere),
    (old_packs_go_before_the_new_one_is_durable, cut_everywhere), (bases_are_not_followed, cut_everywhere),
    (the_catalog_is_not_told, cut_everywhere), (what_was_found_is_not_settled, kill_then_cut),
    (moved_packs_are_forgotten, cut_everywhere),
], ids=lambda item: item.__name__)
def test_a_way_to_lose_data_is_seen(
    mutant: Callable[[pytest.MonkeyPatch], None], sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Reclaim()
    prepared.prepare()
    mutant(monkeypatch)
    assert sweep(prepared, subsets_max=2, enough=1).violations
