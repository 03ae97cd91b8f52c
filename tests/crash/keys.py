"""Scenarios: a site goes over to another recovery key; it erases an epoch of which two points are given up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from jbackupd.catalog.database import Catalog
from jbackupd.codec.hpke import RecipientSecret
from jbackupd.engine.erase import Order, erase_epoch
from jbackupd.engine.eraseplan import plan_erasure
from jbackupd.format.keyrecord import RecoveryChange, encode_record
from jbackupd.model.errors import ErasedError, KeyMissingError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, PointSelector
from jbackupd.vault.commit import Authorship
from jbackupd.vault.erased import destroyed_objects, erased_points
from jbackupd.vault.keydirectory import KeyDirectory, KeySurvey
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import Vault
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    LOCAL_KEY,
    SAGA,
    START,
    TENANT,
    Acknowledged,
    Town,
    content,
    init,
    restored,
    signer,
    vault_of,
    without_leftovers,
)
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, key_of

NEXT_SEED = b"n" * 32
"""Of the recovery key that follows: its shares are handed out before anything is written."""
VERIFIERS = {SAGA: signer().public}
LOST = (1, 2)


@dataclass(frozen=True)
class Done:
    """The command returned."""


def started(files: MemoryFiles, catalog: Catalog) -> Town:
    """Return a site after a start of the program that writes: what was interrupted is finished."""
    store = ObjectStore(files, FOLDER)
    store.create()
    Keyring.open(files, TENANT, local_key=LOCAL_KEY).settle(store)
    return Town(files, catalog)


def opened_with(seed: bytes, town: Town) -> Vault:
    """Return the vault as somebody with shares and nothing else opens it."""
    keys = RecoveredKeys.from_store(seed, TENANT, town.store, VERIFIERS)
    catalog = catalog_of(None)
    reconcile(town.store, catalog, keys, tenant=TENANT, with_chunks=False)
    return vault_of(town.store, catalog, keys)


class _Base:
    uses_catalog = True
    in_order = False

    def __init__(self) -> None:
        self._seed = b""

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        self._seed = init(files)
        self._fill(files)
        return key_of(files.root)

    def _fill(self, files: MemoryFiles) -> None:
        raise NotImplementedError

    def prepare(self) -> Key:
        return self._before

    def essence(self, key: Key) -> object:
        return without_leftovers(key)


class ChangeRecovery(_Base):
    """Goes over to another recovery key and takes a point."""

    name = "recovery key"

    def _fill(self, files: MemoryFiles) -> None:
        Town(files, catalog_of(None)).backup()

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        town = started(files, catalog)
        return functools.partial(self._work, files, town)

    def _work(self, files: MemoryFiles, town: Town) -> None:
        recovery = RecipientSecret(NEXT_SEED).public
        if town.keyring.recovery_public.fingerprint != recovery.fingerprint:
            keys = RecoveredKeys.from_store(self._seed, TENANT, town.store, VERIFIERS)
            change = RecoveryChange(2, recovery.fingerprint, keys.recovery_public.fingerprint, bytes(8), 2, 3)
            record = encode_record(change, tenant=TENANT, site=SAGA, made_at=START, signer=signer())
            town.keyring.follow(keys, recovery, record, START + timedelta(hours=1))
        town.keyring.settle(town.store)
        files.mark(Done())
        result = town.backup()
        files.mark(Acknowledged(result.header.sequence, result.name))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        town = started(files, catalog)
        in_force = town.keyring.recovery_public.fingerprint == RecipientSecret(NEXT_SEED).public.fingerprint
        assert in_force or Done() not in facts, "the new recovery key was acknowledged and is gone"
        newest = town.backup()
        seed = NEXT_SEED if in_force else self._seed
        vault = opened_with(seed, town)
        points = vault.points.chain(DATASET)
        acknowledged = {fact.name for fact in facts if isinstance(fact, Acknowledged)}
        assert acknowledged <= {point.name for point in points}, "a point was acknowledged and is gone"
        for point in points:
            assert restored(vault, point) == content(point.header.sequence)
            needed = vault.points.needed(DATASET, point.header.sequence)
            assert all(town.store.has(ref) for ref in needed), "a point was committed before its keys"
        if in_force:
            try:
                opened_with(self._seed, town).keys.session_key(newest.header.session_id)
            except KeyMissingError as error:
                assert "earlier recovery key" in str(error)
            else:
                raise AssertionError("the old shares open what is new")


class Erase(_Base):
    """Erases the first of two epochs; two of its points are given up, one stays."""

    name = "erase"

    def _fill(self, files: MemoryFiles) -> None:
        town = Town(files, catalog_of(None))
        for sequence in range(1, 5):
            town.backup()
            if sequence == 3:
                town.keyring.rotate(START + timedelta(days=4))
                town.keyring.settle(town.store)

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        town = started(files, catalog)
        return functools.partial(self._work, files, town)

    def _work(self, files: MemoryFiles, town: Town) -> None:
        epoch = KeySurvey.of(town.store).epochs[0]
        if epoch.recipients:
            keys = RecoveredKeys.from_store(self._seed, TENANT, town.store, VERIFIERS)
            reconcile(town.store, town.vault.catalog, keys, tenant=TENANT)
            vault = vault_of(town.store, town.vault.catalog, keys)
            elsewhere = KeyDirectory(town.store).sessions_open(keys.recovery_public.fingerprint, but=epoch.key)
            plan = plan_erasure(
                vault, epoch.name, sessions=epoch.sessions, open_elsewhere=elsewhere,
                give_up=[PointSelector(DATASET, sequence) for sequence in LOST],
            )

            def reopen(without: Collection[ObjectName], more: Sequence[bytes]) -> RecoveredKeys:
                return RecoveredKeys.from_store(self._seed, TENANT, town.store, VERIFIERS, without=without, more=more)

            erase_epoch(
                vault, plan, Order(epoch.key, "sato", "retention ended", bytes(8), (1, 2)), keys=keys,
                keyring=town.keyring, author=Authorship(SAGA, 1, signer()), reopen=reopen,
                now=START + timedelta(days=10),
            )
        files.mark(Done())

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        town = started(files, catalog)
        recorded = {point.sequence for point in self._recorded(town)}
        assert recorded in (set(), set(LOST))
        assert recorded or Done() not in facts, "the erasure was acknowledged and is not recorded"
        self._check_points(town, recorded)
        self._work(files, town)
        town = started(files, catalog)
        assert {point.sequence for point in self._recorded(town)} == set(LOST)
        town.backup()
        self._check_points(town, set(LOST))
        for ref in destroyed_objects(town.store, VERIFIERS):
            assert not town.store.has(ref), "a key that was destroyed is there"

    @staticmethod
    def _recorded(town: Town) -> list[PointSelector]:
        lost = erased_points(town.store, VERIFIERS)
        return [PointSelector(DATASET, p.header.sequence) for p in town.vault.points.chain(DATASET) if p.name in lost]

    def _check_points(self, town: Town, lost: set[int | None]) -> None:
        """Raise unless what is retained is whole for the site and with shares, and what is lost is for nobody."""
        for vault in (town.vault, opened_with(self._seed, town)):
            for point in vault.points.chain(DATASET):
                if point.header.sequence in lost:
                    try:
                        vault.open_point(point)
                    except ErasedError:
                        continue
                    raise AssertionError(f"{point.label} was erased and opens")
                assert restored(vault, point) == content(point.header.sequence), f"{point.label} is not what was taken"
        for name in town.store.names(ObjectKind.KEY):
            town.store.read_checked(ObjectRef(ObjectKind.KEY, name))
