"""What the listening side does for its peers: who may do what with which tenant, then the holding of that tenant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol

from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.format.point import PointHeader
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import NotFoundError, ProtocolError, RefusedError
from jbackupd.model.ids import DatasetId, ObjectName, ObjectRef, SiteId, TenantId, is_word
from jbackupd.protocol.handshake import EpochBook, fenced
from jbackupd.protocol.messages import HEADS_MAX, POINTS_MAX, RECEIPTS_MAX, ContactIs, HeadItem, ObjectItem, PointItem
from jbackupd.storage.files import Files
from jbackupd.vault.deposits import Deposits
from jbackupd.vault.holding import Holding
from jbackupd.vault.store import ObjectStore


class Rights(Protocol):
    """Who may do what; asked at every call, so a reload of the configuration takes effect at once."""

    def may_write(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this site holds the tenant's objects for this peer."""
        ...

    def may_read(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this peer may have the tenant's (sealed) objects."""
        ...

    def may_deposit(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether journals of this peer's desks are kept here."""
        ...

    def quota(self, tenant: TenantId) -> int | None:
        """Return how many bytes the tenant may use here; None is unlimited."""
        ...


@dataclass(frozen=True)
class FixedRights:
    """Rights as plain tables.

    Attributes:
        writers: For each tenant, the sites whose points are accepted.
        readers: For each tenant, further sites that may read; writers may.
        quotas: Bytes for a tenant; unlimited for those not named.
    """

    writers: Mapping[TenantId, frozenset[SiteId]] = field(default_factory=dict)
    readers: Mapping[TenantId, frozenset[SiteId]] = field(default_factory=dict)
    quotas: Mapping[TenantId, int] = field(default_factory=dict)

    def may_write(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this site holds the tenant's objects for this peer."""
        return peer in self.writers.get(tenant, frozenset())

    def may_read(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this peer may have the tenant's (sealed) objects."""
        return self.may_write(peer, tenant) or peer in self.readers.get(tenant, frozenset())

    def may_deposit(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether journals of this peer's desks are kept here: of who may read."""
        return self.may_read(peer, tenant)

    def quota(self, tenant: TenantId) -> int | None:
        """Return how many bytes the tenant may use here."""
        return self.quotas.get(tenant)


class VaultHolder:
    """The `Holder` of transport.holding, over the vaults of a state folder. Blocking; for several threads.

    Args:
        files: The state folder.
        site: This site.
        signer: Signs receipts.
        verifiers: The pinned keys of all sites that may sign points, this one included.
        rights: Who may do what.
        book: The epochs in force.
        clock: Dates the receipts.
        met: When this site was last in touch with another one; None for one that it does not know.
        promised: Keeps officers' promises and tells which are here; see `Holder.promises`.
    """

    def __init__(
        self, files: Files, *, site: SiteId, signer: SiteSigner, verifiers: Mapping[SiteId, SiteVerifier],
        rights: Rights, book: EpochBook, clock: Clock | None = None,
        met: Callable[[SiteId], ContactIs | None] = lambda _site: None,
        promised: Callable[[bytes], Mapping[str, tuple[int, int]]] = lambda _promises: {},
    ) -> None:
        self.rights = rights
        self._promised = promised
        self._met = met
        self._files = files
        self._site = site
        self._signer = signer
        self._verifiers = verifiers
        self._book = book
        self._clock = clock or SystemClock()
        self._deposits = Deposits(files)
        self._holdings: dict[TenantId, Holding] = {}
        self._guard = threading.Lock()

    def have(self, peer: SiteId, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        """Return, for each item, how many of its bytes are here and durable; its size when it is whole."""
        holding = self._for_writing(peer, tenant)
        return [holding.offset(item) for item in items]

    def begin(self, peer: SiteId, tenant: TenantId, item: ObjectItem, offset: int) -> None:
        """Return when a put of this object from this offset on is welcome."""
        holding = self._for_writing(peer, tenant)
        there = holding.incoming.offset(item.ref, item.size)
        if offset > there:
            raise ProtocolError(
                "unable to take {object} from {offset} on: only {there} bytes are here",
                "ask again how much is here", object=item.ref, offset=offset, there=there,
            )
        holding.check_room(item.size - there)

    def write(self, peer: SiteId, tenant: TenantId, item: ObjectItem, offset: int, data: bytes) -> None:
        """Append bytes; not durable. Bytes that are here already are passed over."""
        self._for_writing(peer, tenant).write(item.ref, offset, data)

    def flush(self, peer: SiteId, tenant: TenantId, item: ObjectItem) -> int:
        """Make what has arrived of an object durable; return how many bytes that are."""
        return self._for_writing(peer, tenant).incoming.flush(item.ref)

    def finish(self, peer: SiteId, tenant: TenantId, item: ObjectItem) -> None:
        """Verify a whole object against its name and make it durable under it."""
        self._for_writing(peer, tenant).finish(item)

    def commit(self, peer: SiteId, tenant: TenantId, point: ObjectName) -> bytes:
        """Check a point that was put, list it durably, and return the receipt object; harmless twice."""
        holding = self._for_writing(peer, tenant)

        def check(header: PointHeader) -> None:
            self._check_header(peer, tenant, header)

        with holding.lock:
            return holding.commit(point, check)

    def deposit(
        self, peer: SiteId, tenant: TenantId, journal: bytes, head: bytes, offset: int, data: bytes
    ) -> int:
        """Keep a piece of a journal of the peer's desk, durably; return how many bytes of the journal are here."""
        if not is_word(tenant) or not self.rights.may_deposit(peer, tenant):
            raise RefusedError(
                "{site} has nothing to do with {tenant}, and keeps no journal of its desks", site=self._site,
                tenant=tenant,
            )
        return self._deposits.take(peer, tenant, journal, head, offset, data)

    def contact(self, peer: SiteId, other: SiteId) -> ContactIs:
        """Return when this site was last in touch with a third one: any peer may know."""
        met = self._met(other)
        if met is None:
            raise RefusedError("{site} does not know {other}", site=self._site, other=other)
        return met

    def promises(self, peer: SiteId, promises: bytes) -> Mapping[str, tuple[int, int]]:
        """Keep promises of an officer, durably, if there are any; return which books are here."""
        return self._promised(promises)

    def heads(self, peer: SiteId, tenant: TenantId) -> list[HeadItem]:
        """Return the newest point of each dataset with the receipts for it; empty for a tenant without points."""
        try:
            holding = self._for_reading(peer, tenant)
        except NotFoundError:
            return []
        with holding.lock:
            found = [holding.shown(dataset)[-1] for dataset in holding.points.datasets()]
            if len(found) > HEADS_MAX:
                raise RefusedError(
                    "unable to list the heads of {tenant}: it has more than {most} datasets",
                    "divide it into several tenants", tenant=tenant, most=HEADS_MAX,
                )
            return [
                HeadItem(
                    head.header.dataset.name, head.header.sequence, head.name, head.length,
                    [bytes(name) for name, _ in holding.receipts.for_point(head.name)][:RECEIPTS_MAX],
                )
                for head in found
            ]

    def points(self, peer: SiteId, tenant: TenantId, dataset: str, from_sequence: int) -> list[PointItem]:
        """Return points of a dataset in order, from a sequence number on; at most POINTS_MAX."""
        holding = self._for_reading(peer, tenant)
        with holding.lock:
            shown = holding.shown(DatasetId(tenant, dataset))
        by_sequence = {point.header.sequence: point for point in shown}
        wanted = takewhile(by_sequence.__contains__, range(from_sequence, from_sequence + POINTS_MAX))
        return [PointItem(n, by_sequence[n].name, by_sequence[n].length) for n in wanted]

    def read(self, peer: SiteId, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> tuple[bytes, int]:
        """Return a range of an object, shorter only at its end, and the size of the whole object."""
        store = self._for_reading(peer, tenant).store
        size = store.size(ref)
        rest = min(length, size - offset)
        return (store.read(ref, offset, rest) if rest > 0 else b""), size

    def _check_header(self, peer: SiteId, tenant: TenantId, header: PointHeader) -> None:
        """Refuse another tenant's point, and one that its maker sends under an epoch that is over.

        A point of the old epoch that a third site hands on is welcome: it was made before the loss.
        """
        if header.tenant != tenant:
            raise RefusedError(
                "unable to take a point of {other} for {tenant}", other=header.tenant, tenant=tenant
            )
        if header.site == peer and not self._book.may_author(header.site, header.epoch):
            raise fenced(header.site, header.epoch, self._book.epoch_of(header.site))

    def _for_writing(self, peer: SiteId, tenant: TenantId) -> Holding:
        if not is_word(tenant) or not self.rights.may_write(peer, tenant):
            raise RefusedError(
                "{site} does not hold {tenant} for {peer}",
                "let {site} add {tenant} to what it holds for {peer}", site=self._site, tenant=tenant, peer=peer,
            )
        return self._holding(tenant, create=True)

    def _for_reading(self, peer: SiteId, tenant: TenantId) -> Holding:
        if not is_word(tenant) or not self.rights.may_read(peer, tenant):
            raise RefusedError(
                "{site} does not let {peer} read {tenant}",
                "let {site} add {peer} to the sites of {tenant}", site=self._site, tenant=tenant, peer=peer,
            )
        return self._holding(tenant, create=False)

    def _holding(self, tenant: TenantId, *, create: bool) -> Holding:
        with self._guard:
            if tenant not in self._holdings:
                store = ObjectStore(self._files, f"vaults/{tenant}")
                if not store.exists():
                    if not create:
                        raise NotFoundError(
                            "{site} holds nothing of {tenant}", site=self._site, tenant=tenant
                        )
                    store.create()
                self._holdings[tenant] = Holding(
                    store, site=self._site, signer=self._signer, verifiers=self._verifiers, clock=self._clock,
                    quota=lambda: self.rights.quota(tenant),
                )
            return self._holdings[tenant]
