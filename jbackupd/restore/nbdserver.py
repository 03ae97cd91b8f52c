"""Devices served over NBD: one session a connection, requests carried out in threads, answered as they are done."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from jbackupd.model.errors import JbackupdError, NoSpaceError, ProtocolError
from jbackupd.protocol.nbd import Command, Export, NbdError, NbdSession, NbdState, Request
from jbackupd.runtime.offload import settled

RECEIVE_BYTES = 256 * 1024
THREADS = 16
"""Reads that wait for a line hold a thread each; a booting system has rarely more than ten under way."""
IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
"""Of one connection: two of the longest requests. Who asks for more waits."""
REQUEST_BYTES = 64 * 1024
"""What a request counts at least, so that a million short ones wait too."""
CONNECTIONS_MAX = 64
CLOSE_SECONDS = 5.0
"""So long requests under way may take when the server is closed; a read from a silent peer is not waited for."""


class Device(Protocol):
    """Bytes that can be served. Calls block, come from several threads at once, and lie within the size."""

    size: int
    read_only: bool

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes.

        Raises:
            JbackupdError: They cannot be had, or are not what they must be.
        """
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write; durable after the next flush.

        Raises:
            NoSpaceError: They do not fit.
        """
        ...

    def zero(self, offset: int, length: int) -> None:
        """Let these bytes be zeros; durable after the next flush."""
        ...

    def flush(self) -> None:
        """Make all that was written durable."""
        ...


class NbdServer:
    """Serves devices on one listening socket. Close it after use.

    Args:
        devices: By export name; the first one is also meant by the empty name. They stay the caller's.
        failed: Told of every request that could not be carried out, on the loop's thread.
    """

    def __init__(
        self, devices: Mapping[str, Device], failed: Callable[[str, JbackupdError], None] = lambda name, error: None
    ) -> None:
        self._devices = dict(devices)
        self._exports = {name: Export(device.size, device.read_only) for name, device in devices.items()}
        self._failed = failed
        self._threads = ThreadPoolExecutor(THREADS, "nbd")
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._talks)

    async def open(self, listening: socket.socket) -> None:
        """Begin to serve on a bound socket, which is the server's from now on."""
        self._server = await asyncio.start_server(self._begin, sock=listening, limit=RECEIVE_BYTES)

    async def close(self) -> None:
        """Stop listening, let requests under way end within CLOSE_SECONDS, flush; harmless twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await settled(asyncio.to_thread(self._flush_all))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _flush_all(self) -> None:
        for name, device in self._devices.items():
            if not device.read_only:
                try:
                    device.flush()
                except JbackupdError as error:
                    self._failed(name, error)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._talks) >= CONNECTIONS_MAX:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(_Talk(self, reader, writer).run(), name="nbd")
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    # What a talk asks for.

    def session(self) -> NbdSession:
        """Return the session of a new connection."""
        return NbdSession(self._exports)

    async def carry_out(self, name: str, request: Request) -> tuple[NbdError, bytes]:
        """Carry out a request; return how it is answered. Nothing is answered that was not wholly right."""
        device = self._devices[name]
        loop = asyncio.get_running_loop()
        try:
            return NbdError.NONE, await settled(loop.run_in_executor(self._threads, _do, device, request))
        except NoSpaceError as error:
            self._failed(name, error)
            return NbdError.NO_SPACE, b""
        except JbackupdError as error:
            self._failed(name, error)
            return NbdError.IO, b""


def _do(device: Device, request: Request) -> bytes:
    """Carry out a request. Blocks."""
    data = b""
    if request.command is Command.READ:
        data = device.read(request.offset, request.length)
        assert len(data) == request.length, "a device gives what was asked for, or raises"
    elif request.command is Command.WRITE:
        device.write(request.offset, request.data)
    elif request.command in (Command.TRIM, Command.WRITE_ZEROES):
        device.zero(request.offset, request.length)
    if request.command is Command.FLUSH or (request.durable and request.command is not Command.READ):
        device.flush()
    return data


class _Talk:
    """One connection."""

    def __init__(self, server: NbdServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._session = server.session()
        self._room = IN_FLIGHT_BYTES_MAX
        self._made_room = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Talk until the client goes, or this is cancelled."""
        try:
            with contextlib.suppress(ConnectionError, ProtocolError):
                await self._listen()
        finally:
            try:
                await self._settle()
            finally:
                self._writer.close()

    async def _listen(self) -> None:
        await self._send()
        while self._session.state is not NbdState.CLOSED:
            data = await self._reader.read(RECEIVE_BYTES)
            if not data:
                return
            try:
                for request in self._session.receive(data):
                    await self._take(request)
            finally:
                await self._send()

    async def _take(self, request: Request) -> None:
        """Begin to carry out a request once there is room for it."""
        cost = max(REQUEST_BYTES, request.length if request.command in (Command.READ, Command.WRITE) else 0)
        while self._room < cost:
            self._made_room.clear()
            # Answers to what was refused at once must not wait for what is slow.
            await self._send()
            await self._made_room.wait()
        self._room -= cost
        task = asyncio.get_running_loop().create_task(self._answer(request, cost), name="nbd request")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _answer(self, request: Request, cost: int) -> None:
        try:
            error, data = await self._server.carry_out(self._session.chosen, request)
            self._session.answer(request.cookie, error, data)
            with contextlib.suppress(ConnectionError):
                await self._send()
        except Exception:
            # A defect of ours: this client must not wait for ever, and must not take it for an answer.
            self._writer.transport.abort()
            raise
        finally:
            self._room += cost
            self._made_room.set()

    async def _send(self) -> None:
        out = self._session.take_output()
        if out and not self._writer.is_closing():
            self._writer.writelines(out)
            await self._writer.drain()

    async def _settle(self) -> None:
        """Let what is under way end; what a silent peer holds up is left to its thread."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
        for task in self._under_way:
            task.cancel()
