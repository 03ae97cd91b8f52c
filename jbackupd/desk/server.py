"""Serving the desk inside a running event loop, and proving from outside that it answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from jbackupd.model.errors import ConfigError, InvariantError, JbackupdError
from jbackupd.model.units import Address

STOP_SECONDS = 5
"""How long pages that are being answered may take when the desk stops."""
_REQUESTS_AT_ONCE = 128


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The signals belong to the daemon.
        yield


class DeskServer:
    """An HTTP server for one desk.

    Args:
        app: What it serves.
        listen: Where; port 0 takes a free one.
        certificate: Path of a PEM certificate chain; with it the desk speaks https only.
        private_key: Path of its PEM key.
    """

    def __init__(
        self, app: Starlette, listen: Address, *, certificate: str | None = None, private_key: str | None = None,
    ) -> None:
        self._app = app
        self._listen = listen
        self._tls = (certificate, private_key)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._address = listen

    @property
    def url(self) -> str:
        """Where the desk is reached, once it has started: http://127.0.0.1:7480."""
        return f"{'https' if self._tls[0] else 'http'}://{self._address}"

    async def start(self) -> None:
        """Begin to answer; returns when it does.

        Raises:
            ConfigError: The address cannot be used, or certificate and key cannot.
        """
        if self._task is not None:
            raise InvariantError("the desk has been started already")
        config = uvicorn.Config(
            self._app, lifespan="off", ws="none", loop="none", http="h11", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, limit_concurrency=_REQUESTS_AT_ONCE, timeout_keep_alive=5,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        config.load()
        config.ssl = self._tls_context()
        listener = _bind(self._listen)
        self._address = Address(self._listen.host, listener.getsockname()[1])
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="desk")
        while not self._server.started:
            await asyncio.wait({self._task}, timeout=0.01)
            if self._task.done():
                await self.stop()
                raise JbackupdError("unable to start the desk at {address}", address=str(self._address))

    async def stop(self) -> None:
        """Finish the pages that are being answered and close; may be called twice."""
        task, self._task = self._task, None
        if task is not None and self._server is not None:
            self._server.should_exit = True
            await task

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _tls_context(self) -> ssl.SSLContext | None:
        certificate, private_key = self._tls
        if certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, private_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "unable to use the desk's certificate {path}: {reason}",
                "give a PEM certificate chain and its private key", path=certificate, reason=str(error),
            ) from error
        return context


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With the protocol named: asyncio switches Nagle's delay off only then, and each page waited 40 ms for it.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(
            "unable to serve the desk at {address}: {reason}", "choose a free address of this machine",
            address=str(address), reason=os.strerror(error.errno) if error.errno else str(error),
        ) from error
    return listener
