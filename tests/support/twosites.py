"""Two sites on loopback: a listener that holds, a dialler that sends; real SSH, real files, real signatures."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jbackupd.codec.hashing import name_of
from jbackupd.codec.signing import SiteSigner
from jbackupd.format.header import encode_header
from jbackupd.format.point import PointHeader, encode_point
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.handshake import Other, Own
from jbackupd.protocol.messages import ObjectItem
from jbackupd.storage.files import PosixFiles
from jbackupd.transport.dial import dial
from jbackupd.transport.endpoint import Endpoint
from jbackupd.transport.holding import Limits
from jbackupd.transport.link import Link
from jbackupd.transport.ssh import LocalSite, PinnedSite, private_key
from jbackupd.vault.holder import FixedRights, VaultHolder
from jbackupd.vault.store import ObjectStore

IMARI = TenantId("imari")
JUKI = DatasetId(IMARI, "juki")
START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@dataclass
class Epochs:
    """An epoch book in memory; `learn` takes b"SITE EPOCH"."""

    epochs: dict[SiteId, int] = field(default_factory=dict)

    def epoch_of(self, site: SiteId) -> int:
        return self.epochs.get(site, 1)

    def known(self) -> Mapping[SiteId, int]:
        return self.epochs

    def may_author(self, site: SiteId, epoch: int) -> bool:
        return epoch >= self.epoch_of(site)

    def news_for(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        known = self.epochs.items()
        return [f"{site} {epoch}".encode() for site, epoch in known if epoch >= epochs.get(site, 1)]

    def learn(self, declaration: bytes) -> None:
        site, epoch = declaration.decode().split()
        self.epochs[SiteId(site)] = max(self.epoch_of(SiteId(site)), int(epoch))


class Site:
    """One site: keys from its name, a state folder, an epoch book."""

    def __init__(self, name: str, folder: str) -> None:
        self.id = SiteId(name)
        self.files = PosixFiles(folder)
        self.files.make_folder("")
        self.signer = SiteSigner.from_seed(hashlib.sha512(name.encode()).digest())
        self.book = Epochs()
        self.clock = ManualClock(START)
        self.local = LocalSite(Own(self.id, self.signer, self.book), hashlib.sha256(name.encode()).digest())

    @property
    def pinned(self) -> PinnedSite:
        public = private_key(self.local.ssh_seed).public_data[-32:]
        return PinnedSite(Other(self.id, self.signer.public), public)

    def store(self, tenant: str = IMARI) -> ObjectStore:
        store = ObjectStore(self.files, f"vaults/{tenant}")
        store.create()
        return store


def pack(content: bytes) -> bytes:
    """Bytes that begin like a pack."""
    return encode_header(ObjectKind.PACK) + content


class Town:
    """Three sites that know each other, and points to send."""

    def __init__(self, folder: str) -> None:
        self.saga, self.kyoto, self.hokkaido = (
            Site(name, f"{folder}/{name}") for name in ("saga", "kyoto", "hokkaido")
        )
        self.sites = {site.id: site for site in (self.saga, self.kyoto, self.hokkaido)}
        self.rights = FixedRights({IMARI: frozenset(self.sites)})
        self.last: dict[DatasetId, tuple[int, ObjectName]] = {}

    @property
    def verifiers(self):
        return {site.id: site.signer.public for site in self.sites.values()}

    def holder(self, site: Site) -> VaultHolder:
        return VaultHolder(
            site.files, site=site.id, signer=site.signer, verifiers=self.verifiers, rights=self.rights,
            book=site.book, clock=site.clock,
        )

    def find(self, site: SiteId) -> PinnedSite | None:
        return self.sites[site].pinned if site in self.sites else None

    @contextlib.asynccontextmanager
    async def listening(self, site: Site, holder=None, **options) -> AsyncIterator[Endpoint]:
        endpoint = Endpoint(site.local, self.find, holder or self.holder(site), **options)
        await endpoint.start("127.0.0.1", 0)
        try:
            yield endpoint
        finally:
            await endpoint.close()

    @contextlib.asynccontextmanager
    async def linked(
        self, dialler: Site | None = None, listener: Site | None = None, limits: Limits | None = None, holder=None
    ) -> AsyncIterator[Link]:
        dialler, listener = dialler or self.saga, listener or self.kyoto
        async with (
            self.listening(listener, holder) as endpoint,
            await dial(dialler.local, listener.pinned, "127.0.0.1", endpoint.port, limits=limits) as link,
        ):
            yield link

    def take_point(
        self, contents: list[bytes], *, site: Site | None = None, removed: tuple[ObjectRef, ...] = (),
        dataset: DatasetId = JUKI, epoch: int = 1, after: tuple[int, ObjectName] | None = None,
    ) -> ObjectName:
        """Put packs and a point that adds them into a site's store; return the point's name."""
        site = site or self.saga
        store = site.store(dataset.tenant)
        added = tuple(ObjectRef(ObjectKind.PACK, store.put(ObjectKind.PACK, pack(c))) for c in contents)
        sequence, previous = after or self.last.get(dataset, (0, NO_OBJECT))
        header = PointHeader(
            dataset, sequence + 1, previous, site.id, epoch, START, START + timedelta(seconds=5),
            bytes(16), bytes(16), added, removed, False,
        )
        data = encode_point(header, b"sealed" * 10, site.signer)
        name = store.put(ObjectKind.POINT, data)
        self.last[dataset] = (sequence + 1, name)
        return name



def item_of(data: bytes, kind: ObjectKind = ObjectKind.PACK) -> ObjectItem:
    return ObjectItem.of(ObjectRef(kind, name_of(data)), len(data))


def run(story):
    """Run a coroutine to its end, within half a minute."""
    async def bounded():
        async with asyncio.timeout(30):
            return await story

    return asyncio.run(bounded())
