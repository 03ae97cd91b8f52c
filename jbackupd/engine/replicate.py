"""Bring a dataset's points to a peer: what it lacks, from the byte where it stopped, until it has signed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from jbackupd.codec.hashing import name_of
from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.receipt import Receipt, verify_receipt
from jbackupd.model.errors import ChainError, IdentityError, TryLaterError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId
from jbackupd.vault.erased import destroyed_objects, record_objects
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.needs import Needs
from jbackupd.vault.peer import ObjectItem, Peer
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import StoredPoint

OBJECTS_AT_ONCE = 4
"""While one object is being synced at the peer, the next ones fill the line."""

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work in a thread; asyncio.to_thread is one."""

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T:
        """Return what the function returns, or raise what it raises."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one point has come on its way to one peer; bytes of objects, as they lie in the vault.

    Attributes:
        bytes_done: Written at the peer, what it already had included.
        bytes_total: All that this point adds, and the point itself.
    """

    dataset: DatasetId
    sequence: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """A point that a peer has signed for.

    Attributes:
        sent_bytes: Bytes of objects that had to be sent for it in this call.
    """

    dataset: DatasetId
    sequence: int
    point: ObjectName
    receipt: Receipt
    sent_bytes: int


OnProgress = Callable[[Progress], None]


async def replicate(
    peer: Peer, store: ObjectStore, chain: Sequence[StoredPoint], *, verifier: SiteVerifier,
    on_progress: OnProgress | None = None, offload: Offload = asyncio.to_thread,
) -> list[Delivered]:
    """Send all points of a dataset that a peer does not hold; return those it has signed for now, in sequence.

    Each receipt is verified and durable in the store before the next point is begun, so a call that fails in the
    middle loses nothing, and the same call later goes on at the byte.

    Args:
        peer: Where to.
        store: Where the objects are; receipts go here.
        chain: The dataset's points from the first on (vault.vault.PointList.chain).
        verifier: The peer's pinned key, for its receipts.
        on_progress: Called after each piece that the peer has written.
        offload: Runs blocking reads.

    Raises:
        ChainError: The peer holds other points than these, or more: this vault is old, or there is a fork.
        PeerError: The link failed, or the peer broke the protocol.
        IdentityError: The peer's receipt is not signed by it, or speaks of another point.
    """
    if not chain:
        return []
    held = await _held_sequence(peer, chain)
    gone = await offload(_Gone.of, store)
    delivered: list[Delivered] = []
    links: list[StoredPoint] = []
    for point in chain[max(0, held - 1) :]:
        if point.header.sequence == held and await offload(_is_receipted, store, point, peer.site):
            continue
        # What it holds without having signed for it may be a link alone.
        wanted = await offload(_to_send, store, chain, point, gone, bool(links) or point.header.sequence == held)
        if wanted is None:
            links.append(point)
            continue
        delivery = _Delivery(peer, store, point, links, wanted, verifier, gone, on_progress, offload)
        delivered.append(await delivery.run())
        links = []
    if links and not delivered:
        raise TryLaterError(
            "unable to send {dataset} to {peer}: what its newest point names was written anew here",
            "the next point of it can be sent: 'jbackupd backup {dataset}'",
            dataset=links[-1].header.dataset, peer=peer.site,
        )
    return delivered


def _to_send(
    store: ObjectStore, chain: Sequence[StoredPoint], point: StoredPoint, gone: _Gone, after_links: bool
) -> list[ObjectRef] | None:
    """Return what a peer needs for a point; None if retention has removed or moved something of it here.

    Args:
        after_links: The peer may lack what points before it need: so all that this one needs, not its difference.
    """
    if point.name in gone.points:
        return None
    refs = point.header.added
    if after_links:
        refs = tuple(sorted(Needs().at(chain, point.header.sequence)))
    wanted = [ref for ref in refs if ref not in gone.objects]
    return None if any(ref in gone.moved and not store.has(ref) for ref in wanted) else wanted


async def _held_sequence(peer: Peer, chain: Sequence[StoredPoint]) -> int:
    """Return the sequence number of the peer's newest point, 0 for none, if it is one of ours."""
    dataset = chain[0].header.dataset
    for head in await peer.heads(dataset.tenant):
        if head.dataset != dataset:
            continue
        if head.sequence > len(chain):
            raise ChainError(
                "{peer} holds {dataset}@{theirs}, but the newest point of this vault is {ours}: it is an old copy",
                "fetch the newer points from the peer first; do not back up on top of this vault",
                peer=peer.site, dataset=dataset, theirs=head.sequence, ours=chain[-1].header.sequence,
            )
        if name_of(head.point) != chain[head.sequence - 1].name:
            raise ChainError(
                "{peer} holds another {dataset}@{sequence} than this vault: a fork",
                "find out which site has been acting for the tenant; compare the receipts of all sites",
                peer=peer.site, dataset=dataset, sequence=head.sequence,
            )
        return head.sequence
    return 0


@dataclass(frozen=True, slots=True)
class _Gone:
    """What is not here on purpose.

    Attributes:
        objects: Destroyed; points name them still.
        records: Say so; a peer that has them does not ask for the others.
        points: Whose content retention has removed.
        moved: Packs that were written anew.
    """

    objects: frozenset[ObjectRef]
    records: tuple[ObjectRef, ...]
    points: frozenset[ObjectName]
    moved: frozenset[ObjectRef]

    @classmethod
    def of(cls, store: ObjectStore) -> _Gone:
        """Look through a store; its own records count."""
        objects = destroyed_objects(store)
        return cls(
            frozenset(ref for ref in objects if not store.has(ref)), tuple(record_objects(store)),
            frozenset(removed_points(store)),
            frozenset(ObjectRef(ObjectKind.PACK, name) for name in moved_packs(store)),
        )


class _Delivery:
    """One point on its way to one peer."""

    def __init__(
        self, peer: Peer, store: ObjectStore, point: StoredPoint, links: Sequence[StoredPoint],
        wanted: Sequence[ObjectRef], verifier: SiteVerifier, gone: _Gone, on_progress: OnProgress | None,
        offload: Offload,
    ) -> None:
        self._peer = peer
        self._store = store
        self._point = point
        self._links = links
        self._wanted = wanted
        self._gone = gone
        self._verifier = verifier
        self._on_progress = on_progress
        self._offload = offload
        self._tenant = point.header.tenant
        self._total = 0
        self._there: dict[ObjectRef, int] = {}

    async def run(self) -> Delivered:
        records = self._gone.records if self._links or len(self._wanted) < len(self._point.header.added) else ()
        points = [ObjectRef(ObjectKind.POINT, point.name) for point in (*self._links, self._point)]
        refs = [*dict.fromkeys((*records, *self._wanted)), *points]
        items = await self._offload(_items, self._store, refs)
        offsets = await self._peer.have(self._tenant, items)
        self._total = sum(item.size for item in items)
        self._there = {item.ref: offset for item, offset in zip(items, offsets, strict=True)}
        missing = [(item, offset) for item, offset in zip(items, offsets, strict=True) if offset < item.size]
        self._report()
        # The point last: a peer that has it has been offered all that it needs.
        await run_all((partial(self._put, *each) for each in missing if each[0].kind is not ObjectKind.POINT),
                      OBJECTS_AT_ONCE)
        await run_all((partial(self._put, *each) for each in missing if each[0].kind is ObjectKind.POINT), 1)
        receipt = await self._commit()
        sent = sum(item.size - offset for item, offset in missing)
        header = self._point.header
        return Delivered(header.dataset, header.sequence, self._point.name, receipt, sent)

    async def _put(self, item: ObjectItem, offset: int) -> None:
        def kept(there: int) -> None:
            self._there[item.ref] = there
            self._report()

        await self._peer.put(self._tenant, item, offset, partial(self._store.read, item.ref), kept)
        kept(item.size)

    async def _commit(self) -> Receipt:
        data = await self._peer.commit(self._tenant, self._point.name)
        receipt = verify_receipt(data, self._verifier)
        header = self._point.header
        stated = (receipt.dataset, receipt.sequence, receipt.point, receipt.holder)
        if stated != (header.dataset, header.sequence, self._point.name, self._peer.site):
            raise IdentityError(
                "unable to use the receipt of {peer} for {dataset}@{sequence}: it speaks of something else",
                "ask the officers of {peer} what their site is doing",
                peer=self._peer.site, dataset=header.dataset, sequence=header.sequence,
            )
        await self._offload(self._store.put, ObjectKind.RECEIPT, data)
        return receipt

    def _report(self) -> None:
        if self._on_progress is not None:
            header = self._point.header
            self._on_progress(Progress(header.dataset, header.sequence, sum(self._there.values()), self._total))


async def run_all(calls: Iterable[Callable[[], Awaitable[None]]], at_once: int) -> None:
    """Run calls, a few at a time, until all are done or one fails; then cancel the others and raise its error."""
    places = asyncio.Semaphore(at_once)

    async def run(call: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await call()

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(run(call))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _items(store: ObjectStore, refs: Sequence[ObjectRef]) -> list[ObjectItem]:
    return [ObjectItem.of(ref, store.size(ref)) for ref in refs]


def _is_receipted(store: ObjectStore, point: StoredPoint, holder: SiteId) -> bool:
    return any(receipt.holder == holder for _, receipt in ReceiptList(store).for_point(point.name))
