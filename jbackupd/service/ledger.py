"""What is where: the newest point of every dataset, and how far each peer has signed for it.

The queue of a peer is derived: points of the vault minus its receipts. Nothing of it is stored, so nothing of it can be
wrong after a crash. The ledger blocks and belongs to one thread; what it returns are values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.codec.signing import SiteVerifier
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import DatasetId, ObjectName, SiteId, TenantId
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint


@dataclass(frozen=True, slots=True)
class PointFacts:
    """A point in short."""

    sequence: int
    begun_at: datetime
    taken_at: datetime
    incomplete: bool


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """How a dataset stands at a peer.

    Attributes:
        point: The newest point that the peer has signed for; None if there is none.
        received_at: When, by the peer's clock.
        waiting_points: Points that it has not signed for.
        waiting_bytes: What they add, as if nothing of it was there yet.
        waiting_since: When the oldest of them was taken.
    """

    point: PointFacts | None = None
    received_at: datetime | None = None
    waiting_points: int = 0
    waiting_bytes: int = 0
    waiting_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """How a dataset stands here and at its peers.

    Attributes:
        newest: Its newest point here.
        copies: By peer.
        error: Why the vault could not be looked at; what else is here is then of an earlier look.
    """

    newest: PointFacts | None = None
    copies: Mapping[SiteId, CopyFacts] = field(default_factory=dict)
    error: JbackupdError | None = None


class Ledger:
    """Looks into the stores of tenants.

    Args:
        open_store: Gives a tenant's objects; called once for each tenant.
        verifiers: Who may sign points.
    """

    def __init__(
        self, open_store: Callable[[TenantId], ObjectStore], verifiers: Mapping[SiteId, SiteVerifier]
    ) -> None:
        self._open_store = open_store
        self._verifiers = verifiers
        self._stores: dict[TenantId, ObjectStore] = {}
        self._points: dict[TenantId, PointList] = {}
        self._receipts: dict[TenantId, ReceiptList] = {}
        self._bytes: dict[ObjectName, int] = {}

    def look(self, dataset: DatasetId, peers: Iterable[SiteId]) -> DatasetFacts:
        """Return how a dataset stands. Blocks; reads what has come since the last look.

        A vault that cannot be read is no exception here but a fact: the others must still be looked at.
        """
        try:
            chain = self.chain(dataset)
            receipts = self._receipt_list(dataset.tenant)
            copies = {peer: self._copy(chain, receipts, dataset, peer) for peer in peers}
        except JbackupdError as error:
            return DatasetFacts(error=error)
        return DatasetFacts(_facts(chain[-1]) if chain else None, copies)

    def chain(self, dataset: DatasetId) -> list[StoredPoint]:
        """Return a dataset's points from the first on; see `PointList.chain`."""
        return self._point_list(dataset.tenant).chain(dataset)

    def datasets(self, tenant: TenantId) -> list[DatasetId]:
        """Return the datasets of which a tenant's vault has points."""
        return self._point_list(tenant).datasets()

    def store(self, tenant: TenantId) -> ObjectStore:
        """Return a tenant's objects.

        Raises:
            NotFoundError: The tenant has no vault here.
        """
        if tenant not in self._stores:
            self._stores[tenant] = self._open_store(tenant)
        return self._stores[tenant]

    def _copy(
        self, chain: Sequence[StoredPoint], receipts: ReceiptList, dataset: DatasetId, peer: SiteId
    ) -> CopyFacts:
        receipt = receipts.newest(dataset, peer)
        held = receipt.sequence if receipt is not None else 0
        waiting = [point for point in chain if point.header.sequence > held]
        return CopyFacts(
            _facts(chain[held - 1]) if 0 < held <= len(chain) else None,
            receipt.received_at if receipt is not None else None,
            len(waiting),
            sum(self._added_bytes(point) for point in waiting),
            waiting[0].header.taken_at if waiting else None,
        )

    def _added_bytes(self, point: StoredPoint) -> int:
        if point.name not in self._bytes:
            store = self.store(point.header.tenant)
            # What was destroyed with an epoch's key is named still, and not sent.
            there = [ref for ref in point.header.added if store.has(ref)]
            self._bytes[point.name] = point.length + sum(map(store.size, there))
        return self._bytes[point.name]

    def _point_list(self, tenant: TenantId) -> PointList:
        if tenant not in self._points:
            self._points[tenant] = PointList(self.store(tenant), self._verifiers)
        return self._points[tenant]

    def _receipt_list(self, tenant: TenantId) -> ReceiptList:
        if tenant not in self._receipts:
            self._receipts[tenant] = ReceiptList(self.store(tenant))
        return self._receipts[tenant]


def _facts(point: StoredPoint) -> PointFacts:
    header = point.header
    return PointFacts(header.sequence, header.begun_at, header.taken_at, header.incomplete)
