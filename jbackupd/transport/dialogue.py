"""The asking side in motion: one task listens, others ask and wait; a watch pings and notices silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jbackupd.model.clock import Clock
from jbackupd.model.errors import DamageError, JbackupdError, PeerError
from jbackupd.model.ids import TenantId
from jbackupd.protocol.asker import Answer, Asker, AskerState, Opened, Piece, Ponged
from jbackupd.protocol.framing import DATA_BYTES_MAX, HEAD_BYTES
from jbackupd.protocol.messages import Error, Kept, Message, ObjectItem
from jbackupd.protocol.refusal import from_message
from jbackupd.transport.channel import Channel
from jbackupd.transport.holding import Limits, Offload

READ_BYTES = 4 * DATA_BYTES_MAX
"""One hop to the disk executor fetches four frames."""
SILENCE_SECONDS = 120
PING_SECONDS = 30

Reader = Callable[[int, int], bytes]


@dataclass(slots=True)
class Waiting:
    """Somebody who waits for the answers to one request."""

    answer: asyncio.Future[Message]
    pieces: list[memoryview] = field(default_factory=list)
    on_kept: Callable[[int], None] | None = None


class Dialogue:
    """Requests and their answers over one channel; several tasks may ask at once.

    A task that is cancelled leaves the dialogue in order: a put is stopped at the byte, and answers that nobody waits
    for any more are thrown away when they come.
    """

    def __init__(
        self, channel: Channel, asker: Asker, limits: Limits, offload: Offload, clock: Clock,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.channel = channel
        self.asker = asker
        self.limits = limits
        self.round_trip_seconds: float | None = None
        self._offload = offload
        self._clock = clock
        self._silence = silence_seconds
        self._turn = asyncio.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._asked_at = clock.monotonic()
        self._pings: dict[int, tuple[float, asyncio.Future[float]]] = {}
        self._pinged = 0
        self._failure: Exception | None = None
        self.ended = asyncio.Event()
        """Set once nothing can be asked any more, whoever noticed."""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to talk; return when the other side has proved who it is.

        Raises:
            IdentityError: It is not who it must be.
            FencedError: One of the two sites is fenced.
            PeerError: It broke the protocol, or the link.
        """
        site = self.channel.site
        self._tasks.append(asyncio.create_task(self._listen(), name=f"link to {site}"))
        try:
            self._flush()
        except PeerError as error:
            self._fail(error)
        await self._opened
        self._tasks.append(asyncio.create_task(self._watch(), name=f"watch over the link to {site}"))

    async def close(self) -> None:
        """Close the channel; harmless twice. Whoever still waits gets a PeerError."""
        self._fail(PeerError("unable to go on with the link to {site}: it was closed here", site=self.channel.site))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close()

    async def begin(self, request: Message) -> Waiting:
        """Send a request that has no body; the answer comes with `end`."""
        async with self._turn:
            self._check()
            waiting = self._register(self.asker.ask(request))
            self._flush()
            await self.channel.drain()
        return waiting

    async def end(self, waiting: Waiting) -> Message:
        """Return the last answer to a request, or raise what the other side answered."""
        answer = await waiting.answer
        if isinstance(answer, Error):
            raise from_message(self.channel.site, answer)
        return answer

    async def put(
        self, tenant: TenantId, item: ObjectItem, offset: int, read: Reader, on_kept: Callable[[int], None] | None
    ) -> Waiting:
        """Send a put with its body; return when all of it is on its way, or was refused."""
        async with self._turn:
            self._check()
            waiting = self._register(self.asker.put(tenant, item, offset))
            waiting.on_kept = on_kept
            try:
                self._flush()
                await self._send_body(item.size, offset, read, waiting)
            finally:
                if self.asker.state is AskerState.PUTTING:
                    self.asker.stop()
                    self._flush_if_possible()
        return waiting

    async def ping(self) -> float:
        """Return the time from here to the other side and back, in seconds."""
        self._check()
        return await self._send_ping()

    # Within.

    def _send_ping(self) -> asyncio.Future[float]:
        self._pinged += 1
        answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pings[self._pinged] = (self._clock.monotonic(), answered)
        self.asker.ping(self._pinged)
        self._flush()
        return answered

    async def _send_body(self, size: int, offset: int, read: Reader, waiting: Waiting) -> None:
        """Send data frames until all are sent or the put was answered, which then is a refusal."""
        while offset < size and not waiting.answer.done():
            wanted = min(READ_BYTES, size - offset)
            block = memoryview(await self._offload(read, offset, wanted))
            if len(block) != wanted:
                raise DamageError("unable to send an object: it is shorter here than its size of {size}", size=size)
            offset += wanted
            while block and not waiting.answer.done():
                piece = block[: self.limits.send.piece(DATA_BYTES_MAX)]
                await self.limits.send.spend(len(piece) + HEAD_BYTES)
                self._check()
                self.asker.data(piece)
                self._flush()
                await self.channel.drain()
                block = block[len(piece) :]

    def _register(self, token: int) -> Waiting:
        waiting = Waiting(asyncio.get_running_loop().create_future())
        # An answer that comes after its asker was cancelled is nobody's; say so to asyncio.
        waiting.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        if not self._waiting:
            self._asked_at = self._clock.monotonic()
        self._waiting[token] = waiting
        return waiting

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _flush(self) -> None:
        self.channel.send(self.asker.take_output())

    async def _listen(self) -> None:
        try:
            while True:
                data = await self.channel.read()
                for event in self.asker.receive(data):
                    self._take(event)
                # Once the link is cut, what came before is still taken: perhaps a receipt.
                self._flush_if_possible()
        except JbackupdError as error:
            self._flush_if_possible()
            self._fail(error)
            self.channel.end(None)
        except Exception as defect:
            # Ours, or of an on_kept: whoever waits must not wait for ever.
            self._fail(defect)
            self.channel.drop()

    def _flush_if_possible(self) -> None:
        with contextlib.suppress(PeerError):
            self._flush()

    def _take(self, event: Opened | Answer | Piece | Ponged) -> None:
        match event:
            case Opened():
                self._opened.set_result(None)
            case Ponged(number):
                begun, answered = self._pings.pop(number)
                self.round_trip_seconds = self._clock.monotonic() - begun
                if not answered.done():
                    answered.set_result(self.round_trip_seconds)
            case Piece(token, data):
                if not self._waiting[token].answer.done():
                    self._waiting[token].pieces.append(data)
            case Answer(token, message, final):
                self._take_answer(token, message, final)

    def _take_answer(self, token: int, message: Message, final: bool) -> None:
        waiting = self._waiting[token]
        if isinstance(message, Kept) and waiting.on_kept is not None:
            waiting.on_kept(message.offset)
        if final:
            del self._waiting[token]
            if not waiting.answer.done():
                waiting.answer.set_result(message)

    def _fail(self, error: Exception) -> None:
        """Let everybody who waits or comes later know; only the first reason counts."""
        self._failure = self._failure or error
        self.ended.set()
        futures: list[asyncio.Future[Any]] = [self._opened, *(w.answer for w in self._waiting.values())]
        futures += [answered for _, answered in self._pings.values()]
        for future in futures:
            if not future.done():
                future.set_exception(self._failure)
                future.exception()
        self._waiting.clear()
        self._pings.clear()

    async def _watch(self) -> None:
        """Ping now and then, and give a silent peer up."""
        pause = min(PING_SECONDS, self._silence / 4)
        while self._failure is None:
            await asyncio.sleep(pause)
            silent = self._clock.monotonic() - max(self.channel.heard_at, self._asked_at)
            if silent > self._silence and (self._waiting or self._pings):
                self._fail(PeerError(
                    "unable to go on with the link to {site}: no answer for {seconds} seconds",
                    "the next connection goes on where this one stopped",
                    site=self.channel.site, seconds=int(silent),
                ))
                self.channel.drop()
            elif not self._pings:
                with contextlib.suppress(PeerError):
                    self._send_ping()
