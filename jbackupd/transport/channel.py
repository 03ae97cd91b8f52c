"""The one SSH channel of a link as a pair of calls: read what came, write and wait for room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import asyncssh
from asyncssh.channel import SSHChannel

from jbackupd.model.clock import Clock
from jbackupd.model.errors import PeerError
from jbackupd.model.ids import SiteId
from jbackupd.transport.ssh import SUBSYSTEM, Connection, backlog

UNREAD_BYTES_MAX = 4 * 1024 * 1024
"""Beyond this the channel's window is left to run down, so a slow disk slows the sender."""
BACKLOG_BYTES_MAX = 1024 * 1024
BACKLOG_SECONDS = (0.001, 0.05)
CLOSE_SECONDS = 3


class Channel:
    """Bytes in both directions over one SSH session, counted, with back-pressure both ways.

    Args:
        site: The other side, for messages.
    """

    def __init__(self, site: SiteId, connection: Connection, clock: Clock) -> None:
        self.site = site
        self.bytes_sent = 0
        self.bytes_received = 0
        self.heard_at = clock.monotonic()
        self._clock = clock
        self._connection = connection
        self._channel: SSHChannel[bytes] | None = None
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._paused = False
        self._ended = False
        self._reason: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # What asyncssh calls.

    def opened(self, channel: SSHChannel[bytes]) -> None:
        """Take the channel to write to."""
        self._channel = channel

    def take(self, data: bytes) -> None:
        """Keep bytes that came."""
        self.bytes_received += len(data)
        self.heard_at = self._clock.monotonic()
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > UNREAD_BYTES_MAX and not self._paused and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def end(self, reason: Exception | None) -> None:
        """Take note that nothing more comes."""
        self._ended = True
        self._reason = self._reason or reason
        self._news.set()
        self._room.set()

    def room(self, *, there_is: bool) -> None:
        """Take note that the SSH window has run out, or has opened."""
        if there_is or self._ended:
            self._room.set()
        else:
            self._room.clear()

    # What the two sides call.

    @property
    def ended(self) -> bool:
        """Tell whether the link is over; unread bytes may be left."""
        return self._ended

    async def read(self) -> bytes:
        """Return the next bytes.

        Raises:
            PeerError: The link has ended, and all that came before was returned.
        """
        while not self._unread:
            if self._ended:
                raise self.lost()
            self._news.clear()
            await self._news.wait()
        data = self._unread.popleft()
        self._unread_bytes -= len(data)
        if self._paused and self._unread_bytes <= UNREAD_BYTES_MAX // 2 and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()
        return data

    def send(self, frames: Sequence[bytes]) -> None:
        """Hand frames over to be sent, at once and whole.

        Raises:
            PeerError: The link has ended.
        """
        if self._ended or self._channel is None:
            raise self.lost()
        for frame in frames:
            try:
                self._channel.write(frame)
            except OSError as error:
                raise self.lost() from error
            self.bytes_sent += len(frame)

    async def drain(self) -> None:
        """Return when there is room for more.

        Raises:
            PeerError: The link has ended.
        """
        pause, longest = BACKLOG_SECONDS
        while not self._ended and (not self._room.is_set() or backlog(self._connection) > BACKLOG_BYTES_MAX):
            if self._room.is_set():
                # asyncssh swallows the socket's pause_writing, so its queue has to be looked at.
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                await self._room.wait()
        if self._ended:
            raise self.lost()

    def lost(self) -> PeerError:
        """Return the error of a link that has ended."""
        reason = str(self._reason) if self._reason and str(self._reason) else "the connection was closed"
        return PeerError(
            "unable to go on with the link to {site}: {reason}",
            "the next connection goes on where this one stopped", site=self.site, reason=reason[:200],
        )

    def drop(self) -> None:
        """End the connection at once, without a word: nobody is there to hear it."""
        self.end(None)
        self._connection.abort()

    async def close(self) -> None:
        """Let what was handed over go out if the other side takes it, then close; harmless twice."""
        self.end(None)
        if self._channel is not None:
            self._channel.resume_reading()
            self._channel.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._channel is not None:
                    await self._channel.wait_closed()
                self._connection.close()
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()


class _Session:
    """asyncssh's callbacks, handed on to a Channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def connection_made(self, chan: Any) -> None:
        self.channel.opened(chan)

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.channel.take(data)

    def eof_received(self) -> bool:
        self.channel.end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel.end(exc)

    def pause_writing(self) -> None:
        self.channel.room(there_is=False)

    def resume_writing(self) -> None:
        self.channel.room(there_is=True)


class DialledSession(_Session, asyncssh.SSHClientSession[bytes]):
    """The dialler's end."""


class AcceptedSession(_Session, asyncssh.SSHServerSession[bytes]):
    """The listener's end: one subsystem, no shell, no command, no terminal."""

    def __init__(self, channel: Channel, started: Callable[[], None]) -> None:
        super().__init__(channel)
        self._started = started

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept our own subsystem only."""
        return subsystem == SUBSYSTEM

    def session_started(self) -> None:
        """Begin to talk."""
        self._started()
