"""The control socket: commands of this machine ask, the daemon does, and events tell how far it is.

Only root and the daemon's own user are heard (SO_PEERCRED). A verb that is cancelled because its caller has gone only
stops watching: work belongs to the job book, never to a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from jbackupd.model.errors import JbackupdError, ProtocolError, RefusedError, StorageError, UsageError
from jbackupd.service.client import SOCKET_NAME, short_path
from jbackupd.service.wire import (
    REQUEST_BYTES_MAX,
    Answer,
    Event,
    Request,
    Result,
    decode_request,
    encode,
    failure_of,
)

CONNECTIONS_MAX = 64
REQUEST_SECONDS = 30.0
SEND_SECONDS = 30.0
"""A caller that does not read for this long is left alone; its work goes on."""

A = TypeVar("A", bound=msgspec.Struct)
Body = Mapping[str, Any]


class Call(Generic[A]):
    """One request on its way.

    Attributes:
        arguments: Checked.
    """

    def __init__(self, arguments: A, send: Callable[[Answer], Awaitable[None]]) -> None:
        self.arguments = arguments
        self._send = send

    async def tell(self, body: Body) -> None:
        """Send an event to whoever asked; waits while that one does not read."""
        await self._send(Event(dict(body)))


Handler = Callable[[Call[A]], Awaitable[Body]]


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a verb that needs to know nothing."""


class Control:
    """The listening side.

    Args:
        state: The state folder; the socket lies in it, mode 0600.
        defect: Told of exceptions that are not of our tree, with the verb.
    """

    def __init__(self, state: str, defect: Callable[[str, Exception], None]) -> None:
        self.path = os.path.join(state, SOCKET_NAME)
        self._defect = defect
        self._verbs: dict[str, tuple[type[msgspec.Struct], Handler[Any]]] = {}
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.register("ping", NoArguments, _ping)

    def register(self, verb: str, arguments: type[A], handler: Handler[A]) -> None:
        """Let a verb be answered.

        Args:
            verb: One word, or two with a dot between: "peer.ping".
            arguments: A frozen msgspec struct; requests that do not fit are refused with what is wrong.
            handler: Returns the result; raises errors of our tree. Cancelled when the caller has gone.
        """
        self._verbs[verb] = (arguments, handler)

    async def open(self) -> None:
        """Begin to listen; whoever calls holds the lock of the state folder.

        Raises:
            StorageError: The socket cannot be made.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                # The lock is ours, so a socket that is there was left by a daemon that was killed.
                os.unlink(self.path)
            self._server = await asyncio.start_unix_server(
                self._begin, sock=_listening(self.path), limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            raise StorageError(
                "unable to listen at {path}: {reason}", "check that the service user owns the state folder",
                path=self.path, reason=os.strerror(error.errno or 0),
            ) from error

    async def close(self) -> None:
        """Stop listening and end all talks; harmless twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer), name="control")
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; whatever the caller does, nothing here ends the daemon."""

        async def send(answer: Answer) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                writer.write(encode(answer))
                await writer.drain()

        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                try:
                    _check_user(writer)
                    if len(self._talks) > CONNECTIONS_MAX:
                        raise RefusedError("too many commands speak to the daemon at once", "try again in a while")
                    request = await _request(reader)
                    await send(Result(dict(await self._answer(request, reader, send))))
                except JbackupdError as error:
                    await send(failure_of(error))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await writer.wait_closed()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, send: Callable[[Answer], Awaitable[None]]
    ) -> Body:
        kind, handler = self._verbs.get(request.verb, (None, None))
        if kind is None or handler is None:
            raise UsageError(
                "the daemon does not know {verb!r}", "let the command and the daemon be of the same version",
                verb=request.verb,
            )
        try:
            arguments = msgspec.convert(request.arguments, kind)
        except msgspec.ValidationError as error:
            raise UsageError("unable to {verb}: {reason}", verb=request.verb, reason=str(error)) from error
        try:
            return await _unless_gone(handler(Call(arguments, send)), reader)
        except (JbackupdError, ConnectionError, TimeoutError):
            raise
        except Exception as error:
            self._defect(request.verb, error)
            await send(failure_of(error))
            raise ConnectionAbortedError from error


async def _ping(call: Call[NoArguments]) -> Body:
    return {"pid": os.getpid()}


def _listening(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as short:
            # The file's mode comes from the descriptor's at bind: nobody may connect even for an instant.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(short)
        os.chmod(path, 0o600)
    except OSError:
        listening.close()
        raise
    return listening


def _check_user(writer: asyncio.StreamWriter) -> None:
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _pid, uid, _gid = struct.unpack("iII", credentials)
    if uid not in (0, os.geteuid()):
        raise RefusedError(
            "unable to speak to the daemon as user {uid}", "run the command as root or as the daemon's own user",
            uid=uid,
        )


async def _request(reader: asyncio.StreamReader) -> Request:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return decode_request(await reader.readuntil(b"\n"))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    except asyncio.LimitOverrunError as error:
        raise ProtocolError("the request is longer than {most} bytes", most=REQUEST_BYTES_MAX) from error


async def _unless_gone(work: Awaitable[Body], reader: asyncio.StreamReader) -> Body:
    """Return what the handler returns; cancel it when the caller hangs up."""
    doing = asyncio.ensure_future(work)
    hanging_up = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({doing, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ConnectionResetError
        return doing.result()
    finally:
        hanging_up.cancel()
        doing.cancel()
        await asyncio.wait({doing, hanging_up})
