"""The queue of one peer: one link, tiers first and the longest waiting first, until everything has a receipt.

A dataset of a more urgent tier that gets a new point interrupts the one on its way: a put stops at the byte and goes
on there later. A dataset that the peer refuses is left for a while and does not hold up the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from jbackupd.engine.replicate import Progress
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, PeerError, Retry, TryLaterError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.protocol.messages import ContactIs
from jbackupd.runtime.news import News
from jbackupd.runtime.supervisor import Backoff
from jbackupd.service.log import Log
from jbackupd.vault.peer import Peer

IDLE_PING_SECONDS = 60.0
"""How often an idle link is looked at; asyncssh finds a dead one within two minutes by itself."""


class Line(Peer, Protocol):
    """A link as the queue needs it (transport.link.Link)."""

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the line so far."""
        ...

    @property
    def bytes_received(self) -> int:
        """Bytes taken from the line so far."""
        ...

    @property
    def epochs(self) -> Mapping[SiteId, int]:
        """The epochs of other sites that the peer knows of."""
        ...

    @property
    def ended(self) -> asyncio.Event:
        """Set once the line is of no use any more."""
        ...

    async def losses(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        """Return some of the declarations above these epochs, unchecked; none when the peer has no more."""
        ...

    async def deposit(self, tenant: TenantId, journal: bytes, head: bytes, offset: int, data: bytes) -> int:
        """Hand over a piece of a desk's journal; return how many bytes of the journal the peer has, durable."""
        ...

    async def contact(self, other: SiteId) -> ContactIs:
        """Return when the peer was last in touch with a third site."""
        ...

    async def promises(self, promises: bytes = b"") -> Mapping[str, tuple[int, int]]:
        """Hand over a piece of an officer's book of promises, or nothing; return which books the peer has then."""
        ...

    async def ping(self) -> float:
        """Return the round-trip time now, in seconds."""
        ...

    async def __aenter__(self) -> Self:
        """Use the link."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A dataset that has points for a peer.

    Attributes:
        since: When the oldest of them was taken.
    """

    tier: int
    since: datetime
    dataset: DatasetId


@dataclass(slots=True)
class QueueState:
    """How the line to a peer stands, for status and metrics.

    Attributes:
        up: Whether there is a link.
        changed_at: Since when.
        error: Why there is none.
        troubles: Datasets that the peer did not take, with the reason.
        sending: The point on its way.
        bytes_sent: Over all links of this run.
        delivered_points: Receipts that came in this run.
    """

    up: bool = False
    changed_at: datetime | None = None
    error: JbackupdError | None = None
    troubles: dict[DatasetId, JbackupdError] = field(default_factory=dict)
    sending: Progress | None = None
    round_trip_seconds: float | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    delivered_points: int = 0


class Desk(Protocol):
    """What the queue needs of the daemon."""

    news: News
    """Rings when there may be something new to send."""

    def waiting(self, peer: SiteId) -> Sequence[Waiting]:
        """Return the datasets that have points for a peer."""
        ...

    def signed_at(self, peer: SiteId) -> datetime | None:
        """Return when a peer last signed for a point of this site; None if it never did."""
        ...

    async def greet(self, line: Line) -> None:
        """Tell a peer, first of all, what it must know before anything is sent: declarations of lost sites."""
        ...

    async def send(self, line: Line, dataset: DatasetId, told: Callable[[Progress], None]) -> int:
        """Bring a dataset's points to a peer and look at the receipts; return how many points it signed for."""
        ...


class PeerQueue:
    """Sends to one peer for as long as it is run.

    Args:
        peer: Whom to.
        dial: Makes a link.
        backoff: Pauses after failures; the peer may be away for a week.
    """

    def __init__(
        self, peer: SiteId, dial: Callable[[], Awaitable[Line]], desk: Desk, *, clock: Clock, log: Log,
        backoff: Backoff | None = None, above: News | None = None,
    ) -> None:
        self.peer = peer
        self.state = QueueState()
        self.news = News(above)
        """Rings when the link comes or goes, and at every receipt."""
        self._dial = dial
        self._desk = desk
        self._clock = clock
        self._log = log
        self._backoff = backoff or Backoff()
        self._wanted = News()
        self._line: Line | None = None
        self._not_before: dict[DatasetId, float] = {}
        self._refusals: dict[DatasetId, int] = {}

    async def run(self) -> None:
        """Keep the queue empty; returns never, fails only by a defect."""
        failures = 0
        while True:
            begun = self._clock.monotonic()
            try:
                await self._with_link()
            except JbackupdError as error:
                # A link that has carried something began well: its end is the first failure again.
                failures = 1 if self._clock.monotonic() - begun > self._backoff.longest_seconds else failures + 1
                self._went_down(error)
            await self._wanted.within(self._wanted.revision, self._backoff.pause(failures))

    async def ping(self) -> float:
        """Return the round-trip time to the peer in seconds; dials at once if there is no link.

        Raises:
            PeerError: The peer cannot be reached.
        """
        if self._line is None:
            seen = self.news.revision
            self._wanted.ring()
            await self.news.after(seen)
        if self._line is None:
            raise self.state.error or PeerError("there is no link to {site}", site=self.peer)
        self.state.round_trip_seconds = await self._line.ping()
        return self.state.round_trip_seconds

    async def use(self) -> Line:
        """Return the link, dialling at once if there is none.

        Raises:
            PeerError: The peer cannot be reached.
        """
        await self.ping()
        if self._line is None:
            raise PeerError("there is no link to {site}", site=self.peer)
        return self._line

    async def _with_link(self) -> None:
        async with await self._dial() as line:
            await self._desk.greet(line)
            self._line = line
            self._came_up()
            sent, received = self.state.bytes_sent, self.state.bytes_received
            try:
                while True:
                    await self._next(line)
                    self.state.bytes_sent = sent + line.bytes_sent
                    self.state.bytes_received = received + line.bytes_received
            finally:
                self._line = None
                self.state.bytes_sent = sent + line.bytes_sent
                self.state.bytes_received = received + line.bytes_received

    async def _next(self, line: Line) -> None:
        """Send what is most urgent, or wait for news."""
        seen = self._desk.news.revision
        wanted = self._ready()
        if wanted:
            await self._send(line, wanted[0])
        elif not await self._heard_news(line, seen):
            self.state.round_trip_seconds = await line.ping()

    async def _heard_news(self, line: Line, seen: int) -> bool:
        """Wait for news; return False when it is time for a ping, or the line has ended, which the ping will say."""
        pause = min(IDLE_PING_SECONDS, self._next_retry())
        news = asyncio.ensure_future(self._desk.news.within(seen, pause))
        ended = asyncio.ensure_future(line.ended.wait())
        try:
            await asyncio.wait({news, ended}, return_when=asyncio.FIRST_COMPLETED)
            return news.done() and news.result() and not ended.done()
        finally:
            news.cancel()
            ended.cancel()

    async def _send(self, line: Line, wanted: Waiting) -> None:
        sending = asyncio.ensure_future(self._desk.send(line, wanted.dataset, self._told))
        try:
            await self._unless_overtaken(sending, wanted)
            if sending.done() and not sending.cancelled():
                self._delivered(wanted, sending.result())
        except JbackupdError as error:
            if error.retry is Retry.RECONNECT or isinstance(error, TryLaterError):
                raise
            self._refused(wanted, error)
        finally:
            self.state.sending = None
            await _ended(sending)

    async def _unless_overtaken(self, sending: asyncio.Future[int], wanted: Waiting) -> None:
        """Wait until a dataset is sent, or until another is more urgent."""
        while not sending.done():
            news = asyncio.ensure_future(self._desk.news.after(self._desk.news.revision))
            try:
                await asyncio.wait({sending, news}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            ready = self._ready()
            if not sending.done() and ready and ready[0].tier < wanted.tier:
                return

    def _ready(self) -> list[Waiting]:
        """Return what waits and may be tried now, the most urgent first."""
        now = self._clock.monotonic()
        waiting = self._desk.waiting(self.peer)
        known = {item.dataset for item in waiting}
        for gone in self.state.troubles.keys() - known:
            del self.state.troubles[gone]
        return sorted(
            (item for item in waiting if self._not_before.get(item.dataset, 0.0) <= now),
            key=lambda item: (item.tier, item.since, str(item.dataset)),
        )

    def _next_retry(self) -> float:
        now = self._clock.monotonic()
        times = [moment - now for moment in self._not_before.values() if moment > now]
        return min(times, default=IDLE_PING_SECONDS)

    def _told(self, progress: Progress) -> None:
        self.state.sending = progress

    def _delivered(self, wanted: Waiting, points: int) -> None:
        self.state.delivered_points += points
        self.state.troubles.pop(wanted.dataset, None)
        self._refusals.pop(wanted.dataset, None)
        self._not_before.pop(wanted.dataset, None)
        if points:
            self._log.info(
                _("{dataset}: {peer} has signed for {count} points"), dataset=wanted.dataset, peer=self.peer,
                count=points,
            )
        else:
            # A point that was committed a moment ago, perhaps; never a loop that spins.
            self._not_before[wanted.dataset] = self._clock.monotonic() + self._backoff.first_seconds
        self.news.ring()

    def _refused(self, wanted: Waiting, error: JbackupdError) -> None:
        count = self._refusals[wanted.dataset] = self._refusals.get(wanted.dataset, 0) + 1
        pause = self._backoff.pause(count)
        self._not_before[wanted.dataset] = self._clock.monotonic() + pause
        if str(self.state.troubles.get(wanted.dataset)) != str(error):
            self._log.error(
                _("{dataset}: unable to bring it to {peer}: {reason}"), dataset=wanted.dataset, peer=self.peer,
                reason=error,
            )
        self.state.troubles[wanted.dataset] = error
        self.news.ring()

    def _came_up(self) -> None:
        self.state.up, self.state.error, self.state.changed_at = True, None, self._clock.now()
        self._log.info(_("the link to {peer} is up"), peer=self.peer)
        self.news.ring()

    def _went_down(self, error: JbackupdError) -> None:
        # One line when it goes, one when the reason changes: not one for each of a week's attempts.
        if self.state.up or str(self.state.error) != str(error):
            self._log.warning(_("the link to {peer} is down: {reason}"), peer=self.peer, reason=error)
        if self.state.up or self.state.changed_at is None:
            self.state.changed_at = self._clock.now()
        self.state.up, self.state.error = False, error
        self.news.ring()


async def _ended(work: asyncio.Future[int]) -> None:
    """Cancel work and wait until it has ended; its error has been heard, or nobody needs it."""
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({work})
    if not work.cancelled():
        work.exception()
