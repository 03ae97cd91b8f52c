"""Two real endpoints on loopback: points go over, come back, and go on where they stopped."""

from __future__ import annotations

import asyncio

import pytest

from jbackupd.engine.fetch import fetch
from jbackupd.engine.replicate import replicate
from jbackupd.engine.survey import survey
from jbackupd.format.receipt import verify_receipt
from jbackupd.model.errors import (
    ChainError,
    DamageError,
    FencedError,
    MissingObjectError,
    NoSpaceError,
    NotFoundError,
    PeerError,
    RefusedError,
)
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef, TenantId
from jbackupd.protocol.messages import ObjectItem
from jbackupd.runtime.pacing import Pacer
from jbackupd.transport.dial import dial
from jbackupd.transport.holding import Limits
from jbackupd.vault.holder import FixedRights
from jbackupd.vault.vault import PointList
from tests.support.twosites import IMARI, JUKI, START, item_of, pack, run


def chain(town, site, dataset=JUKI):
    return PointList(site.store(dataset.tenant), town.verifiers).chain(dataset)


def deliver(town, link, **options):
    points = chain(town, town.saga)
    return replicate(link, town.saga.store(), points, verifier=town.kyoto.signer.public, **options)


def test_points_are_replicated_in_sequence_and_receipted(town):
    town.take_point([b"one" * 1000, b"two" * 2000])
    town.take_point([b"three" * 1000])
    seen = []

    async def story():
        async with town.linked() as link:
            first = await deliver(town, link, on_progress=seen.append)
            again = await deliver(town, link)
            return first, again

    first, again = run(story())
    assert [d.sequence for d in first] == [1, 2]
    assert again == []
    assert [p.name for p in chain(town, town.kyoto)] == [p.name for p in chain(town, town.saga)]
    assert [d.receipt.objects for d in first] == [2, 3]
    assert {d.receipt.received_at for d in first} == {START}
    assert (seen[-1].sequence, seen[-1].bytes_done) == (2, seen[-1].bytes_total)
    stored = town.saga.store().names(ObjectKind.RECEIPT)
    assert sorted(stored) == sorted(town.kyoto.store().names(ObjectKind.RECEIPT))
    data = town.saga.store().read_checked(ObjectRef(ObjectKind.RECEIPT, stored[0]))
    assert verify_receipt(data, town.kyoto.signer.public).holder == town.kyoto.id


def test_a_second_delivery_sends_only_what_is_new(town):
    town.take_point([bytes(300_000)])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
            before = link.bytes_sent
            town.take_point([b"small"])
            (delivered,) = await deliver(town, link)
            return delivered, link.bytes_sent - before

    delivered, crossed = run(story())
    assert delivered.sent_bytes < crossed < delivered.sent_bytes + 1000


def test_committing_the_same_point_again_gives_the_same_receipt(town):
    name = town.take_point([b"one"])

    async def story():
        async with town.linked() as link:
            (delivered,) = await deliver(town, link)
            return delivered.receipt, await link.commit(IMARI, name), await link.commit(IMARI, name)

    receipt, second, third = run(story())
    assert second == third
    assert verify_receipt(second, town.kyoto.signer.public) == receipt


def test_a_lost_receipt_is_asked_for_again(town):
    town.take_point([b"one"])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
            store = town.saga.store()
            (name,) = store.names(ObjectKind.RECEIPT)
            store.files.remove(store.path(ObjectRef(ObjectKind.RECEIPT, name)))
            (again,) = await deliver(town, link)
            return again

    again = run(story())
    assert (again.sequence, again.sent_bytes) == (1, 0)


def test_a_site_without_a_vault_fetches_everything_from_a_peer(town):
    for text in (b"a", b"b", b"c"):
        town.take_point([text * 50_000, text * 3])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
        async with town.linked(town.hokkaido, town.kyoto) as link:
            store = town.hokkaido.store()
            first = await fetch(link, store, IMARI, verifiers=town.verifiers)
            again = await fetch(link, store, IMARI, verifiers=town.verifiers)
            return first, again

    first, again = run(story())
    assert first.points == ((JUKI, 1), (JUKI, 2), (JUKI, 3))
    assert (again.points, again.received_bytes) == ((), 0)
    ours, theirs = chain(town, town.hokkaido), chain(town, town.saga)
    assert [p.name for p in ours] == [p.name for p in theirs]
    store = town.hokkaido.store()
    for ref in PointList(store, town.verifiers).needed(JUKI, 3):
        store.read_checked(ref)
    assert store.names(ObjectKind.RECEIPT)


def test_an_interrupted_fetch_goes_on_at_the_byte(town):
    content = bytes(range(256)) * 20_000
    town.take_point([content])
    cut_after = 2_000_000

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
        received = []

        def count(length):
            received.append(length)
            if sum(received) > cut_after and len(received) < 5:
                raise PeerError("cut")

        store = town.hokkaido.store()
        async with town.linked(town.hokkaido, town.kyoto) as link:
            with pytest.raises(PeerError):
                await fetch(link, store, IMARI, verifiers=town.verifiers, on_bytes=count)
            before = sum(received)
            again = await fetch(link, store, IMARI, verifiers=town.verifiers)
            return before, again.received_bytes

    before, again = run(story())
    assert before + again == len(pack(content))
    assert len(chain(town, town.hokkaido)) == 1


def test_limits_hold_in_both_directions_and_change_live(town):
    data = pack(bytes(1_500_000))

    async def story():
        loop = asyncio.get_running_loop()
        limits = Limits(Pacer(4_000_000), Pacer(2_000_000))
        async with town.linked(limits=limits) as link:
            item = item_of(data)
            begun = loop.time()
            await link.put(IMARI, item, 0, lambda o, n: data[o : o + n])
            put_seconds, begun = loop.time() - begun, loop.time()
            assert b"".join([p async for p in link.get(IMARI, item.ref, 0, item.size)]) == data
            get_seconds = loop.time() - begun
            limits.receive.set_rate(0)
            stopped = asyncio.create_task(anext(link.get(IMARI, item.ref, 0, item.size)))
            await link.ping()
            assert not stopped.done()
            limits.receive.set_rate(None)
            assert (await stopped)[:4] == b"JBKP"
            return put_seconds, get_seconds

    put_seconds, get_seconds = run(story())
    # 1.5 MB less the burst of a quarter second; of the gets the last one leaves a debt.
    assert put_seconds > (1_500_000 - 1_000_000) / 4_000_000
    assert get_seconds > (1_500_000 - 1_048_576 - 500_000 + 500_000) / 2_000_000


def test_a_full_quota_is_the_same_error_here_and_what_arrived_stays(town):
    town.rights = FixedRights(town.rights.writers, {}, {IMARI: 100_000})
    small, large = pack(bytes(1000)), pack(bytes(200_000))

    async def story():
        async with town.linked() as link:
            await link.put(IMARI, item_of(small), 0, lambda o, n: small[o : o + n])
            with pytest.raises(NoSpaceError, match="quota"):
                await link.put(IMARI, item_of(large), 0, lambda o, n: large[o : o + n])
            # The link goes on.
            return await link.have(IMARI, [item_of(small), item_of(large)])

    assert run(story()) == [len(small), 0]


def test_a_peer_without_rights_may_neither_write_nor_read(town):
    town.rights = FixedRights({IMARI: frozenset({town.hokkaido.id})})
    data = pack(b"x")

    async def story():
        async with town.linked() as link:
            for call in (
                link.have(IMARI, [item_of(data)]),
                link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n]),
                link.commit(IMARI, item_of(data).ref.name),
                link.heads(IMARI),
                link.points(IMARI, "juki", 1),
                anext(link.get(IMARI, item_of(data).ref, 0, 10)),
            ):
                with pytest.raises(RefusedError):
                    await call
            await link.ping()

    run(story())


def test_a_tenant_that_was_never_sent_has_no_heads_and_is_otherwise_not_found(town):
    async def story():
        async with town.linked() as link:
            assert await link.heads(IMARI) == []
            with pytest.raises(NotFoundError):
                await link.points(IMARI, "juki", 1)

    run(story())


def test_a_point_is_not_committed_before_its_objects_are_there(town):
    name = town.take_point([b"one", b"two"])
    point = town.saga.store().read(ObjectRef(ObjectKind.POINT, name))

    async def story():
        async with town.linked() as link:
            with pytest.raises(MissingObjectError):
                await link.commit(IMARI, name)
            await link.put(IMARI, item_of(point, ObjectKind.POINT), 0, lambda o, n: point[o : o + n])
            with pytest.raises(MissingObjectError, match="2 of its objects"):
                await link.commit(IMARI, name)
            assert town.kyoto.store().names(ObjectKind.POINT) == []
            return await deliver(town, link)

    assert [d.sequence for d in run(story())] == [1]


def test_an_old_vault_and_a_fork_are_noticed_by_the_sender(town):
    first = town.take_point([b"one"])
    town.take_point([b"two"])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
            points = chain(town, town.saga)
            with pytest.raises(ChainError, match="an old copy"):
                await replicate(link, town.saga.store(), points[:1], verifier=town.kyoto.signer.public)
            town.take_point([b"other two"], after=(1, first), site=town.hokkaido)
            store = town.hokkaido.store()
            source = town.saga.store()
            for ref in [ObjectRef(ObjectKind.POINT, first)]:
                store.put(ref.kind, source.read(ref))
            forked = chain(town, town.hokkaido)
            with pytest.raises(ChainError, match="a fork"):
                await replicate(link, store, forked, verifier=town.kyoto.signer.public)

    run(story())


def test_a_declared_loss_fences_the_open_link_and_the_next_one(town):
    town.take_point([b"one"])

    async def story():
        async with town.listening(town.kyoto) as endpoint:
            saga = await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", endpoint.port)
            hokkaido = await dial(town.hokkaido.local, town.kyoto.pinned, "127.0.0.1", endpoint.port)
            async with saga, hokkaido:
                await hokkaido.declare(b"saga 2")
                with pytest.raises(FencedError):
                    await deliver(town, saga)
            with pytest.raises(FencedError):
                await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", endpoint.port)
            assert dict(town.saga.book.known()) == {"saga": 2}, "the fenced site was told of its loss"
            # And a site that knows refuses to ask the lost one.
            town.saga.book.epochs.clear()
        async with town.listening(town.saga) as endpoint:
            with pytest.raises(FencedError):
                await dial(town.kyoto.local, town.saga.pinned, "127.0.0.1", endpoint.port)

    run(story())
    assert chain(town, town.kyoto) == []


def test_a_survey_names_the_newest_point_its_holders_and_a_site_that_stepped_back(town):
    town.take_point([b"one"])
    lost = PeerError("unable to reach saga")

    async def story():
        async with town.linked(town.saga, town.kyoto) as link:
            await deliver(town, link)
        async with town.linked(town.saga, town.hokkaido) as link:
            await replicate(link, town.saga.store(), chain(town, town.saga), verifier=town.hokkaido.signer.public)
        second = town.take_point([b"two"])
        async with town.linked(town.saga, town.kyoto) as link:
            await deliver(town, link)
        async with town.linked(town.hokkaido, town.kyoto) as link:
            return second, await survey(
                {town.kyoto.id: link, town.saga.id: lost}, IMARI, verifiers=town.verifiers,
                own=(town.hokkaido.id, town.hokkaido.store()),
            )

    second, result = run(story())
    newest = result.newest[JUKI]
    assert (newest.point.name, newest.holders, newest.receipted_by) == (second, ("kyoto",), ("kyoto",))
    assert result.alarms == ()
    assert [(s.site, s.answered) for s in result.sightings] == [("kyoto", True), ("saga", False), ("hokkaido", True)]


def test_items_in_batches_are_answered_in_order(town):
    data = [pack(bytes([n % 256, n // 256])) for n in range(2500)]
    for each in data[::100]:
        town.kyoto.store().put(ObjectKind.PACK, each)

    async def story():
        async with town.linked() as link:
            return await link.have(IMARI, [item_of(each) for each in data])

    assert run(story()) == [len(each) if n % 100 == 0 else 0 for n, each in enumerate(data)]


def test_a_cancelled_put_leaves_the_link_in_order_and_its_bytes_at_the_peer(town):
    data = pack(bytes(range(256)) * 16_000)

    async def story():
        loop, second = asyncio.get_running_loop(), asyncio.Event()

        def read(offset, length):
            if offset > 0:
                loop.call_soon_threadsafe(second.set)
            return data[offset : offset + length]

        async with town.linked() as link:
            task = asyncio.create_task(link.put(IMARI, item_of(data), 0, read))
            await second.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            sent = link.bytes_sent
            (offset,) = await link.have(IMARI, [item_of(data)])
            await link.put(IMARI, item_of(data), offset, lambda o, n: data[o : o + n])
            return sent, offset

    sent, offset = run(story())
    assert 1_000_000 < offset < len(data)
    assert offset <= sent < offset + 8000
    assert town.kyoto.store().read_checked(item_of(data).ref) == data


def test_another_tenants_point_is_refused(town):
    other = DatasetId(TenantId("ureshino"), "juki")
    name = town.take_point([b"one"], dataset=other)
    point = town.saga.store("ureshino").read(ObjectRef(ObjectKind.POINT, name))

    async def story():
        async with town.linked() as link:
            await link.put(IMARI, item_of(point, ObjectKind.POINT), 0, lambda o, n: point[o : o + n])
            with pytest.raises(RefusedError, match="ureshino"):
                await link.commit(IMARI, name)

    run(story())


def test_an_object_that_does_not_match_its_name_is_thrown_away_and_closes_the_link(town):
    data, wrong = pack(b"right"), pack(b"wrong")
    item = ObjectItem.of(item_of(data).ref, len(wrong))

    async def story():
        async with town.linked() as link:
            with pytest.raises(DamageError, match="do not hash to its name"):
                await link.put(IMARI, item, 0, lambda o, n: wrong[o : o + n])
            with pytest.raises((DamageError, PeerError)):
                await link.ping()
        async with town.linked() as link:
            return await link.have(IMARI, [item_of(data)])

    assert run(story()) == [0]
    assert town.kyoto.store().names(ObjectKind.PACK) == []


def test_a_damaged_old_point_at_the_peer_does_not_hide_its_newest(town):
    first = town.take_point([b"one"])
    second = town.take_point([b"two"])

    async def story():
        async with town.linked() as link:
            await deliver(town, link)
        store = town.kyoto.store()
        path = store.path(ObjectRef(ObjectKind.POINT, first))
        data = bytearray(store.files.read(path))
        data[40] ^= 1
        store.files.remove(path)
        handle = store.files.create(path)
        handle.write(bytes(data))
        handle.close()
        async with town.linked() as link:
            return await link.heads(IMARI), await link.points(IMARI, "juki", 1), await link.points(IMARI, "juki", 2)

    heads, from_first, from_second = run(story())
    newest = town.saga.store().read(ObjectRef(ObjectKind.POINT, second))
    assert [(head.sequence, head.point) for head in heads] == [(2, newest)]
    assert (from_first, from_second) == ([], [newest])


def test_rights_and_quota_are_asked_anew_each_time(town):
    data = pack(bytes(50_000))
    holder = town.holder(town.kyoto)

    async def story():
        async with town.linked(holder=holder) as link:
            holder.rights = FixedRights(town.rights.writers, {}, {IMARI: 10_000})
            with pytest.raises(NoSpaceError):
                await link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n])
            holder.rights = FixedRights(town.rights.writers, {}, {IMARI: 60_000})
            await link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n])
            holder.rights = FixedRights()
            with pytest.raises(RefusedError):
                await link.have(IMARI, [item_of(data)])

    run(story())


def test_a_source_that_cannot_be_read_stops_its_put_and_leaves_the_link_in_order(town):
    data = pack(bytes(3_000_000))

    def vanishes(offset, length):
        if offset:
            raise NotFoundError("gone")
        return data[offset : offset + length]

    async def story():
        async with town.linked() as link:
            with pytest.raises(NotFoundError):
                await link.put(IMARI, item_of(data), 0, vanishes)
            with pytest.raises(DamageError, match="shorter here"):
                await link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n - 1])
            (offset,) = await link.have(IMARI, [item_of(data)])
            await link.put(IMARI, item_of(data), offset, lambda o, n: data[o : o + n])
            return offset

    assert run(story()) >= 1_000_000
    assert town.kyoto.store().read_checked(item_of(data).ref) == data


def test_a_defect_in_a_progress_callback_reaches_its_caller_instead_of_hanging_him(town):
    data = pack(bytes(3_000_000))

    def broken(_):
        raise ZeroDivisionError

    async def story():
        async with town.linked() as link:
            with pytest.raises(ZeroDivisionError):
                await link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n], broken)

    run(story())


def test_a_get_that_is_given_up_leaves_the_link_in_order(town):
    data = pack(bytes(range(256)) * 40_000)
    town.kyoto.store().put(ObjectKind.PACK, data)

    async def story():
        async with town.linked() as link:
            pieces = link.get(IMARI, item_of(data).ref, 0, len(data))
            await anext(pieces)
            await anext(pieces)
            await pieces.aclose()
            again = [piece async for piece in link.get(IMARI, item_of(data).ref, 1000, 5)]
            whole = b"".join([piece async for piece in link.get(IMARI, item_of(data).ref, 0, 2**30)])
            return again, whole

    again, whole = run(story())
    assert (again, whole) == ([data[1000:1005]], data)
