"""Scenario: a site sends its points to a holder that can read none of them; the holder's machine fails."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from jbackupd.catalog.database import Catalog
from jbackupd.codec.signing import SiteSigner
from jbackupd.engine.replicate import replicate
from jbackupd.format.receipt import verify_receipt
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import TryLaterError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.storage.files import Files
from jbackupd.vault.holder import FixedRights, VaultHolder
from jbackupd.vault.incoming import Incoming
from jbackupd.vault.peer import Head, ObjectItem
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    SAGA,
    START,
    TENANT,
    Town,
    check_points,
    init,
    signer,
    small_packs,
    vault_of,
    without_leftovers,
)
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, folder_of, key_of

KYOTO = SiteId("kyoto")
PIECE_BYTES = 8_000
PIECES_TO_A_STOP = 2
"""After so many pieces the sender is asked to stop, so that partials are synced in the middle."""

T = TypeVar("T")


@functools.cache
def holder_signer() -> SiteSigner:
    """Return the holder's keys."""
    return SiteSigner(b"k" * 64)


@dataclass(frozen=True)
class Receipted:
    """The holder gave a receipt: the point restores from it alone from now on."""

    sequence: int
    point: ObjectName


@dataclass(frozen=True)
class Told:
    """The holder said that so many bytes are here and durable."""

    ref: ObjectRef
    size: int
    offset: int


class FirstEpoch:
    """No site was ever declared lost."""

    def epoch_of(self, site: SiteId) -> int:
        return 1

    def known(self) -> Mapping[SiteId, int]:
        return {}

    def may_author(self, site: SiteId, epoch: int) -> bool:
        return epoch == 1

    def news_for(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        return []

    def learn(self, declaration: bytes) -> None:
        raise NotImplementedError


class NearPeer:
    """A holder as a `Peer`, with the calls in the order in which the line makes them."""

    site = KYOTO

    def __init__(self, files: Files, mark: Callable[[object], None]) -> None:
        self._mark = mark
        self._holder = VaultHolder(
            files, site=KYOTO, signer=holder_signer(), verifiers={SAGA: signer().public, KYOTO: holder_signer().public},
            rights=FixedRights({TENANT: frozenset({SAGA})}), book=FirstEpoch(),
            clock=ManualClock(START + timedelta(days=9)),
        )

    async def have(self, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        offsets = self._holder.have(SAGA, tenant, items)
        for item, offset in zip(items, offsets, strict=True):
            if 0 < offset < item.size:
                self._mark(Told(item.ref, item.size, offset))
        return offsets

    async def put(self, tenant: TenantId, item: ObjectItem, offset: int, read: Callable[[int, int], bytes],
                  on_kept: Callable[[int], None] | None = None) -> None:
        self._holder.begin(SAGA, tenant, item, offset)
        for number, begin in enumerate(range(offset, item.size, PIECE_BYTES), 1):
            data = read(begin, min(PIECE_BYTES, item.size - begin))
            self._holder.write(SAGA, tenant, item, begin, data)
            if number % PIECES_TO_A_STOP == 0 and begin + len(data) < item.size:
                self._mark(Told(item.ref, item.size, self._holder.flush(SAGA, tenant, item)))
        self._holder.finish(SAGA, tenant, item)

    async def commit(self, tenant: TenantId, point: ObjectName) -> bytes:
        data = self._holder.commit(SAGA, tenant, point)
        self._mark(Receipted(verify_receipt(data, holder_signer().public).sequence, point))
        return data

    async def heads(self, tenant: TenantId) -> list[Head]:
        return [
            Head(DATASET, item.sequence, self._read(item.name), ()) for item in self._holder.heads(SAGA, tenant)
        ]

    async def points(self, tenant: TenantId, dataset: str, from_sequence: int) -> list[bytes]:
        return [self._read(item.name) for item in self._holder.points(SAGA, tenant, dataset, from_sequence)]

    def get(self, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def declare(self, declaration: bytes) -> None:
        raise NotImplementedError

    def _read(self, name: bytes) -> bytes:
        data, _ = self._holder.read(SAGA, TENANT, ObjectRef(ObjectKind.POINT, ObjectName(name)), 0, 2**24)
        return data


async def inline(function: Callable[..., T], /, *args: Any) -> T:
    """Do blocking work at once: the order of calls is the same in each run."""
    return function(*args)


class Transfer:
    """Sends what the holder lacks of two points.

    Args:
        held: Points that the holder has before.
    """

    name = "transfer"
    uses_catalog = False
    in_order = False

    def __init__(self, held: int = 0) -> None:
        self._held = held

    @functools.cached_property
    def _source(self) -> tuple[Key, bytes]:
        files = MemoryFiles()
        seed = init(files)
        with small_packs():
            town = Town(files, catalog_of(None))
            for _ in range(2):
                town.backup()
        return key_of(files.root), seed

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        if self._held:
            self._sending(files, self._held)()
        return key_of(files.root)

    def prepare(self) -> Key:
        return self._before

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return self._sending(files, 2)

    def _sending(self, files: MemoryFiles, count: int) -> Callable[[], None]:
        return sending(MemoryFiles(folder_of(self._source[0])), files, files.mark, count=count)

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        store = ObjectStore(files, FOLDER)
        if store.exists():
            incoming = Incoming(files, store)
            for fact in facts:
                if isinstance(fact, Told):
                    there = incoming.offset(fact.ref, fact.size)
                    assert there >= fact.offset, f"{fact.ref}: told {fact.offset} bytes are durable, {there} are here"
        check_held(files, self._source[1], facts)
        self._sending(files, 2)()
        check_held(files, self._source[1], [*facts, *files.facts()])

    def essence(self, key: Key) -> object:
        return without_leftovers(key)


def sending(source: Files, holder: Files, mark: Callable[[object], None], *, count: int) -> Callable[[], None]:
    """Return the work of sending a source's first points to a holder."""
    store = ObjectStore(source, FOLDER)
    chain = vault_of(store, catalog_of(None), _NO_KEYS).points.chain(DATASET)[:count]
    peer = NearPeer(holder, mark)

    def work() -> None:
        for attempt in range(3):  # each may find one object with holes from before a power cut
            try:
                asyncio.run(replicate(peer, store, chain, verifier=holder_signer().public, offload=inline))
                return
            except TryLaterError:
                if attempt == 2:
                    raise

    return work


def check_held(files: Files, seed: bytes, facts: Sequence[object]) -> None:
    """Raise unless every receipted point restores from a holder's disk and the recovery seed alone."""
    receipted = [fact for fact in facts if isinstance(fact, Receipted)]
    store = ObjectStore(files, FOLDER)
    if not store.exists() or not store.names(ObjectKind.POINT):
        assert not receipted, f"receipted and gone: {receipted}"
        return
    key_objects = [store.read(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)]
    keys = RecoveredKeys.from_seed(seed, TENANT, key_objects)
    catalog = catalog_of(None)
    rebuild(store, catalog, keys, tenant=TENANT)
    vault = vault_of(store, catalog, keys)
    names = {point.name for point in vault.points.chain(DATASET)}
    lost = [fact for fact in receipted if fact.point not in names]
    assert not lost, f"receipted and gone: {lost}"
    check_points(vault, [])


class _NoKeys:
    """Listing points needs none."""

    def content_hash(self) -> Any:
        return None

    def session_key(self, session_id: bytes) -> bytes:
        raise NotImplementedError

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        raise NotImplementedError


_NO_KEYS = _NoKeys()
