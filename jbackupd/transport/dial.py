"""Dial a peer: TCP, SSH with both keys pinned, the subsystem, and our own handshake."""

from __future__ import annotations

import asyncio
import contextlib

import asyncssh

from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import FormatError, IdentityError, JbackupdError, PeerError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.model.reasons import reason_of
from jbackupd.protocol.asker import Asker
from jbackupd.protocol.handshake import Binding, EpochBook, Handshake, Role
from jbackupd.transport.channel import Channel, DialledSession
from jbackupd.transport.dialogue import SILENCE_SECONDS, Dialogue
from jbackupd.transport.holding import Limits, Offload
from jbackupd.transport.link import Link
from jbackupd.transport.ssh import (
    LOGIN_SECONDS,
    PACKET_BYTES,
    SUBSYSTEM,
    WINDOW_BYTES,
    LocalSite,
    PinnedSite,
    dial_options,
    private_key,
    public_blob,
    session_id,
    tune,
)


async def dial(
    local: LocalSite,
    peer: PinnedSite,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    offload: Offload = asyncio.to_thread,
    clock: Clock | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> Link:
    """Return a proved link to a peer; use it as an async context manager, or close it.

    Args:
        local: Who dials.
        peer: Who must answer, from its card.
        host: Name or address.
        port: TCP port.
        limits: Bytes a second in both directions; unlimited without.
        offload: Runs blocking reads of objects.
        clock: For tests.
        silence_seconds: How long a peer may owe an answer without a sign of life.

    Raises:
        IdentityError: The other side does not have the pinned keys, or does not know ours.
        FencedError: One of the two sites acts under an old epoch; both know by now what was declared, and when this
            site has returned meanwhile, the next call gives a link.
        PeerError: The peer cannot be reached, or broke the protocol.
    """
    clock = clock or SystemClock()
    connection = await _connect(local, peer, host, port)
    channel = Channel(peer.site, connection, clock)
    try:
        tune(connection)
        async with asyncio.timeout(LOGIN_SECONDS):
            await connection.create_session(
                lambda: DialledSession(channel), subsystem=SUBSYSTEM, encoding=None,
                window=WINDOW_BYTES, max_pktsize=PACKET_BYTES, request_pty=False,
            )
            binding = Binding(
                asker_key=private_key(local.ssh_seed).public_data,
                answerer_key=public_blob(peer.ssh_public),
                session_id=session_id(connection),
            )
            asker = Asker(Handshake(Role.ASKER, local.own, peer.other, binding))
            dialogue = Dialogue(channel, asker, limits or Limits(), offload, clock, silence_seconds)
            try:
                await dialogue.open()
            except BaseException:
                await dialogue.close()
                raise
    except (asyncssh.Error, OSError, TimeoutError) as error:
        connection.abort()
        raise _unreachable(peer, host, port, error) from error
    except BaseException:
        connection.abort()
        raise
    link = Link(dialogue)
    if asker.handshake.fenced is not None:
        try:
            await exchange(link, local.own.book, offload)
        finally:
            await link.close()
        raise asker.handshake.fenced
    return link


async def exchange(link: Link, book: EpochBook, offload: Offload) -> None:
    """Let both sides know of every declaration that either knows; what one does not accept stays untold.

    Raises:
        PeerError: The link was cut meanwhile.
    """
    for declaration in await offload(book.news_for, link.epochs):
        with contextlib.suppress(RefusedError):
            await link.declare(declaration)
    if not link.epochs:
        return
    before: dict[SiteId, int] | None = None
    while (known := dict(await offload(book.known))) != before:
        before = known
        for declaration in await link.losses(known):
            with contextlib.suppress(RefusedError, FormatError):
                await offload(book.learn, declaration)


async def _connect(
    local: LocalSite, peer: PinnedSite, host: str, port: int
) -> asyncssh.SSHClientConnection:
    try:
        return await asyncssh.connect(host, port, **dial_options(local, peer))
    except asyncssh.HostKeyNotVerifiable as error:
        raise IdentityError(
            "unable to link with {site} at {host}:{port}: it does not have the key of its card",
            "somebody else answers there, or the site was set up anew: compare its card with its officers",
            site=peer.site, host=host, port=port,
        ) from error
    except asyncssh.PermissionDenied as error:
        raise IdentityError(
            "unable to link with {site} at {host}:{port}: it does not know this site",
            "let the officers of {site} add the card of {local}",
            site=peer.site, host=host, port=port, local=local.site,
        ) from error
    except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
        raise _unreachable(peer, host, port, error) from error


def _unreachable(peer: PinnedSite, host: str, port: int, error: Exception) -> JbackupdError:
    return PeerError(
        "unable to link with {site} at {host}:{port}: {reason}",
        "check that its daemon runs and that a firewall lets this port through; it is tried again",
        site=peer.site, host=host, port=port, reason=reason_of(error)[:200],
    )
