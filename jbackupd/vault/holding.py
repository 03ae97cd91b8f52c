"""What a site holds of one tenant for others: objects coming in, points listed one after the other, receipts."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from jbackupd.codec.hashing import name_of
from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.format.expiry import NOT_HELD, Expiry, RemovedPoint
from jbackupd.format.point import Point, PointHeader, decode_point, needed_after, verify_point
from jbackupd.format.receipt import Receipt, encode_receipt, verify_receipt
from jbackupd.model.clock import Clock
from jbackupd.model.errors import (
    ChainError,
    DamageError,
    IdentityError,
    JbackupdError,
    MissingObjectError,
    NoSpaceError,
    NotFoundError,
    TryLaterError,
)
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId
from jbackupd.model.texts import to_translate
from jbackupd.protocol.messages import ObjectItem
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.expiry import put_expiry
from jbackupd.vault.incoming import Incoming
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint

CheckEpoch = Callable[[PointHeader], None]


class Holding:
    """The objects of one tenant, as a holder that can read none of them.

    A point that comes in is not listed among the points before all that it needs is there: until `commit` it waits as a
    partial. So whoever opens this vault finds only points that are whole.

    Args:
        site: This site, which signs the receipts.
        quota: Asked each time: bytes this tenant may use here, partials included; None is unlimited.
    """

    def __init__(
        self, store: ObjectStore, *, site: SiteId, signer: SiteSigner, verifiers: Mapping[SiteId, SiteVerifier],
        clock: Clock, quota: Callable[[], int | None],
    ) -> None:
        self.store = store
        self.incoming = Incoming(store.files, store)
        self.points = PointList(store, verifiers)
        self.receipts = ReceiptList(store)
        self.lock = threading.Lock()
        """Guards everything but `incoming`, which guards itself."""
        self._quota = quota
        self._site = site
        self._signer = signer
        self._verifiers = verifiers
        self._clock = clock
        self._needed: dict[DatasetId, tuple[ObjectName, frozenset[ObjectRef]]] = {}
        self._used: int | None = None
        """Bytes in use; counted when a quota is first asked about, then kept up to date."""

    # Objects.

    def check_room(self, more: int) -> None:
        """Return when so many bytes more fit the quota.

        Raises:
            NoSpaceError: They do not.
        """
        quota = self._quota()
        if quota is None:
            return
        with self.lock:
            if self._used is None:
                self._used = _used_bytes(self.store)
            used = self._used
        if used + more > quota:
            raise NoSpaceError(
                "unable to take {more} bytes: {used} of the quota of {quota} bytes are in use",
                "let the holding site raise the quota; nothing that was taken is lost",
                more=more, used=used, quota=quota,
            )

    def write(self, ref: ObjectRef, offset: int, data: bytes) -> None:
        """Append bytes to a partial within the quota."""
        self.check_room(len(data))
        self._count(self.incoming.write(ref, offset, data))

    def offset(self, item: ObjectItem) -> int:
        """Return how many bytes of an object are here and durable; its size only when `finish` has nothing left to do.

        A link that was cut behind the last byte leaves a partial that is whole: nobody would put it again.
        """
        there = self.incoming.offset(item.ref, item.size)
        if there == item.size and not self.store.has(item.ref):
            try:
                self.finish(item)
            except (DamageError, IdentityError, TryLaterError):
                return 0
        return there

    def finish(self, item: ObjectItem) -> None:
        """Verify a whole object; points then wait for `commit`, receipts must be signed, all others are stored."""
        ref = item.ref
        try:
            if ref.kind is ObjectKind.POINT:
                if not self.store.has(ref):
                    self.incoming.check(ref, item.size)
                return
            if ref.kind is ObjectKind.RECEIPT and not self.store.has(ref):
                self.incoming.check(ref, item.size)
                self._check_receipt(ref)
            self.incoming.finish(ref, item.size)
        except (DamageError, IdentityError, TryLaterError):
            self.incoming.discard(ref)
            self._count(-item.size)
            raise

    def _count(self, change: int) -> None:
        with self.lock:
            if self._used is not None:
                self._used = max(0, self._used + change)

    def _check_receipt(self, ref: ObjectRef) -> None:
        data = self.incoming.read(ref)
        for holder, verifier in self._verifiers.items():
            try:
                if verify_receipt(data, verifier).holder == holder:
                    return
            except IdentityError:
                continue
        raise IdentityError("unable to take {object}: no known site signed it", object=ref)

    # Points.

    def commit(self, name: ObjectName, check_epoch: CheckEpoch) -> bytes:
        """Check a point and list it; return our receipt. See transport.holding.Holder.commit for what it raises."""
        ref = ObjectRef(ObjectKind.POINT, name)
        if self.store.has(ref):
            self.store.settle([ref])
            return self._receipt_again(decode_point(self.store.read_checked(ref)))
        data = self._whole_partial(ref)
        try:
            point = decode_point(data)
            self._check_signature(point)
            check_epoch(point.header)
            head = self.head(point.header.dataset)
            links = self._links(point, head, check_epoch)
            _check_continues(links[0] if links else point, head)
            needed = self._needed_by(point.header.dataset, head)
            for each in (*links, point):
                needed = frozenset(needed_after(needed, each.header))
        except JbackupdError:
            self.incoming.discard(ref)
            raise
        self._check_present(needed, point.header)
        self._list_links(links)
        self.store.put(ObjectKind.POINT, data)
        self._needed[point.header.dataset] = (name, needed)
        self.incoming.discard(ref)
        return self._sign_receipt(point.header, name, len(needed))

    def _links(self, point: Point, head: StoredPoint | None, check_epoch: CheckEpoch) -> list[Point]:
        """Return the points between the newest here and one that is to be listed, oldest first, if they all wait here.

        The site that sends them has removed what they need, by its retention. They are listed as links of the chain.
        """
        expected = head.header.sequence + 1 if head else 1
        links: list[Point] = []
        while (links[0] if links else point).header.sequence > expected:
            ref = ObjectRef(ObjectKind.POINT, (links[0] if links else point).header.previous)
            try:
                link = decode_point(self._whole_partial(ref))
            except MissingObjectError:
                return []
            if link.header.dataset != point.header.dataset:
                return []
            self._check_signature(link)
            check_epoch(link.header)
            links.insert(0, link)
        for one, later in pairwise([*links, point]):
            if later.header.sequence != one.header.sequence + 1:
                return []
        return links

    def _list_links(self, links: Sequence[Point]) -> None:
        """List points whose content never came, after saying so."""
        if not links:
            return
        header = links[0].header
        stated = [RemovedPoint(p.header.dataset, p.header.sequence, p.name, NOT_HELD) for p in links]
        expiry = Expiry(header.tenant, self._site, header.epoch, self._clock.now(), tuple(stated))
        put_expiry(self.store, expiry, self._signer)
        for link in links:
            ref = ObjectRef(ObjectKind.POINT, link.name)
            self.store.put(ObjectKind.POINT, self.incoming.read(ref))
            self.incoming.discard(ref)

    def head(self, dataset: DatasetId) -> StoredPoint | None:
        """Return the newest point of a dataset; the whole chain is checked."""
        chain = self.points.chain(dataset)
        return chain[-1] if chain else None

    def shown(self, dataset: DatasetId) -> list[StoredPoint]:
        """Return what can be shown of a dataset to those who fetch: a damaged old point must not hide the newest."""
        return self.points.listed(dataset)

    def _whole_partial(self, ref: ObjectRef) -> bytes:
        try:
            data = self.incoming.read(ref)
        except NotFoundError:
            data = b""
        if name_of(data) != ref.name:
            raise MissingObjectError("unable to commit {object}: it is not here whole", "put it first", object=ref)
        return data

    def _check_signature(self, point: Point) -> None:
        verifier = self._verifiers.get(point.header.site)
        if verifier is None:
            raise IdentityError(
                "unable to take {dataset}@{sequence}: the site {site} that signed it is not known here",
                "add the card of {site} to the configuration",
                dataset=point.header.dataset, sequence=point.header.sequence, site=point.header.site,
            )
        verify_point(point, verifier)

    def _check_present(self, needed: frozenset[ObjectRef], header: PointHeader) -> None:
        missing = [ref for ref in sorted(needed) if not self.store.has(ref)]
        if missing:
            destroyed = destroyed_objects(self.store, self._verifiers)
            missing = [ref for ref in missing if ref not in destroyed]
        if missing:
            raise MissingObjectError(
                "unable to commit {dataset}@{sequence}: {count} of its objects are not here, first {object}",
                "put them and commit again",
                dataset=header.dataset, sequence=header.sequence, count=len(missing), object=missing[0],
            )
        # A receipt must not be given for a name that a killed process left here and that is not durable.
        self.store.settle(header.added)

    def _needed_by(self, dataset: DatasetId, head: StoredPoint | None) -> frozenset[ObjectRef]:
        if head is None:
            return frozenset()
        name, needed = self._needed.get(dataset, (NO_OBJECT, frozenset()))
        return needed if name == head.name else frozenset(self.points.needed(dataset, head.header.sequence))

    def _receipt_again(self, point: Point) -> bytes:
        self._check_signature(point)
        for name, receipt in self.receipts.for_point(point.name):
            if receipt.holder == self._site:
                return self.store.read_checked(ObjectRef(ObjectKind.RECEIPT, name))
        needed = frozenset(self.points.needed(point.header.dataset, point.header.sequence))
        self._check_present(needed, point.header)
        return self._sign_receipt(point.header, point.name, len(needed))

    def _sign_receipt(self, header: PointHeader, point: ObjectName, objects: int) -> bytes:
        receipt = Receipt(header.dataset, header.sequence, point, self._site, self._clock.now(), objects)
        data = encode_receipt(receipt, self._signer)
        self.store.put(ObjectKind.RECEIPT, data)
        return data


def _check_continues(point: Point, head: StoredPoint | None) -> None:
    header = point.header
    expected, previous = (head.header.sequence + 1, head.name) if head else (1, NO_OBJECT)
    if header.sequence == expected and header.previous == previous:
        return
    if header.sequence < expected:
        reason = to_translate("unable to take {dataset}@{sequence}: {last} is here already, a step back or a fork")
    elif header.sequence > expected:
        reason = to_translate(
            "unable to take {dataset}@{sequence}: the newest here is {last}, points between are missing"
        )
    else:
        reason = to_translate("unable to take {dataset}@{sequence}: it does not follow the {last} of this site, a fork")
    raise ChainError(
        reason, "compare 'jbackupd points list' at both sites before anything is sent again",
        dataset=header.dataset, sequence=header.sequence, last=expected - 1,
    )


def _used_bytes(store: ObjectStore) -> int:
    folder = posixpath.join(store.folder, "incoming")
    return sum(
        store.size(ObjectRef(kind, name)) for kind in ObjectKind for name in store.names(kind)
    ) + sum(store.files.size(posixpath.join(folder, name)) for name in store.files.names(folder))
