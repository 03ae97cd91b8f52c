"""The link is cut, or an end is restarted, in the middle of an object: the next one goes on at the byte."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest

from jbackupd.engine.replicate import replicate
from jbackupd.model.errors import PeerError
from jbackupd.model.ids import ObjectKind
from jbackupd.runtime.pacing import Pacer
from jbackupd.transport.dial import dial
from jbackupd.transport.endpoint import Endpoint
from jbackupd.transport.holding import Limits
from jbackupd.vault.vault import PointList
from tests.support.twosites import IMARI, JUKI, item_of, pack, run


class CuttingLine:
    """A TCP proxy that cuts both ways after so many bytes have reached the listener, or swallows everything."""

    def __init__(self, port):
        self.target = port
        self.cut_after = None
        self.silent = False
        self.passed = 0
        self._writers = []

    @contextlib.asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader, writer):
        self.passed = 0
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, other_writer]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forth(reader, other_writer, writer))
            group.create_task(self._back(other_reader, writer))

    async def _forth(self, reader, writer, back):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.silent:
                    continue
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
                if self.cut_after is not None and self.passed > self.cut_after:
                    # A reset towards the listener would throw away what is counted as passed: end that way softly.
                    writer.write_eof()
                    back.transport.abort()
                    return
        self.cut()

    async def _back(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.silent and not writer.transport.is_closing():
                    writer.write(data)
                    await writer.drain()
        self.cut()


def test_a_link_cut_in_the_middle_of_an_object_resumes_at_the_byte(town):
    data = pack(random.Random(1).randbytes(8_000_000))
    cuts = (700_000, 1_900_000, 40_000, 3_333_333)

    async def story():
        sent, offsets = [], []
        async with town.listening(town.kyoto) as endpoint, CuttingLine(endpoint.port).open() as line:
            for cut in (*cuts, None):
                line.cut_after = cut
                async with await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", line.port) as link:
                    try:
                        (offset,) = await link.have(IMARI, [item_of(data)])
                        offsets.append(offset)
                        await link.put(IMARI, item_of(data), offset, lambda o, n: data[o : o + n])
                    except PeerError:
                        assert cut is not None
                sent.append(line.passed)
        return sent, offsets

    sent, offsets = run(story())
    assert offsets == sorted(offsets), (sent, offsets)
    assert offsets[-1] > 4_800_000, (sent, offsets)
    # What crossed the line in all, handshakes included, against the object: under one frame of 256 KiB a cut is lost.
    assert sum(sent) - len(data) < len(cuts) * (256 + 64 + 20) * 1024
    assert town.kyoto.store().read_checked(item_of(data).ref) == data


def test_both_ends_restarted_in_the_middle_go_on_at_the_byte(town):
    town.take_point([random.Random(2).randbytes(3_000_000), b"small"])

    async def story():
        delivered = []
        for cut in (1_500_000, None):
            # New endpoint, new holder, new link each time; only the files stay.
            async with town.listening(town.kyoto) as endpoint, CuttingLine(endpoint.port).open() as line:
                line.cut_after = cut
                async with await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", line.port) as link:
                    points = PointList(town.saga.store(), town.verifiers).chain(JUKI)
                    try:
                        delivered = await replicate(
                            link, town.saga.store(), points, verifier=town.kyoto.signer.public
                        )
                    except PeerError:
                        assert cut is not None
        return delivered

    (delivered,) = run(story())
    assert delivered.sent_bytes < 2_000_000
    assert len(PointList(town.kyoto.store(), town.verifiers).chain(JUKI)) == 1


def test_a_listener_that_closes_keeps_what_arrived(town):
    data = pack(random.Random(3).randbytes(4_000_000))

    async def story():
        kept = asyncio.Event()
        limits = Limits(send=Pacer(8_000_000))

        async with town.listening(town.kyoto) as endpoint:
            link = await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", endpoint.port, limits=limits)
            put = asyncio.create_task(
                link.put(IMARI, item_of(data), 0, lambda o, n: data[o : o + n], lambda _: kept.set())
            )
            await kept.wait()
            await endpoint.close()
            with pytest.raises(PeerError):
                await put
            await link.close()
        async with town.linked() as again:
            return await again.have(IMARI, [item_of(data)])

    (offset,) = run(story())
    assert 0 < offset < len(data)


def test_a_half_open_link_is_noticed(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint, CuttingLine(endpoint.port).open() as line:
            link = await dial(
                town.saga.local, town.kyoto.pinned, "127.0.0.1", line.port, silence_seconds=0.2
            )
            async with link:
                line.silent = True
                with pytest.raises(PeerError, match="no answer"):
                    await link.have(IMARI, [item_of(pack(b"x"))])
                with pytest.raises(PeerError, match="no answer"):
                    await link.ping()

    run(story())


def test_a_peer_that_stops_in_the_middle_of_a_put_is_given_up_and_its_bytes_are_kept(town):
    data = pack(random.Random(4).randbytes(4_000_000))

    async def story():
        async with (
            town.listening(town.kyoto, silence_seconds=0.3) as endpoint,
            CuttingLine(endpoint.port).open() as line,
            await dial(
                town.saga.local, town.kyoto.pinned, "127.0.0.1", line.port, limits=Limits(send=Pacer(8_000_000))
            ) as link,
        ):
            with pytest.raises(PeerError):
                await link.put(
                    IMARI, item_of(data), 0, lambda o, n: data[o : o + n], lambda _: setattr(line, "silent", True)
                )
        async with town.linked() as again:
            return await again.have(IMARI, [item_of(data)])

    (offset,) = run(story())
    assert 0 < offset < len(data)


def test_a_port_where_nobody_listens_is_a_peer_error(town):
    async def story():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(PeerError, match=r"unable to link with kyoto at 127.0.0.1:\d+: Connection refused$"):
                await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", taken.getsockname()[1])

    run(story())


def test_a_port_in_use_is_a_peer_error(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            other = town.hokkaido
            with pytest.raises(PeerError, match="unable to listen"):
                await Endpoint(other.local, town.find, town.holder(other)).start("127.0.0.1", endpoint.port)

    run(story())


def test_nothing_is_left_in_incoming_after_a_delivery(town):
    town.take_point([b"one", b"two"])

    async def story():
        async with town.linked() as link:
            points = PointList(town.saga.store(), town.verifiers).chain(JUKI)
            await replicate(link, town.saga.store(), points, verifier=town.kyoto.signer.public)

    run(story())
    assert town.kyoto.files.names("vaults/imari/incoming") == []
    assert len(town.kyoto.store().names(ObjectKind.POINT)) == 1
