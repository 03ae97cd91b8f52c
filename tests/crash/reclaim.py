"""Scenarios: a site takes a point and reclaims; a site that joins after a reclaim takes what is left."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import jbackupd.engine.taking
from jbackupd.catalog.database import Catalog
from jbackupd.engine.reclaim import expire, forget, settle_for_reclaim, sweep
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.expiry import RemovedPoint
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.policy.retention import Candidate, Rules, decide
from jbackupd.settings.schema import zone_of
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    SAGA,
    START,
    TENANT,
    Acknowledged,
    Town,
    init,
    restored,
    signer,
    small_packs,
    vault_of,
    without_leftovers,
)
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, folder_of, key_of
from tests.crash.transfer import KYOTO, Receipted, holder_signer, sending
from tests.support.onesite import MemorySource

AUTHOR = Authorship(SAGA, 1, signer())
KEPT = 2


@dataclass(frozen=True)
class GivenUp:
    """A run has ended that gave these points up: nobody expects them any more."""

    names: frozenset[ObjectName]


@functools.cache
def content(sequence: int) -> dict[bytes, bytes]:
    """Return what a point holds: a register that changes a little, a file that stays, and one that is new each day."""
    chance = random.Random(1)
    rows = [b"%06d,%05d,%04d\n" % (i, chance.randrange(10**5), chance.randrange(10**4)) for i in range(2000)]
    for row in range(sequence, len(rows), 100):
        rows[row] = b"%06d,changed %d\n" % (row, sequence)
    scan = random.Random(sequence).randbytes(90_000)
    return {b"juki.csv": b"".join(rows), b"map": random.Random(0).randbytes(60_000), b"scan/%d" % sequence: scan}


@contextmanager
def small_frames() -> Iterator[None]:
    """Count a file as large early, so that what dies and what lives does not share a frame."""
    taking = jbackupd.engine.taking
    before, taking.LARGE_BYTES = taking.LARGE_BYTES, 50_000
    try:
        yield
    finally:
        taking.LARGE_BYTES = before


def backup(town: Town) -> Acknowledged:
    """Take the next point."""
    sequence = len(town.vault.points.chain(DATASET)) + 1
    files = content(sequence)
    with small_frames():
        result = town.backup(MemorySource(files, times=dict.fromkeys(files, sequence)))
    return Acknowledged(sequence, result.name)


def give_up(town: Town) -> frozenset[ObjectName]:
    """Give up what the retention does not keep; return it."""
    gone = removed_points(town.store, town.vault.points.verifiers)
    there = {p.header.sequence: p for p in town.vault.points.chain(DATASET) if p.name not in gone}
    decisions = decide(
        [Candidate(n, p.header.taken_at) for n, p in there.items()], Rules(last=KEPT), now=START,
        zone=zone_of("Asia/Tokyo"),
    )
    leaving = [there[d.point.sequence] for d in decisions if not d.stays]
    removed = [RemovedPoint(DATASET, p.header.sequence, p.name, "not-kept") for p in leaving]
    expire(town.store, TENANT, removed, author=AUTHOR, now=START + timedelta(days=30))
    return frozenset(point.name for point in leaving)


def remove_unneeded(town: Town) -> int:
    """Remove what nobody needs; return the bytes."""
    freed, left = sweep(
        town.store, town.vault.points, forget=functools.partial(forget, town.vault.catalog),
        alone=lambda: contextlib.nullcontext(True),
    )
    assert not left
    return freed.bytes


class Reclaim:
    """Takes a point and reclaims, with four points there before."""

    name = "reclaim"
    uses_catalog = True
    in_order = False

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        init(files)
        town = Town(files, catalog_of(None))
        for day in range(4):
            with small_packs() if day % 2 else contextlib.nullcontext():
                backup(town)
        return key_of(files.root)

    def prepare(self) -> Key:
        return self._before

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files, Town(files, catalog))

    def _work(self, files: MemoryFiles, town: Town) -> None:
        settle_for_reclaim(town.store)
        if len(town.vault.points.chain(DATASET)) < 6:
            files.mark(backup(town))
        # What service.reclaiming does, in its order.
        settle_for_reclaim(town.store)
        remove_unneeded(town)
        files.mark(GivenUp(give_up(town)))
        remove_unneeded(town)
        usage = survey_usage(town.vault)
        planned = plan_repacks(town.vault, usage, below=0.9)
        repack(town.vault, planned, usage, keyring=town.keyring, author=AUTHOR, now=START + timedelta(days=30))
        remove_unneeded(town)

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        town = Town(files, catalog)
        self._check_points(town, facts)
        # Life goes on: a point, another reclaim, and everything that must be there still is.
        settle_for_reclaim(town.store)
        backup(town)
        give_up(town)
        remove_unneeded(town)
        self._check_points(town, facts)

    def essence(self, key: Key) -> object:
        return without_leftovers(key)

    def _check_points(self, town: Town, facts: Sequence[object]) -> None:
        chain = town.vault.points.chain(DATASET)
        names = {point.name for point in chain}
        lost = [fact for fact in facts if isinstance(fact, Acknowledged) and fact.name not in names]
        assert not lost, f"acknowledged and gone: {lost}"
        gone = removed_points(town.store, town.vault.points.verifiers)
        kept = [point for point in chain if point.name not in gone]
        assert [point.header.sequence for point in chain[-KEPT:]] == [p.header.sequence for p in kept[-KEPT:]]
        for point in kept:
            assert restored(town.vault, point) == content(point.header.sequence), f"{point.label} is not what was taken"
        report = verify_objects(town.store, town.vault.points, [DATASET])
        verify_content(town.vault, kept, report)
        assert not report.findings, f"verify found {report.findings}"


class LateHolder:
    """A site that joins after a reclaim takes what is left; its machine fails."""

    name = "late holder"
    uses_catalog = False
    in_order = False

    @functools.cached_property
    def _source(self) -> tuple[Key, bytes]:
        files = MemoryFiles()
        seed = init(files)
        town = Town(files, catalog_of(None))
        for _ in range(4):
            backup(town)
        give_up(town)
        remove_unneeded(town)
        usage = survey_usage(town.vault)
        repack(
            town.vault, plan_repacks(town.vault, usage, below=0.9), usage, keyring=town.keyring, author=AUTHOR,
            now=START + timedelta(days=30),
        )
        remove_unneeded(town)
        backup(town)
        return key_of(files.root), seed

    def prepare(self) -> Key:
        return key_of(MemoryFiles().root)

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return sending(MemoryFiles(folder_of(self._source[0])), files, files.mark, count=5)

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        self._check_held(files, facts)
        self.open(files, catalog)()
        self._check_held(files, [*facts, *files.facts()])
        store = ObjectStore(files, FOLDER)
        stated = removed_points(store, {KYOTO: holder_signer().public})
        assert 2 <= len(stated) < 5 and len(store.names(ObjectKind.POINT)) == 5

    def essence(self, key: Key) -> object:
        return without_leftovers(key)

    def _check_held(self, files: MemoryFiles, facts: Sequence[object]) -> None:
        receipted = {fact.point for fact in facts if isinstance(fact, Receipted)}
        store = ObjectStore(files, FOLDER)
        if not store.exists() or not store.names(ObjectKind.POINT):
            assert not receipted, f"receipted and gone: {receipted}"
            return
        key_objects = [store.read(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)]
        catalog = catalog_of(None)
        keys = RecoveredKeys.from_seed(self._source[1], TENANT, key_objects)
        rebuild(store, catalog, keys, tenant=TENANT)
        vault = vault_of(store, catalog, keys)
        chain, stated = vault.points.chain(DATASET), removed_points(store, {KYOTO: holder_signer().public})
        assert receipted <= {point.name for point in chain} - stated.keys(), "receipted and gone"
        for point in chain:
            if point.name not in stated:
                assert restored(vault, point) == content(point.header.sequence)
        assert not verify_objects(store, vault.points).findings


def has_worked(files: MemoryFiles, catalog: Catalog) -> tuple[int, int]:
    """Return how many points were given up and how many packs moved, to see that the scenario does something."""
    town = Town(files, catalog)
    return len(removed_points(town.store)), len(moved_packs(town.store))
