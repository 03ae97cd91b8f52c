"""A link: the verbs of one connection to a peer; what engine and restore know as a Peer (vault/peer.py)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from jbackupd.codec.hashing import name_of
from jbackupd.model.errors import DamageError, InvariantError, ProtocolError, RefusedError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.messages import (
    GET_BYTES_MAX,
    HAVE_ITEMS_MAX,
    Commit,
    Contact,
    ContactIs,
    Declare,
    Deposit,
    Deposited,
    End,
    Get,
    Have,
    Head,
    HeadItem,
    Heads,
    HeadsAre,
    Losses,
    LossesAre,
    Message,
    ObjectItem,
    Offsets,
    Points,
    PointsAre,
    Promises,
    PromisesAre,
    Receipt,
)
from jbackupd.transport.dialogue import Dialogue, Reader, Waiting
from jbackupd.transport.holding import Limits

GETS_AHEAD = 16
"""16 MiB asked for ahead carry 1 Gbit/s over 130 ms."""
RECEIPT_BYTES_MAX = 8 * 1024
VERSION_OF_DEPOSITS = 2
VERSION_OF_CONTACTS = 3

M = TypeVar("M", bound=Message)


class Link:
    """A proved connection to a peer, made by `transport.dial.dial`; several tasks may use it at once."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.site: SiteId = dialogue.channel.site
        self._dialogue = dialogue

    @property
    def limits(self) -> Limits:
        """How fast this link sends and receives; may be changed at any time."""
        return self._dialogue.limits

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to SSH so far, with all framing of ours."""
        return self._dialogue.channel.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes taken from SSH so far, with all framing of ours."""
        return self._dialogue.channel.bytes_received

    @property
    def round_trip_seconds(self) -> float | None:
        """The latest round-trip time, measured every half minute; None before the first."""
        return self._dialogue.round_trip_seconds

    @property
    def epochs(self) -> dict[SiteId, int]:
        """The epochs of other sites that the peer knows of: a declaration that it lacks can be handed over."""
        hello = self._dialogue.asker.handshake.theirs
        return {SiteId(site): epoch for site, epoch in hello.epochs.items()} if hello else {}

    @property
    def ended(self) -> asyncio.Event:
        """Set once the connection is of no use any more."""
        return self._dialogue.ended

    async def close(self) -> None:
        """Close the connection; harmless twice. Whoever still waits gets a PeerError."""
        await self._dialogue.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def have(self, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        """Return from which offset on the peer wants each object; its size when the peer holds it whole."""
        asked = [
            await self._dialogue.begin(Have(tenant=tenant, items=list(items[first : first + HAVE_ITEMS_MAX])))
            for first in range(0, len(items), HAVE_ITEMS_MAX)
        ]
        answers = [await self._end(waiting, Offsets) for waiting in asked]
        return [offset for answer in answers for offset in answer.offsets]

    async def put(
        self, tenant: TenantId, item: ObjectItem, offset: int, read: Reader,
        on_kept: Callable[[int], None] | None = None,
    ) -> None:
        """Send an object's bytes from an offset on; return when the peer holds it whole, verified and durable.

        Args:
            tenant: Whose object.
            item: The object and its size.
            offset: From `have`.
            read: Blocking: (offset, length) -> exactly that many bytes; called in the disk executor.
            on_kept: Called now and then with how far the peer has written.

        Raises:
            NoSpaceError: The peer's disk or our quota there is full; what has arrived stays.
            DamageError: Our bytes do not hash to the name; the peer has closed the link.
        """
        await self._end(await self._dialogue.put(tenant, item, offset, read, on_kept), Message)

    async def commit(self, tenant: TenantId, point: ObjectName) -> bytes:
        """Have a point checked and listed; return the peer's receipt, not yet verified.

        Raises:
            ChainError: The point does not continue the chain at the peer.
            MissingObjectError: The peer lacks something that the point needs.
        """
        return (await self._ask(Commit(tenant=tenant, point=point), Receipt)).receipt

    async def heads(self, tenant: TenantId) -> list[Head]:
        """Return the newest point of each dataset that the peer holds, with receipts; signatures unchecked."""
        answer = await self._ask(Heads(tenant=tenant), HeadsAre)
        return [await self._head(tenant, item) for item in answer.heads]

    async def points(self, tenant: TenantId, dataset: str, from_sequence: int) -> list[bytes]:
        """Return points in order from a sequence number on, at most 256; empty when there are none."""
        request = Points(tenant=tenant, dataset=dataset, from_sequence=from_sequence)
        answer = await self._ask(request, PointsAre)
        sequences = [item.sequence for item in answer.points]
        if sequences != list(range(from_sequence, from_sequence + len(sequences))):
            raise ProtocolError("unable to read {site}'s list of points: it is not in order", site=self.site)
        return [await self._object(tenant, ObjectKind.POINT, item.name, item.size) for item in answer.points]

    async def get(self, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield a range of an object in pieces of up to 1 MiB, unchecked; it ends early only where the object ends."""
        asked: deque[tuple[int, Waiting]] = deque()
        position, end, ahead = offset, offset + length, 1
        try:
            while asked or position < end:
                while position < end and len(asked) < ahead:
                    wanted = min(GET_BYTES_MAX, end - position)
                    await self.limits.receive.spend(wanted)
                    request = Get(tenant=tenant, kind=ref.kind, name=ref.name, offset=position, length=wanted)
                    asked.append((position, await self._dialogue.begin(request)))
                    position += wanted
                begun, waiting = asked.popleft()
                answer = await self._end(waiting, End)
                # The first answer tells the object's size: only then is it known how much may be asked for ahead.
                end, ahead = min(end, answer.size), GETS_AHEAD
                data = b"".join(waiting.pieces)
                if len(data) != max(0, min(begun + GET_BYTES_MAX, end) - begun):
                    raise ProtocolError("unable to read {object}: {site} left bytes out", object=ref, site=self.site)
                if data:
                    yield data
        finally:
            for _, waiting in asked:
                waiting.answer.cancel()

    async def declare(self, declaration: bytes) -> None:
        """Hand over a declaration of a site's loss; return when the peer has verified and kept it."""
        await self._ask(Declare(declaration=declaration), Message)

    async def losses(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        """Return some of the declarations above these epochs, unchecked; none when the peer has no more."""
        request = Losses(epochs={str(site): epoch for site, epoch in epochs.items()})
        return (await self._ask(request, LossesAre)).declarations

    async def deposit(self, tenant: TenantId, journal: bytes, head: bytes, offset: int, data: bytes) -> int:
        """Hand over a piece of a desk's journal; return how many bytes of the journal the peer has, durable.

        Args:
            head: Empty where the peer has it.
            data: At most DEPOSIT_BYTES_MAX.

        Raises:
            RefusedError: The peer speaks an older version, has nothing to do with the tenant, or has no room for it.
            ChainError: It has other bytes there.
        """
        if self._dialogue.asker.handshake.version < VERSION_OF_DEPOSITS:
            raise RefusedError(
                "{site} runs an older version of jbackupd that keeps no journals of desks", "bring it to this version",
                site=self.site,
            )
        request = Deposit(tenant=tenant, journal=journal, head=head, offset=offset, data=data)
        await self.limits.send.spend(len(data))
        return (await self._ask(request, Deposited)).size

    async def contact(self, other: SiteId) -> ContactIs:
        """Return when the peer was last in touch with a third site.

        Raises:
            RefusedError: The peer speaks an older version, or does not know that site.
        """
        if self._dialogue.asker.handshake.version < VERSION_OF_CONTACTS:
            raise RefusedError(
                "{site} runs an older version of jbackupd that does not tell whom it met", "ask its operators",
                site=self.site,
            )
        return await self._ask(Contact(site=other), ContactIs)

    async def promises(self, promises: bytes = b"") -> Mapping[str, tuple[int, int]]:
        """Hand over a piece of an officer's book of promises, or nothing; return which books the peer has then.

        Args:
            promises: At most PROMISES_BYTES_MAX.

        Returns:
            By officer, when the book was made, in microseconds since 1970, and how many of its promises are there.

        Raises:
            RefusedError: The peer speaks an older version, or does not take them.
        """
        if self._dialogue.asker.handshake.version < VERSION_OF_CONTACTS:
            raise RefusedError(
                "{site} runs an older version of jbackupd that takes no codes", "bring it to this version",
                site=self.site,
            )
        return (await self._ask(Promises(promises=promises), PromisesAre)).books

    async def ping(self) -> float:
        """Return the round-trip time now, in seconds."""
        return await self._dialogue.ping()

    async def _ask(self, request: Message, kind: type[M]) -> M:
        return await self._end(await self._dialogue.begin(request), kind)

    async def _end(self, waiting: Waiting, kind: type[M]) -> M:
        answer = await self._dialogue.end(waiting)
        if not isinstance(answer, kind):
            raise InvariantError("the asker lets only fitting answers through")
        return answer

    async def _head(self, tenant: TenantId, item: HeadItem) -> Head:
        receipts = [
            await self._object(tenant, ObjectKind.RECEIPT, name, RECEIPT_BYTES_MAX) for name in item.receipts
        ]
        point = await self._object(tenant, ObjectKind.POINT, item.name, item.size)
        return Head(DatasetId(tenant, item.dataset), item.sequence, point, tuple(receipts))

    async def _object(self, tenant: TenantId, kind: ObjectKind, name: bytes, length: int) -> bytes:
        """Return a small object whole, checked against its name."""
        ref = ObjectRef(kind, ObjectName(name))
        data = b"".join([piece async for piece in self.get(tenant, ref, 0, length)])
        if name_of(data) != name:
            raise DamageError("unable to use {object} from {site}: its bytes do not hash to its name",
                              "ask another peer for it", object=ref, site=self.site)
        return data
