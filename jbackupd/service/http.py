"""A page for monitors: GET of a few fixed paths, one answer a connection, everything bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from jbackupd.model.errors import StorageError
from jbackupd.model.reasons import reason_of
from jbackupd.model.units import Address

HEAD_BYTES_MAX = 8 * 1024
REQUEST_SECONDS = 10.0
CONNECTIONS_MAX = 16
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


class Pages:
    """Serves pages over HTTP/1.1.

    Args:
        pages: By path; each makes its page anew.
    """

    def __init__(self, pages: Mapping[str, Callable[[], Awaitable[Page]]]) -> None:
        self._pages = dict(pages)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self, address: Address) -> Address:
        """Begin to listen; return where (port 0 means any free one).

        Raises:
            StorageError: The address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(
                self._begin, address.host, address.port, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            raise StorageError(
                "unable to listen at {address}: {reason}", "choose another address for [metrics]",
                address=address, reason=reason_of(error),
            ) from error
        return Address(address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening; harmless twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer), name="pages")
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    method, page = await self._answer(reader)
                    writer.write(_head(page) + (b"" if method == "HEAD" else page.body))
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[str, Page]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        except (asyncio.LimitOverrunError, ValueError):
            return "GET", Page(b"this is not a request\n", status=400)
        if len(self._talks) > CONNECTIONS_MAX:
            return method, Page(b"too many connections\n", status=503)
        if not version.startswith("HTTP/1."):
            return method, Page(b"this is not HTTP/1\n", status=400)
        if method not in ("GET", "HEAD"):
            return method, Page(b"only GET and HEAD\n", status=405)
        make = self._pages.get(target.partition("?")[0])
        return method, await make() if make else Page(b"there is no such page\n", status=404)


def _head(page: Page) -> bytes:
    return (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\n"
        f"Content-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n"
        "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    ).encode("ascii")
