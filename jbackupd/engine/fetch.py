"""Take from a peer what this site lacks of a tenant: at recovery, or after this site's vault was lost or is old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jbackupd.codec.signing import SiteVerifier
from jbackupd.engine.replicate import OBJECTS_AT_ONCE, Offload, run_all
from jbackupd.format.expiry import NOT_HELD, Expiry, RemovedPoint
from jbackupd.format.point import Point, decode_point, verify_point
from jbackupd.format.receipt import decode_receipt, verify_receipt
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import (
    ChainError,
    FormatError,
    IdentityError,
    JbackupdError,
    MissingObjectError,
    NotFoundError,
)
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.messages import OBJECT_BYTES_MAX
from jbackupd.runtime.offload import settled
from jbackupd.vault.commit import Authorship
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.expiry import put_expiry, removed_points
from jbackupd.vault.incoming import Incoming
from jbackupd.vault.peer import Head, Peer
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came from a peer.

    Attributes:
        points: Points that are listed here now and were not before, in sequence.
        received_bytes: Bytes of objects that had to come over the line for them.
    """

    points: tuple[tuple[DatasetId, int], ...]
    received_bytes: int


async def fetch(
    peer: Peer, store: ObjectStore, tenant: TenantId, *, verifiers: Mapping[SiteId, SiteVerifier],
    datasets: Sequence[DatasetId] | None = None, on_bytes: Callable[[int], None] | None = None,
    author: Authorship | None = None, clock: Clock | None = None, offload: Offload = asyncio.to_thread,
) -> Fetched:
    """Bring all points of a tenant that a peer shows, with all that they need, into the store.

    Every object is verified by its name, every point by its signature and by the chain, and a point is listed only
    after all that it needs is here, but for key objects that a record says were destroyed. A call that fails in the
    middle loses nothing; the next one goes on at the byte.

    Args:
        peer: Where from; it is not trusted.
        store: Where to; its folders are there.
        tenant: Whose points.
        verifiers: The pinned keys of the sites that may sign points and receipts.
        datasets: Only these, in this order; all without.
        on_bytes: Called with the count of each piece that came.
        author: States that points before the newest came without their content, where the peer's retention has removed
            it; without one that is an error.
        clock: Dates that statement.
        offload: Runs blocking work.

    Raises:
        ChainError: The peer's points do not continue what is here: a fork.
        IdentityError: A point is not signed by the site that it names.
        MissingObjectError: The peer shows a point, but lacks an object that it needs.
    """
    heads = {head.dataset: head for head in await peer.heads(tenant)}
    wanted = [heads[d] for d in datasets if d in heads] if datasets is not None else list(heads.values())
    run = _Fetch(peer, store, tenant, verifiers, on_bytes, author, clock or SystemClock(), offload)
    for head in wanted:
        await run.dataset(head)
    return Fetched(tuple(run.points), run.received_bytes)


class _Fetch:
    def __init__(
        self, peer: Peer, store: ObjectStore, tenant: TenantId, verifiers: Mapping[SiteId, SiteVerifier],
        on_bytes: Callable[[int], None] | None, author: Authorship | None, clock: Clock, offload: Offload,
    ) -> None:
        self.points: list[tuple[DatasetId, int]] = []
        self.received_bytes = 0
        self._peer = peer
        self._store = store
        self._tenant = tenant
        self._verifiers = verifiers
        self._on_bytes = on_bytes
        self._author = author
        self._clock = clock
        self._offload = offload
        self._incoming = Incoming(store.files, store)
        self._absent: dict[ObjectRef, JbackupdError] = {}

    async def dataset(self, head: Head) -> None:
        """Fetch what is missing of one dataset, point by point, up to the head that the peer showed."""
        sequence, previous = await self._offload(self._local_head, head.dataset)
        while sequence < head.sequence:
            page = await self._peer.points(self._tenant, head.dataset.name, sequence + 1)
            if not page:
                raise ChainError(
                    "{peer} shows {dataset}@{sequence}, but does not have the points before it",
                    "fetch from another site, then compare",
                    peer=self._peer.site, dataset=head.dataset, sequence=head.sequence,
                )
            for data in page:
                point = self._checked(data, head.dataset, sequence + 1, previous)
                await self._take(point, data)
                sequence, previous = sequence + 1, point.name
        await self._offload(self._check_absent, head.dataset)
        await self._offload(self._take_receipts, head)

    def _local_head(self, dataset: DatasetId) -> tuple[int, ObjectName]:
        chain = PointList(self._store, self._verifiers).chain(dataset)
        return (chain[-1].header.sequence, chain[-1].name) if chain else (0, NO_OBJECT)

    def _checked(self, data: bytes, dataset: DatasetId, sequence: int, previous: ObjectName) -> Point:
        point = decode_point(data)
        header = point.header
        verifier = self._verifiers.get(header.site)
        if verifier is None:
            raise IdentityError(
                "unable to take {dataset}@{sequence} from {peer}: the site {site} that signed it is not known here",
                "add the card of {site} to the configuration",
                dataset=dataset, sequence=sequence, peer=self._peer.site, site=header.site,
            )
        verify_point(point, verifier)
        if (header.dataset, header.sequence, header.previous) != (dataset, sequence, previous):
            raise ChainError(
                "the points of {dataset} at {peer} do not continue those of this site at {sequence}: a fork",
                "ask the other sites which one they have given a receipt for",
                dataset=dataset, peer=self._peer.site, sequence=sequence,
            )
        return point

    async def _take(self, point: Point, data: bytes) -> None:
        missing = await self._offload(self._missing, point.header.added)
        await run_all((partial(self._take_object, ref) for ref in missing), OBJECTS_AT_ONCE)
        await self._offload(self._store.put, ObjectKind.POINT, data)
        self.points.append((point.header.dataset, point.header.sequence))

    def _missing(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        return [ref for ref in refs if not self._store.has(ref)]

    async def _take_object(self, ref: ObjectRef) -> None:
        try:
            await self._receive(ref)
        except (MissingObjectError, NotFoundError) as error:
            if ref.kind is not ObjectKind.KEY and self._author is None:
                raise
            # It may have been destroyed on purpose, or removed by retention: only what comes later tells.
            self._absent[ref] = error

    def _check_absent(self, dataset: DatasetId) -> None:
        """Find out what the absence of objects means: the newest point must be whole, earlier ones may be links.

        Raises:
            MissingObjectError: The newest point needs one, or nobody can state what earlier points lack.
        """
        gone = destroyed_objects(self._store, self._verifiers)
        absent = {
            ref: error for ref, error in self._absent.items() if ref not in gone and not self._store.has(ref)
        }
        if not absent:
            return
        points = PointList(self._store, self._verifiers)
        chain = points.chain(dataset)
        newest = points.needed(dataset, len(chain))
        for ref, error in absent.items():
            if self._author is None or ref in newest:
                raise error
        assert self._author is not None, "without one, something absent was raised"
        stated = removed_points(self._store, self._verifiers)
        hollow = tuple(
            RemovedPoint(dataset, point.header.sequence, point.name, NOT_HELD) for point in chain
            if point.name not in stated and absent.keys() & points.needed(dataset, point.header.sequence)
        )
        if hollow:
            author = self._author
            expiry = Expiry(self._tenant, author.site, author.epoch, self._clock.now(), hollow)
            put_expiry(self._store, expiry, author.signer)

    async def _receive(self, ref: ObjectRef) -> None:
        offset = await self._offload(self._incoming.offset, ref, OBJECT_BYTES_MAX)
        try:
            async for piece in self._peer.get(self._tenant, ref, offset, OBJECT_BYTES_MAX - offset):
                await settled(self._offload(self._incoming.write, ref, offset, piece))
                offset += len(piece)
                self.received_bytes += len(piece)
                if self._on_bytes is not None:
                    self._on_bytes(len(piece))
        except BaseException:
            with contextlib.suppress(JbackupdError):
                await settled(self._offload(self._incoming.flush, ref))
            raise
        await settled(self._offload(self._incoming.finish, ref, offset))

    def _take_receipts(self, head: Head) -> None:
        """Keep the receipts that fit; one that does not is no reason to fail a recovery."""
        for data in head.receipts:
            with contextlib.suppress(FormatError, IdentityError):
                verifier = self._verifiers.get(decode_receipt(data).holder)
                if verifier is not None:
                    verify_receipt(data, verifier)
                    self._store.put(ObjectKind.RECEIPT, data)
