"""A session is cut behind every byte of either direction: the next connection finishes the work, nothing is lost.

The real shells (Dialogue, Conversation) and the real holder run over a pair of pipes in memory, on a file system in
memory. Signatures are stand-ins of the right length, so that thousands of sessions take seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from datetime import UTC, datetime

from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.engine.replicate import replicate
from jbackupd.format.header import encode_header
from jbackupd.format.point import PointHeader, encode_point
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import IdentityError, JbackupdError, PeerError
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectKind, ObjectRef, SiteId, TenantId
from jbackupd.protocol.answerer import Answerer
from jbackupd.protocol.asker import Asker
from jbackupd.protocol.framing import FRAME_BYTES_MAX
from jbackupd.protocol.handshake import Binding, Handshake, Other, Own, Role
from jbackupd.transport.conversation import Conversation
from jbackupd.transport.dialogue import Dialogue
from jbackupd.transport.holding import Limits
from jbackupd.transport.link import Link
from jbackupd.vault.holder import FixedRights, VaultHolder
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList
from tests.crash.memory import MemoryFiles

IMARI = TenantId("imari")
JUKI = DatasetId(IMARI, "juki")
SAGA, KYOTO = SiteId("saga"), SiteId("kyoto")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Seal:
    """Signs and verifies with a hash over a secret."""

    def __init__(self, site, length=SIGNATURE_BYTES):
        self.secret = site.encode()
        self.length = length

    def sign(self, context, message):
        return hashlib.shake_128(self.secret + b"|" + context + b"|" + message).digest(self.length)

    def verify(self, context, message, signature):
        if signature != self.sign(context, message):
            raise IdentityError("a signature does not fit")


class Book:
    def epoch_of(self, site):
        return 1

    def known(self):
        return {}

    def may_author(self, site, epoch):
        return epoch >= self.epoch_of(site)

    def news_for(self, epochs):
        return []

    def learn(self, declaration):
        raise NotImplementedError


SEALS = {SAGA: Seal(SAGA), KYOTO: Seal(KYOTO)}
PROOFS = {SAGA: Seal(SAGA, 32), KYOTO: Seal(KYOTO, 32)}


class Pipe:
    """One end of a pair; what is sent arrives at the other end until `budget` bytes have passed."""

    def __init__(self, site, clock):
        self.site = site
        self.heard_at = clock.monotonic()
        self.bytes_sent = self.bytes_received = 0
        self.ended = False
        self.other = None
        self.budget = None
        self.unread = deque()
        self.news = asyncio.Event()

    def send(self, frames):
        if self.ended:
            raise self.lost()
        for frame in frames:
            passed = frame if self.budget is None else frame[: max(0, self.budget - self.bytes_sent)]
            self.bytes_sent += len(frame)
            if passed:
                self.other.unread.append(passed)
                self.other.news.set()
            if len(passed) < len(frame):
                self.end(None)
                self.other.end(None)
                raise self.lost()

    async def drain(self):
        if self.ended:
            raise self.lost()

    async def read(self):
        while not self.unread:
            if self.ended:
                raise self.lost()
            self.news.clear()
            await self.news.wait()
        return self.unread.popleft()

    def end(self, reason):
        self.ended = True
        self.news.set()

    def lost(self):
        return PeerError("cut")

    async def close(self):
        self.end(None)
        self.other.end(None)


async def inline(function, *args):
    return function(*args)


class Scene:
    """A point at saga, and whatever kyoto has of it."""

    def __init__(self):
        self.clock = ManualClock(NOW)
        self.saga, self.kyoto = MemoryFiles(), MemoryFiles()
        self.store = ObjectStore(self.saga, "vaults/imari")
        self.store.create()
        added = tuple(
            ObjectRef(ObjectKind.PACK, self.store.put(ObjectKind.PACK, encode_header(ObjectKind.PACK) + text))
            for text in (b"a" * 90, b"b" * 170)
        )
        header = PointHeader(JUKI, 1, NO_OBJECT, SAGA, 1, NOW, NOW, bytes(16), bytes(16), added, (), False)
        self.store.put(ObjectKind.POINT, encode_point(header, b"sealed body", SEALS[SAGA]))
        self.chain = PointList(self.store, SEALS).chain(JUKI)

    def holder(self):
        rights = FixedRights({IMARI: frozenset({SAGA})})
        return VaultHolder(
            self.kyoto, site=KYOTO, signer=SEALS[KYOTO], verifiers=SEALS, rights=rights, book=Book(), clock=self.clock
        )

    async def deliver(self, out=None, back=None):
        """One connection and what it delivers; cut after so many bytes out or back."""
        there, here = Pipe(SAGA, self.clock), Pipe(KYOTO, self.clock)
        there.other, here.other = here, there
        here.budget, there.budget = out, back
        binding = Binding(b"saga key", b"kyoto key", b"session")
        random = bytes
        asker = Asker(
            Handshake(Role.ASKER, Own(SAGA, PROOFS[SAGA], Book()), Other(KYOTO, PROOFS[KYOTO]), binding, random)
        )
        answerer = Answerer(
            Handshake(Role.ANSWERER, Own(KYOTO, PROOFS[KYOTO], Book()), Other(SAGA, PROOFS[SAGA]), binding, random)
        )
        conversation = Conversation(there, answerer, self.holder(), Book(), Limits(), inline)
        dialogue = Dialogue(here, asker, Limits(), inline, self.clock)
        answering = asyncio.create_task(conversation.run())
        try:
            await dialogue.open()
            link = Link(dialogue)
            return await replicate(link, self.store, self.chain, verifier=SEALS[KYOTO], offload=inline)
        finally:
            await dialogue.close()
            await answering
            self.crossed = here.bytes_sent, there.bytes_sent

    def check_kyoto(self):
        kyoto = ObjectStore(self.kyoto, "vaults/imari")
        points = PointList(kyoto, SEALS)
        assert [p.name for p in points.chain(JUKI)] == [p.name for p in self.chain]
        for ref in points.needed(JUKI, 1):
            kyoto.read_checked(ref)
        assert len(kyoto.names(ObjectKind.RECEIPT)) == 1
        assert kyoto.files.names("vaults/imari/incoming") == []


async def cut_and_finish(**cut):
    scene = Scene()
    try:
        await scene.deliver(**cut)
    except JbackupdError as error:
        assert isinstance(error, PeerError)
    before = scene.crossed
    await scene.deliver()
    scene.check_kyoto()
    assert len(scene.store.names(ObjectKind.RECEIPT)) == 1
    return before[0] + scene.crossed[0]


def offsets(length):
    """Every byte but the inside of the one signature of 3 KiB near the end, which one in 61 stands for."""
    return [n for n in range(length) if n % 61 == 0 or n < length - 3500 or length - n < 150]


def test_a_session_cut_behind_any_byte_towards_the_peer_is_finished_by_the_next():
    scene = Scene()
    asyncio.run(scene.deliver())
    scene.check_kyoto()
    whole, _ = scene.crossed

    async def all_cuts():
        for cut in offsets(whole):
            assert await cut_and_finish(out=cut) < 2 * whole + FRAME_BYTES_MAX

    asyncio.run(all_cuts())


def test_a_session_cut_behind_any_byte_of_the_answers_is_finished_by_the_next():
    scene = Scene()
    asyncio.run(scene.deliver())
    _, whole = scene.crossed

    async def all_cuts():
        for cut in offsets(whole):
            await cut_and_finish(back=cut)

    asyncio.run(all_cuts())
