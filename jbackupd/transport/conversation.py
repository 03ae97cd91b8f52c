"""The answering side in motion: one task a connection; requests in, the holder's work, answers out, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from jbackupd.model.errors import JbackupdError, PeerError
from jbackupd.model.ids import ObjectName, SiteId, TenantId
from jbackupd.protocol.answerer import Answerer, AnswererState, Asked, Body, BodyEnd
from jbackupd.protocol.asker import Opened
from jbackupd.protocol.framing import DATA_BYTES_MAX, HEAD_BYTES
from jbackupd.protocol.handshake import EpochBook, fenced
from jbackupd.protocol.messages import (
    DECLARATION_BYTES_MAX,
    LOSSES_MAX,
    Commit,
    Contact,
    Declare,
    Declared,
    Deposit,
    Deposited,
    End,
    Get,
    Have,
    Heads,
    HeadsAre,
    Kept,
    Losses,
    LossesAre,
    Message,
    ObjectItem,
    Offsets,
    Points,
    PointsAre,
    Promises,
    PromisesAre,
    Put,
    Receipt,
    Stored,
)
from jbackupd.runtime.offload import settled
from jbackupd.transport.channel import Channel
from jbackupd.transport.holding import Holder, Limits, Offload

WRITE_BYTES = 1024 * 1024
"""As much is gathered before the disk executor is asked; also how often the asker hears how far its put is."""
SILENCE_SECONDS = 120
HANDSHAKE_SECONDS = 30

_FOR_ALL = (Declare, Losses, Contact, Promises, Get, Heads, Points)
"""What also a site may ask that does not act: it must hear who does, and may read what is held of it."""

_log = logging.getLogger("jbackupd.line")


@dataclass(slots=True)
class _Incoming:
    """The put under way."""

    tenant: TenantId
    item: ObjectItem
    offset: int
    pieces: list[memoryview] = field(default_factory=list)
    gathered: int = 0


class Conversation:
    """What one dialled connection gets done here.

    However it ends (cut, silence, error, cancellation), what has arrived of an object is written and durable before
    `run` returns.
    """

    def __init__(
        self, channel: Channel, answerer: Answerer, holder: Holder, book: EpochBook, limits: Limits, offload: Offload,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.channel = channel
        self.site: SiteId = channel.site
        self._answerer = answerer
        self._holder = holder
        self._book = book
        self._limits = limits
        self._offload = offload
        self._silence = silence_seconds
        self._incoming: _Incoming | None = None

    async def run(self) -> None:
        """Answer until the link ends; every error ends here, in the log and, if it can be said, at the peer."""
        try:
            while not self._answerer.closed:
                data = await self._read()
                await self._limits.receive.spend(len(data))
                for event in self._answerer.receive(data):
                    await self._handle(event)
                    if self._answerer.closed:
                        break
                await self._flush()
        except JbackupdError as error:
            _log.info("link from %s ended: %s", self.site, error)
            self._send()
        except Exception:
            _log.exception("link from %s ended by a defect of this program", self.site)
            self._answerer.close(PeerError("unable to answer: this site met a defect of its own; see its log"))
            self._send()
        finally:
            await settled(self._keep_rest())

    async def _read(self) -> bytes:
        """Return what comes next; an idle peer may be silent, one that owes us something may not."""
        match self._answerer.state:
            case AnswererState.OPEN:
                patience = None
            case AnswererState.GREETING | AnswererState.PROVING:
                patience = float(HANDSHAKE_SECONDS)
            case _:
                patience = self._silence
        try:
            async with asyncio.timeout(patience):
                return await self.channel.read()
        except TimeoutError:
            self._answerer.close()
            self.channel.drop()
            raise PeerError("unable to go on with the link from {site}: it fell silent", site=self.site) from None

    async def _handle(self, event: Opened | Asked | Body | BodyEnd) -> None:
        try:
            match event:
                case Opened(version):
                    _log.info("link from %s is open, protocol %d", self.site, version)
                case Asked(message):
                    self._check_epoch(message)
                    await self._answer(message)
                case Body(data):
                    await self._take(data)
                case BodyEnd(stopped):
                    await self._end_put(stopped=stopped)
        except JbackupdError as error:
            _log.warning("refused %s: %s", self.site, error)
            if self._incoming is not None:
                self._incoming.pieces.clear()
                await settled(self._keep_rest())
            self._answerer.refuse(error)

    def _check_epoch(self, message: Message) -> None:
        """Let a site that does not act only read, also one that was declared lost while its link was open."""
        if isinstance(message, _FOR_ALL):
            return
        handshake = self._answerer.handshake
        in_force = self._book.epoch_of(self.site)
        if handshake.theirs is not None and handshake.theirs.epoch < in_force:
            raise fenced(self.site, handshake.theirs.epoch, in_force)
        if handshake.fenced is not None:
            raise handshake.fenced

    async def _answer(self, message: Message) -> None:
        site, holder = self.site, self._holder
        match message:
            case Put(tenant=tenant, item=item, offset=offset):
                await self._offload(holder.begin, site, TenantId(tenant), item, offset)
                self._incoming = _Incoming(TenantId(tenant), item, offset)
            case Have(tenant=tenant, items=items):
                offsets = await self._offload(holder.have, site, TenantId(tenant), items)
                self._answerer.answer(Offsets(offsets=offsets))
            case Commit(tenant=tenant, point=point):
                receipt = await settled(
                    self._offload(holder.commit, site, TenantId(tenant), ObjectName(point))
                )
                self._answerer.answer(Receipt(receipt=receipt))
            case Get():
                await self._answer_get(message)
            case Heads(tenant=tenant):
                heads = await self._offload(holder.heads, site, TenantId(tenant))
                self._answerer.answer(HeadsAre(heads=heads))
            case Points(tenant=tenant, dataset=dataset, from_sequence=first):
                points = await self._offload(holder.points, site, TenantId(tenant), dataset, first)
                self._answerer.answer(PointsAre(points=points))
            case Declare(declaration=declaration):
                await settled(self._offload(self._book.learn, declaration))
                self._answerer.answer(Declared())
            case Deposit(tenant=tenant, journal=journal, head=head, offset=offset, data=data):
                keep = self._offload(holder.deposit, site, TenantId(tenant), journal, head, offset, data)
                self._answerer.answer(Deposited(size=await settled(keep)))
            case Contact(site=other):
                self._answerer.answer(holder.contact(site, SiteId(other)))
            case Promises(promises=promises):
                books = await settled(self._offload(holder.promises, site, promises))
                self._answerer.answer(PromisesAre(books=dict(books)))
            case Losses(epochs=epochs):
                known = {SiteId(site): epoch for site, epoch in epochs.items()}
                self._answerer.answer(LossesAre(declarations=_fitting(await self._offload(self._book.news_for, known))))

    async def _answer_get(self, get: Get) -> None:
        read = self._offload(self._holder.read, self.site, TenantId(get.tenant), get.ref, get.offset, get.length)
        data, size = await read
        rest = memoryview(data)
        while rest and not self.channel.ended:
            piece = rest[: self._limits.send.piece(DATA_BYTES_MAX)]
            await self._limits.send.spend(len(piece) + HEAD_BYTES)
            self._answerer.data(piece)
            await self._flush()
            rest = rest[len(piece) :]
        self._answerer.answer(End(size=size))

    async def _take(self, data: memoryview) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        incoming.pieces.append(data)
        incoming.gathered += len(data)
        if incoming.gathered >= WRITE_BYTES:
            await self._write(incoming)
            if incoming.offset < incoming.item.size:
                self._answerer.answer(Kept(offset=incoming.offset, last=False))
                await self._flush()

    async def _end_put(self, *, stopped: bool) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        await self._write(incoming)
        if stopped:
            await settled(self._offload(self._holder.flush, self.site, incoming.tenant, incoming.item))
            self._answerer.answer(Kept(offset=incoming.offset, last=True))
        else:
            await settled(self._offload(self._holder.finish, self.site, incoming.tenant, incoming.item))
            self._answerer.answer(Stored())
        self._incoming = None

    async def _write(self, incoming: _Incoming) -> None:
        if not incoming.pieces:
            return
        data, offset = b"".join(incoming.pieces), incoming.offset
        incoming.pieces, incoming.gathered = [], 0
        incoming.offset += len(data)
        await settled(self._offload(self._holder.write, self.site, incoming.tenant, incoming.item, offset, data))

    async def _keep_rest(self) -> None:
        """Write and sync what has arrived of the put under way."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        try:
            await self._write(incoming)
            await self._offload(self._holder.flush, self.site, incoming.tenant, incoming.item)
        except JbackupdError as error:
            _log.warning("unable to keep the rest of a put from %s: %s", self.site, error)

    def _send(self) -> None:
        """Say what is to be said. On a link that was cut nobody hears it, but what came before is still worked off."""
        with contextlib.suppress(PeerError):
            self.channel.send(self._answerer.take_output())

    async def _flush(self) -> None:
        self._send()
        with contextlib.suppress(PeerError):
            await self.channel.drain()


def _fitting(declarations: list[bytes]) -> list[bytes]:
    """Return as many as one answer holds; the rest is asked for again."""
    size, count = 0, 0
    for declaration in declarations[:LOSSES_MAX]:
        size += len(declaration) + 8
        if size > DECLARATION_BYTES_MAX:
            break
        count += 1
    return declarations[: max(1, count)]
