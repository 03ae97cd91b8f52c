"""A point opened wherever its bytes lie: in this site's vault, or at other sites, from where they come when read.

Lines of its own are dialled for this, also while a daemon runs: on the daemon's line a pack that is being sent holds
the line's turn until its last byte, twelve seconds at 10 Mbit/s, and nothing else could be asked for meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jbackupd.catalog.database import Catalog
from jbackupd.codec.signing import SiteVerifier
from jbackupd.engine.bring import Bringer, Place
from jbackupd.engine.brings import Brings
from jbackupd.engine.fetch import fetch
from jbackupd.model.errors import JbackupdError, MissingObjectError, NotFoundError, PeerError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector, SiteId, TenantId
from jbackupd.model.records import Extent
from jbackupd.restore.awaypoint import AwayPoint
from jbackupd.restore.view import ViewablePoint
from jbackupd.runtime.offload import settled
from jbackupd.service.bringers import Bringers
from jbackupd.service.leases import reading
from jbackupd.service.wiring import VAULTS, known_verifiers
from jbackupd.service.wiring import keys_of as site_keys
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.away import AwayStore
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.expiry import where_now
from jbackupd.vault.identity import SiteIdentity, load_identity
from jbackupd.vault.keyring import KeySource
from jbackupd.vault.parts import Parts
from jbackupd.vault.reader import CACHE_BYTES, FrameReader
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint, Vault

KeysOf = Callable[[ObjectStore], KeySource]
"""Opens the tenant's keys, once its key objects are here; blocks."""


def own_keys(settings: Settings, tenant: TenantId) -> KeysOf:
    """Return what opens the keys that this site keeps of a tenant, if it keeps any. Blocks."""
    files = PosixFiles(settings.site.state)
    identity: SiteIdentity | None = None
    with contextlib.suppress(NotFoundError):
        identity = load_identity(files, settings.site.id)
    return lambda _: site_keys(files, tenant, identity)


def keys_from_seed(settings: Settings, tenant: TenantId, seed: bytes) -> KeysOf:
    """Return what opens a tenant's keys with its recovery seed."""
    return lambda store: RecoveredKeys.from_store(seed, tenant, store, known_verifiers(settings))


@dataclass(frozen=True)
class Reached:
    """A point that can be read.

    Attributes:
        point: Its calls block; where something is brought, never on the loop's thread.
        bringer: Brings what is missing; None when all of it is here.
    """

    stored: StoredPoint
    point: ViewablePoint
    bringer: Bringer | None = None
    _brings: Brings | None = None
    _parts: Parts | None = None
    _store: AwayStore | None = None
    _held: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def fill(self, extents: Sequence[Extent]) -> None:
        """Begin to bring all that extents need, in their order, around what is being read; if anything is missing."""
        if self.bringer is None or self._brings is None or self._parts is None or self._store is None:
            return
        packs = await asyncio.to_thread(self._brings.packs, extents)
        away = [name for name in packs if not self._store.is_here(ObjectRef(ObjectKind.PACK, name))]
        self._held.callback(self.bringer.fill([await asyncio.to_thread(self._parts.of, name) for name in away]))


@contextlib.asynccontextmanager
async def reached_point(
    files: PosixFiles, selector: PointSelector, keys_of: KeysOf, places: Sequence[Place], bringers: Bringers, *,
    verifiers: Mapping[SiteId, SiteVerifier], ask_first: bool = False, cache_bytes: int = CACHE_BYTES,
) -> AsyncIterator[Reached]:
    """Open a point, from the vault here as far as it goes.

    Args:
        files: The state folder.
        places: Other sites that may hold the tenant, the nearest first.
        bringers: Of this process.
        verifiers: Who may sign points.
        ask_first: Ask the sites which points there are, even where one here fits.
        cache_bytes: Plaintext of frames kept at most.

    Raises:
        NotFoundError: There is no such point, here or anywhere.
        PeerError: It is not here, and no site answers.
        KeyMissingError: The tenant's keys are not at hand.
        BusyError: Another process fills packs of the tenant.
    """
    tenant = selector.dataset.tenant
    store = AwayStore(files, f"{VAULTS}/{tenant}")
    async with contextlib.AsyncExitStack() as held:
        async with bringers.turn(tenant):
            if ask_first or not await asyncio.to_thread(_is_known, store, selector, verifiers):
                await _outline(store, selector, places, verifiers)
        held.enter_context(reading(files.root, tenant))
        catalog = held.enter_context(contextlib.closing(Catalog(":memory:")))
        vault, stored = await asyncio.to_thread(_opened, store, catalog, selector, keys_of, verifiers)
        reader = FrameReader(store, catalog, vault.keys, tenant=tenant, cache_bytes=cache_bytes)
        held.push_async_callback(lambda: settled(asyncio.to_thread(reader.close)))
        if await asyncio.to_thread(lambda: all(map(store.is_here, _refs(store)))):
            yield Reached(stored, await asyncio.to_thread(vault.open_point, stored, reader))
            return
        if not places:
            raise MissingObjectError(
                "packs of {point} are missing here, and there is no other site to ask",
                "add the [[peer]] that holds them, with its address", point=stored.label,
            )
        shared = bringers.of(tenant, store, places, catalog.pack_length)
        parts, bringer = await held.enter_async_context(shared)
        brings = Brings(bringer, parts, catalog)
        store.connect(parts, brings.range, brings.doubt)
        point = AwayPoint(await asyncio.to_thread(vault.open_point, stored, reader), store, brings)
        yield Reached(stored, point, bringer, brings, parts, store, held)


def _is_known(store: AwayStore, selector: PointSelector, verifiers: Mapping[SiteId, SiteVerifier]) -> bool:
    """Tell whether a point that fits is listed here."""
    if not store.exists():
        return False
    try:
        found = PointList(store, verifiers).find(selector)
    except NotFoundError:
        return False
    return all(map(store.has, _needed_small(store, verifiers, found)))


def _needed_small(
    store: ObjectStore, verifiers: Mapping[SiteId, SiteVerifier], stored: StoredPoint
) -> list[ObjectRef]:
    """Return what a point needs besides packs."""
    needed = PointList(store, verifiers).needed(stored.header.dataset, stored.header.sequence)
    return [ref for ref in needed - destroyed_objects(store, verifiers) if ref.kind is not ObjectKind.PACK]


async def _outline(
    store: AwayStore, selector: PointSelector, places: Sequence[Place], verifiers: Mapping[SiteId, SiteVerifier]
) -> None:
    """Bring points, keys and indexes of a dataset from the first site that gives them.

    Raises:
        PeerError: None does.
    """
    failed: JbackupdError = PeerError("there is no other site to ask", "add a [[peer]] with an address")
    await asyncio.to_thread(store.create)
    for place in places:
        try:
            line = await place.dial()
        except JbackupdError as error:
            failed = error
            continue
        try:
            with store.outlining():
                await fetch(line, store, selector.dataset.tenant, verifiers=verifiers, datasets=[selector.dataset])
        except (MissingObjectError, NotFoundError):
            # What retention has taken of earlier points there. Whether this point is whole is looked at in a moment.
            return
        except JbackupdError as error:
            failed = error
        else:
            return
        finally:
            await line.close()
    raise failed


def _opened(
    store: AwayStore, catalog: Catalog, selector: PointSelector, keys_of: KeysOf,
    verifiers: Mapping[SiteId, SiteVerifier],
) -> tuple[Vault, StoredPoint]:
    store.clear()
    points = PointList(store, verifiers)
    stored = points.find(selector)
    needed = points.needed(stored.header.dataset, stored.header.sequence)
    store.expected = frozenset(ref.name for ref in where_now(store, needed) if ref.kind is ObjectKind.PACK)
    keys = keys_of(store)
    reconcile(store, catalog, keys, tenant=selector.dataset.tenant, with_chunks=False)
    return Vault(store, catalog, keys, tenant=selector.dataset.tenant, verifiers=verifiers), stored


def _refs(store: AwayStore) -> list[ObjectRef]:
    return [ObjectRef(ObjectKind.PACK, name) for name in store.expected]
