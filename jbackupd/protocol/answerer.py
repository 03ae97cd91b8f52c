"""The answering side of a session: requests in, answers out, one after the other. No waiting, no bytes moved."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from jbackupd.model.errors import JbackupdError, ProtocolError
from jbackupd.model.machine import Machine
from jbackupd.protocol.asker import Opened, unforeseen
from jbackupd.protocol.framing import HEAD_BYTES, Frame, FrameReader, FrameType, encode_frame
from jbackupd.protocol.handshake import Handshake
from jbackupd.protocol.messages import (
    Error,
    Message,
    Ping,
    Pong,
    Put,
    decode_message,
    encode_message,
)
from jbackupd.protocol.refusal import closes_link, from_message, to_message


class AnswererState(Enum):
    """Where the answering side is."""

    GREETING = "greeting"
    PROVING = "proving"
    OPEN = "open"
    TAKING = "taking a put"
    SKIPPING = "skipping a refused put"
    CLOSED = "closed"


class AnswererEvent(Enum):
    """What happens at the answering side."""

    HEARD_HELLO = "hears hello"
    HEARD_PROVE = "hears prove"
    HEARD_REQUEST = "hears a request"
    HEARD_PUT = "hears put"
    HEARD_DATA = "hears data"
    HEARD_STOP = "hears stop"
    FILLED = "has all bytes"
    REFUSED = "refuses the put"
    CLOSED = "closes"


_S, _E = AnswererState, AnswererEvent
ANSWERER: Machine[AnswererState, AnswererEvent] = Machine(
    "answerer",
    {
        (_S.GREETING, _E.HEARD_HELLO): _S.PROVING,
        (_S.PROVING, _E.HEARD_PROVE): _S.OPEN,
        (_S.OPEN, _E.HEARD_REQUEST): _S.OPEN,
        (_S.OPEN, _E.HEARD_PUT): _S.TAKING,
        (_S.TAKING, _E.HEARD_DATA): _S.TAKING,
        (_S.TAKING, _E.FILLED): _S.OPEN,
        (_S.TAKING, _E.HEARD_STOP): _S.OPEN,
        (_S.TAKING, _E.REFUSED): _S.SKIPPING,
        (_S.SKIPPING, _E.HEARD_DATA): _S.SKIPPING,
        (_S.SKIPPING, _E.FILLED): _S.OPEN,
        (_S.SKIPPING, _E.HEARD_STOP): _S.OPEN,
        **{(state, _E.CLOSED): _S.CLOSED for state in _S},
    },
)
_REQUESTS = (
    FrameType.HAVE, FrameType.COMMIT, FrameType.GET, FrameType.HEADS, FrameType.POINTS, FrameType.DECLARE,
    FrameType.LOSSES, FrameType.DEPOSIT, FrameType.CONTACT, FrameType.PROMISES,
)  # fmt: skip
_EVENTS = {
    FrameType.HELLO: _E.HEARD_HELLO,
    FrameType.PROVE: _E.HEARD_PROVE,
    FrameType.PUT: _E.HEARD_PUT,
    FrameType.DATA: _E.HEARD_DATA,
    FrameType.STOP: _E.HEARD_STOP,
    **dict.fromkeys(_REQUESTS, _E.HEARD_REQUEST),
}
_TALKING = (_S.OPEN, _S.TAKING, _S.SKIPPING)


class Asked(NamedTuple):
    """A request to answer; a Put is answered after its BodyEnd."""

    message: Message


class Body(NamedTuple):
    """Bytes of the put under way."""

    data: memoryview


class BodyEnd(NamedTuple):
    """The put under way is over: all bytes came, or it was stopped."""

    stopped: bool


class Answerer:
    """One session, from hello to close; the shell moves `take_output()` out and feeds `receive()`.

    The iterator of `receive` takes one frame at a time, so a shell that answers each event before it goes on keeps the
    order of answers, and can refuse a put in its middle. After any exception the session is closed.
    """

    def __init__(self, handshake: Handshake) -> None:
        self.state = AnswererState.GREETING
        self.handshake = handshake
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._left = 0

    @property
    def closed(self) -> bool:
        """Tell whether the session is over."""
        return self.state is AnswererState.CLOSED

    def take_output(self) -> list[bytes]:
        """Return the frames to send now, in order; each is returned once."""
        out, self._out = self._out, []
        return out

    def receive(self, data: bytes) -> Iterator[Opened | Asked | Body | BodyEnd]:
        """Yield what the other side asks; use the iterator up.

        Raises:
            ProtocolError: The other side broke the protocol.
            IdentityError: It is not who it must be.
            FencedError: One of the two sites is fenced.
            JbackupdError: What the other side closed the link with.
        """
        try:
            for frame in self._reader.feed(data):
                yield from self._heard(frame)
        except JbackupdError as error:
            self.close(error)
            raise

    def answer(self, message: Message) -> None:
        """Send an answer."""
        self._out.append(encode_message(message))

    def data(self, piece: bytes | memoryview) -> None:
        """Send a piece of a range; at most DATA_BYTES_MAX at a time."""
        self._out.append(encode_frame(FrameType.DATA, piece))

    def refuse(self, error: JbackupdError) -> None:
        """Answer the request under way with an error; the rest of a put is then skipped."""
        if self.state is AnswererState.TAKING:
            self.state = ANSWERER.next(self.state, AnswererEvent.REFUSED)
        closing = closes_link(error)
        self.answer(to_message(error, closing=closing))
        if closing:
            self.close()

    def close(self, error: JbackupdError | None = None) -> None:
        """Close; with an error, tell the other side why."""
        if self.state is not AnswererState.CLOSED and error is not None:
            self.answer(to_message(error, closing=True))
        self.state = ANSWERER.next(self.state, AnswererEvent.CLOSED)

    def _heard(self, frame: Frame) -> Iterator[Opened | Asked | Body | BodyEnd]:
        if frame.type is FrameType.PING and self.state in _TALKING:
            self._heard_ping(frame)
            return
        if frame.type is FrameType.ERROR:
            raise self._last_words(frame)
        event = _EVENTS.get(frame.type)
        if event is None or not ANSWERER.allows(self.state, event):
            raise unforeseen(frame.type, self.state)
        skipping = self.state is AnswererState.SKIPPING
        self.state = ANSWERER.next(self.state, event)
        if event is AnswererEvent.HEARD_HELLO:
            self._greet(frame)
        elif event is AnswererEvent.HEARD_PROVE:
            self.handshake.heard_prove(frame)
            self.answer(self.handshake.prove())
            yield Opened(self.handshake.version)
        elif event is AnswererEvent.HEARD_DATA:
            yield from self._heard_data(frame, skipping)
        elif event is AnswererEvent.HEARD_STOP:
            decode_message(frame)
            if not skipping:
                yield BodyEnd(stopped=True)
        else:
            yield from self._heard_request(decode_message(frame))

    def _greet(self, frame: Frame) -> None:
        self.handshake.heard_hello(frame)
        hello = encode_message(self.handshake.hello())
        self.handshake.sent_hello(hello[HEAD_BYTES:])
        self._out.append(hello)

    def _heard_request(self, message: Message) -> Iterator[Asked | BodyEnd]:
        if isinstance(message, Put):
            self._left = message.item.size - message.offset
            if self._left < 0:
                raise ProtocolError("unable to take a put that begins behind the object's end")
        yield Asked(message)
        if isinstance(message, Put) and self._left == 0:
            yield from self._filled()

    def _heard_data(self, frame: Frame, skipping: bool) -> Iterator[Body | BodyEnd]:
        self._left -= len(frame.payload)
        if self._left < 0 or not frame.payload:
            raise ProtocolError("unable to take a put: more bytes came than were announced, or an empty frame")
        if not skipping:
            yield Body(frame.payload)
        if self._left == 0:
            yield from self._filled()

    def _filled(self) -> Iterator[BodyEnd]:
        # Looked up again here: the shell may have refused the put while it handled its last bytes.
        skipping = self.state is AnswererState.SKIPPING
        self.state = ANSWERER.next(self.state, AnswererEvent.FILLED)
        if not skipping:
            yield BodyEnd(stopped=False)

    def _heard_ping(self, frame: Frame) -> None:
        message = decode_message(frame)
        assert isinstance(message, Ping)
        self.answer(Pong(number=message.number))

    def _last_words(self, frame: Frame) -> JbackupdError:
        message = decode_message(frame)
        assert isinstance(message, Error)
        self.state = ANSWERER.next(self.state, AnswererEvent.CLOSED)
        return from_message(self.handshake.other.site, message)
