"""The listening side: one TCP port, pinned keys, one subsystem, a conversation for each connection."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal

import asyncssh
from asyncssh.channel import SSHServerChannel

from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import PeerError
from jbackupd.model.ids import SiteId
from jbackupd.model.reasons import reason_of
from jbackupd.protocol.answerer import Answerer
from jbackupd.protocol.handshake import Binding, Handshake, Role
from jbackupd.transport.channel import AcceptedSession, Channel
from jbackupd.transport.conversation import SILENCE_SECONDS, Conversation
from jbackupd.transport.holding import Holder, Limits, Offload
from jbackupd.transport.ssh import (
    PACKET_BYTES,
    WINDOW_BYTES,
    LocalSite,
    PinnedSite,
    listen_options,
    private_key,
    public_blob,
    session_id,
    tune,
)

CONNECTIONS_MAX = 64
"""Also of those that have not shown a key yet; each may hold a thousand bytes or so by then."""
LINKS_PER_SITE_MAX = 8
BEGIN_SECONDS = 60
"""Whoever has not asked for the subsystem by then is sent away."""
CLOSE_SECONDS = 10
"""What was read from the socket is at most 4 MiB a link; a disk that cannot take it in this time is stuck."""

_log = logging.getLogger("jbackupd.line")


class Endpoint:
    """Answers the peers that dial this site.

    Args:
        local: This site.
        find_peer: Gives the pinned site of a site id, or None; asked at each connection, so a reload takes effect.
        holder: What is kept for peers.
        limits_of: How fast the links of a site may be, together.
        offload: Runs the holder's blocking work.
        clock: For tests.
        silence_seconds: How long a peer may stop in the middle of something.
    """

    def __init__(
        self,
        local: LocalSite,
        find_peer: Callable[[SiteId], PinnedSite | None],
        holder: Holder,
        *,
        limits_of: Callable[[SiteId], Limits] | None = None,
        offload: Offload = asyncio.to_thread,
        clock: Clock | None = None,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.local = local
        self.find_peer = find_peer
        self.connections: set[asyncssh.SSHServerConnection] = set()
        """All that are open, also those that have not shown a key yet."""
        self.links: Counter[SiteId] = Counter()
        self._holder = holder
        self._limits_of = limits_of or (lambda _: Limits())
        self._offload = offload
        self._clock = clock or SystemClock()
        self._silence = silence_seconds
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._tasks: dict[asyncio.Task[None], Channel] = {}

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        assert self._acceptor is not None
        return self._acceptor.get_port()

    async def start(self, host: str, port: int) -> None:
        """Begin to listen; port 0 takes a free one.

        Raises:
            PeerError: The address or port cannot be used.
        """
        try:
            self._acceptor = await asyncssh.listen(
                host, port, server_factory=lambda: _Server(self), **listen_options(self.local)
            )
        except (OSError, asyncssh.Error) as error:
            raise PeerError(
                "unable to listen on {host}:{port}: {reason}",
                "check that no other program uses this port and that the address is one of this machine",
                host=host, port=port, reason=reason_of(error)[:200],
            ) from error

    async def close(self) -> None:
        """Stop listening and end all conversations; what has arrived is durable when this returns."""
        if self._acceptor is not None:
            self._acceptor.close()
        for channel in self._tasks.values():
            channel.end(None)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.connections):
            connection.abort()
        if self._acceptor is not None:
            await self._acceptor.wait_closed()

    def converse(self, peer: PinnedSite, connection: asyncssh.SSHServerConnection, channel: Channel) -> None:
        """Begin the conversation of a connection whose SSH key was checked."""
        task = asyncio.create_task(self._converse(peer, connection, channel), name=f"link from {peer.site}")
        self._tasks[task] = channel
        task.add_done_callback(self._tasks.pop)

    def new_channel(self, site: SiteId, connection: asyncssh.SSHServerConnection) -> Channel:
        """Return the channel of a new session."""
        return Channel(site, connection, self._clock)

    async def _converse(
        self, peer: PinnedSite, connection: asyncssh.SSHServerConnection, channel: Channel
    ) -> None:
        self.links[peer.site] += 1
        try:
            tune(connection)
            binding = Binding(
                asker_key=public_blob(peer.ssh_public),
                answerer_key=private_key(self.local.ssh_seed).public_data,
                session_id=session_id(connection),
            )
            answerer = Answerer(Handshake(Role.ANSWERER, self.local.own, peer.other, binding))
            conversation = Conversation(
                channel, answerer, self._holder, self.local.own.book, self._limits_of(peer.site), self._offload,
                self._silence,
            )
            await self._settle_earlier(peer.site)
            await conversation.run()
        finally:
            self.links[peer.site] -= 1
            await channel.close()

    async def _settle_earlier(self, site: SiteId) -> None:
        """Let what a site's cut links brought be written first, or its new link is told an offset that is too low."""
        earlier = [task for task, channel in self._tasks.items() if channel.site == site and channel.ended]
        if earlier:
            await asyncio.wait(earlier, timeout=CLOSE_SECONDS)


class _Server(asyncssh.SSHServer):
    """One SSH connection: says no to everything but a pinned key and one session."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: asyncssh.SSHServerConnection | None = None
        self._peer: PinnedSite | None = None
        self._session_given = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        if len(self._endpoint.connections) >= CONNECTIONS_MAX:
            _log.warning("too many connections: one was refused")
            conn.abort()
            return
        self._endpoint.connections.add(conn)
        self._deadline = asyncio.get_running_loop().call_later(BEGIN_SECONDS, conn.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._endpoint.connections.discard(self._connection)
        self._cancel_deadline()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        peer = self._endpoint.find_peer(SiteId(username))
        if peer is None or key.public_data != public_blob(peer.ssh_public):
            _log.warning("refused a connection: unknown site or key")
            return False
        self._peer = peer
        return True

    def session_requested(self) -> tuple[SSHServerChannel[bytes], AcceptedSession] | Literal[False]:
        peer, connection = self._peer, self._connection
        if peer is None or connection is None or self._session_given:
            return False
        if connection.get_extra_info("username") != peer.site:
            return False
        if self._endpoint.links[peer.site] >= LINKS_PER_SITE_MAX:
            _log.warning("refused a link from %s: it has %d already", peer.site, LINKS_PER_SITE_MAX)
            return False
        self._session_given = True
        channel = self._endpoint.new_channel(peer.site, connection)

        def started() -> None:
            self._cancel_deadline()
            self._endpoint.converse(peer, connection, channel)

        session = AcceptedSession(channel, started)
        ssh_channel = connection.create_server_channel(
            encoding=None, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES
        )
        return ssh_channel, session
