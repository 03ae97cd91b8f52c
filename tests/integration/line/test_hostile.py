"""Peers that hold the right keys and speak the real protocol, but lie: typed error, link closed, nothing lost."""

from __future__ import annotations

import asyncio
import struct

import pytest

from jbackupd.engine.fetch import fetch
from jbackupd.engine.replicate import replicate
from jbackupd.format.point import decode_point, encode_point
from jbackupd.model.errors import (
    ChainError,
    DamageError,
    FormatError,
    IdentityError,
    JbackupdError,
    MissingObjectError,
    PeerError,
    ProtocolError,
)
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.protocol.framing import FrameType, encode_frame
from jbackupd.protocol.messages import Commit, HeadItem, ObjectItem, PointItem, Put, encode_message
from jbackupd.transport.dial import dial
from jbackupd.transport.link import Link
from jbackupd.vault.vault import PointList
from tests.support.twosites import IMARI, JUKI, item_of, pack, run


def chain(town, site):
    return PointList(site.store(), town.verifiers).chain(JUKI)


async def send_raw(link: Link, *frames: bytes) -> JbackupdError:
    """Send bytes past our own asker; return the error that the link then ends with."""
    link._dialogue.channel.send(frames)
    with pytest.raises(JbackupdError) as caught:
        while True:
            await link.ping()
            await asyncio.sleep(0)
    return caught.value


HOSTILE = {
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
    "a frame over its bound": struct.pack(">IB", 2**32 - 1, FrameType.DATA),
    "a message over its bound": struct.pack(">IB", 300, FrameType.PUT) + bytes(300),
    "an unknown type": struct.pack(">IB", 0, 99),
    "a malformed message": encode_frame(FrameType.COMMIT, b"\x80"),
    "data without a put": encode_frame(FrameType.DATA, b"x"),
    "a put behind what is there": encode_message(Put("imari", ObjectItem(ObjectKind.PACK, b"n" * 32, 100), 50)),
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_dialler_is_answered_with_a_named_error_and_loses_nothing(town, words):
    town.take_point([b"one"])

    async def story():
        async with town.listening(town.kyoto) as endpoint:
            async with await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", endpoint.port) as link:
                await replicate(link, town.saga.store(), chain(town, town.saga), verifier=town.kyoto.signer.public)
                error = await send_raw(link, words)
                assert isinstance(error, ProtocolError), error
                assert "kyoto answers" in str(error)
            async with await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", endpoint.port) as link:
                assert [head.sequence for head in await link.heads(IMARI)] == [1]

    run(story())


def put_point(link, store, name):
    data = store.read(ObjectRef(ObjectKind.POINT, name))
    return link.put(IMARI, item_of(data, ObjectKind.POINT), 0, lambda o, n: data[o : o + n])


def test_an_old_head_is_a_chain_error_and_the_new_one_stays(town):
    first = town.take_point([b"one"])
    town.take_point([b"two"])
    # The state folder of saga was set back: it makes another second point on top of the first.
    other_second = town.take_point([b"three"], after=(1, first))

    async def story():
        store = town.saga.store()
        for name in store.names(ObjectKind.POINT):
            if name == other_second:
                data = store.read(ObjectRef(ObjectKind.POINT, name))
                store.files.remove(store.path(ObjectRef(ObjectKind.POINT, name)))
        async with town.linked() as link:
            points = chain(town, town.saga)
            await replicate(link, store, points, verifier=town.kyoto.signer.public)
            store.put(ObjectKind.POINT, data)
            await put_point(link, store, other_second)
            with pytest.raises(ChainError, match="is here already, a step back"):
                await link.commit(IMARI, other_second)
            with pytest.raises(JbackupdError):
                await link.ping()

    run(story())
    assert [p.header.sequence for p in chain(town, town.kyoto)] == [1, 2]
    assert town.kyoto.files.names("vaults/imari/incoming") == []


def test_a_gap_in_the_chain_is_a_chain_error(town):
    town.take_point([b"one"])
    second = town.take_point([b"two"])

    async def story():
        async with town.linked() as link:
            await put_point(link, town.saga.store(), second)
            with pytest.raises(ChainError, match="points between are missing"):
                await link.commit(IMARI, second)

    run(story())


def test_a_point_with_a_forged_signature_is_refused(town):
    name = town.take_point([b"one"])
    store = town.saga.store()
    point = decode_point(store.read(ObjectRef(ObjectKind.POINT, name)))
    forged = store.put(ObjectKind.POINT, encode_point(point.header, b"other body", town.hokkaido.signer))

    async def story():
        async with town.linked() as link:
            await put_point(link, store, forged)
            with pytest.raises(IdentityError):
                await link.commit(IMARI, forged)

    run(story())
    assert chain(town, town.kyoto) == []


def test_an_object_under_the_wrong_kind_is_refused(town):
    data = pack(b"x")
    item = ObjectItem.of(ObjectRef(ObjectKind.INDEX, item_of(data).ref.name), len(data))

    async def story():
        async with town.linked() as link:
            with pytest.raises(FormatError):
                await link.put(IMARI, item, 0, lambda o, n: data[o : o + n])

    run(story())
    assert town.kyoto.files.names("vaults/imari/incoming") == []


def test_a_receipt_that_nobody_signed_is_not_taken(town):
    town.take_point([b"one"])

    async def story():
        async with town.linked() as link:
            (delivered,) = await replicate(
                link, town.saga.store(), chain(town, town.saga), verifier=town.kyoto.signer.public
            )
            receipt = await link.commit(IMARI, delivered.point)
        forged = receipt[:-1] + bytes([receipt[-1] ^ 1])
        async with town.linked(town.saga, town.hokkaido) as link:
            with pytest.raises(IdentityError):
                await link.put(
                    IMARI, item_of(forged, ObjectKind.RECEIPT), 0, lambda o, n: forged[o : o + n]
                )
        async with town.linked(town.saga, town.hokkaido) as link:
            await link.put(IMARI, item_of(receipt, ObjectKind.RECEIPT), 0, lambda o, n: receipt[o : o + n])

    run(story())
    assert len(town.hokkaido.store().names(ObjectKind.RECEIPT)) == 1


class Liar:
    """A holder that answers as it is told, and honestly where it is told nothing."""

    def __init__(self, honest, **lies):
        self.honest = honest
        self.__dict__.update(lies)

    def __getattr__(self, name):
        return getattr(self.honest, name)


def through_liar(town, lies, listener=None, dialler=None):
    listener = listener or town.kyoto
    return town.linked(dialler or town.saga, listener, holder=Liar(town.holder(listener), **lies))


def deliver(town, link):
    return replicate(link, town.saga.store(), chain(town, town.saga), verifier=town.kyoto.signer.public)


@pytest.mark.parametrize("offsets", [[10**6, 10**6], [1], [1, 2, 3]])
def test_a_have_that_cannot_be_true_closes_the_link(town, offsets):
    town.take_point([b"one"])

    async def story():
        async with through_liar(town, {"have": lambda *_: offsets}) as link:
            with pytest.raises(ProtocolError):
                await deliver(town, link)
            with pytest.raises(ProtocolError):
                await link.ping()

    run(story())


def test_a_have_that_lies_gets_no_receipt_from_an_honest_commit(town):
    town.take_point([b"one"])

    async def story():
        async with through_liar(town, {"have": lambda _p, _t, items: [item.size for item in items]}) as link:
            with pytest.raises(MissingObjectError):
                await deliver(town, link)

    run(story())
    assert town.saga.store().names(ObjectKind.RECEIPT) == []


def test_a_receipt_for_something_else_or_by_somebody_else_is_not_kept(town):
    town.take_point([b"one"])
    town.take_point([b"two"])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
            old = await link.commit(IMARI, chain(town, town.saga)[0].name)
        async with town.linked(town.saga, town.hokkaido) as link:
            await replicate(link, town.saga.store(), chain(town, town.saga), verifier=town.hokkaido.signer.public)
            others = await link.commit(IMARI, chain(town, town.saga)[1].name)
        store = town.saga.store()
        for name in store.names(ObjectKind.RECEIPT):
            store.files.remove(store.path(ObjectRef(ObjectKind.RECEIPT, name)))
        for lie in (old, others, b"JBKP" + bytes(100), old[:-1] + b"\0"):
            async with through_liar(town, {"commit": lambda *_, lie=lie: lie}) as link:
                with pytest.raises((IdentityError, FormatError)):
                    await deliver(town, link)
        assert store.names(ObjectKind.RECEIPT) == []

    run(story())


def damaged(honest):
    def read(peer, tenant, ref, offset, length):
        data, size = honest.read(peer, tenant, ref, offset, length)
        if ref.kind is ObjectKind.PACK and offset == 0:
            data = data[:20] + bytes([data[20] ^ 1]) + data[21:]
        return data, size

    return {"read": read}


def shortened(honest):
    def read(peer, tenant, ref, offset, length):
        data, size = honest.read(peer, tenant, ref, offset, length)
        return data[:-1], size

    return {"read": read}


def cut_off(honest):
    def read(peer, tenant, ref, offset, length):
        data, size = honest.read(peer, tenant, ref, offset, length)
        return data[: size - 1 - offset], size - 1

    return {"read": read}


def reordered(honest):
    return {"points": lambda *args: list(reversed(honest.points(*args)))}


def skipping(honest):
    return {"points": lambda *args: [
        PointItem(item.sequence - 1, item.name, item.size) for item in honest.points(*args)[1:]
    ]}


def another_head(honest):
    def heads(peer, tenant):
        (head,) = honest.heads(peer, tenant)
        return [HeadItem(head.dataset, head.sequence + 5, head.name, head.size, [])]

    return {"heads": heads}


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (damaged, DamageError), (shortened, ProtocolError), (cut_off, DamageError), (reordered, ProtocolError),
        (skipping, ChainError), (another_head, ChainError),
    ],
)
def test_a_lying_source_of_a_fetch_is_found_out_and_an_honest_one_then_serves(town, lie, error):
    town.take_point([b"one" * 1000])
    town.take_point([b"two" * 1000])

    async def story():
        store = town.hokkaido.store()
        async with town.linked() as link:
            await deliver(town, link)
        async with through_liar(town, lie(town.holder(town.kyoto)), dialler=town.hokkaido) as link:
            with pytest.raises(error):
                await fetch(link, store, IMARI, verifiers=town.verifiers)
        async with town.linked(town.hokkaido, town.kyoto) as link:
            await fetch(link, store, IMARI, verifiers=town.verifiers)

    run(story())
    assert [p.name for p in chain(town, town.hokkaido)] == [p.name for p in chain(town, town.saga)]
    for ref in PointList(town.hokkaido.store(), town.verifiers).needed(JUKI, 2):
        town.hokkaido.store().read_checked(ref)


def test_a_defect_of_the_holder_ends_the_link_without_telling_its_insides(town):
    def broken(*_):
        raise ZeroDivisionError("secret")

    async def story():
        async with through_liar(town, {"heads": broken}) as link:
            with pytest.raises(PeerError, match="a defect of its own") as caught:
                await link.heads(IMARI)
            assert "secret" not in str(caught.value)

    run(story())


def test_a_commit_of_something_that_is_no_point_is_refused(town):
    data = pack(b"not a point")

    async def story():
        async with town.linked() as link:
            await link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n])
            with pytest.raises(MissingObjectError):
                await link.commit(IMARI, item_of(data).ref.name)
            error = await send_raw(link, encode_message(Commit("imari", b"x" * 32)))
            assert isinstance(error, ProtocolError)

    run(story())
