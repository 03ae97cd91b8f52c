"""The asking side of a session: requests out, answers in, in the order of the requests. No waiting, no bytes moved."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from jbackupd.model.errors import JbackupdError, ProtocolError
from jbackupd.model.machine import Machine
from jbackupd.protocol.framing import HEAD_BYTES, Frame, FrameReader, FrameType, encode_frame
from jbackupd.protocol.handshake import Handshake
from jbackupd.protocol.messages import (
    Error,
    Get,
    Have,
    Kept,
    Message,
    ObjectItem,
    Offsets,
    Ping,
    Pong,
    Put,
    Stop,
    Stored,
    decode_message,
    encode_message,
)
from jbackupd.protocol.refusal import from_message, to_message


class AskerState(Enum):
    """Where the asking side is."""

    GREETING = "greeting"
    PROVING = "proving"
    OPEN = "open"
    PUTTING = "putting"
    CLOSED = "closed"


class AskerEvent(Enum):
    """What happens at the asking side."""

    HEARD_HELLO = "hears hello"
    HEARD_PROVE = "hears prove"
    ASKED = "asks"
    PUT = "begins a put"
    SENT_DATA = "sends data"
    PUT_ENDED = "ends a put"
    HEARD_ANSWER = "hears an answer"
    CLOSED = "closes"


_S, _E = AskerState, AskerEvent
ASKER: Machine[AskerState, AskerEvent] = Machine(
    "asker",
    {
        (_S.GREETING, _E.HEARD_HELLO): _S.PROVING,
        (_S.PROVING, _E.HEARD_PROVE): _S.OPEN,
        (_S.OPEN, _E.ASKED): _S.OPEN,
        (_S.OPEN, _E.PUT): _S.PUTTING,
        (_S.OPEN, _E.HEARD_ANSWER): _S.OPEN,
        (_S.PUTTING, _E.SENT_DATA): _S.PUTTING,
        (_S.PUTTING, _E.PUT_ENDED): _S.OPEN,
        (_S.PUTTING, _E.HEARD_ANSWER): _S.PUTTING,
        **{(state, _E.CLOSED): _S.CLOSED for state in _S},
    },
)
_HANDSHAKE = {FrameType.HELLO: _E.HEARD_HELLO, FrameType.PROVE: _E.HEARD_PROVE}
_ANSWERS = {
    FrameType.HAVE: {FrameType.OFFSETS},
    FrameType.PUT: {FrameType.KEPT, FrameType.STORED},
    FrameType.COMMIT: {FrameType.RECEIPT},
    FrameType.GET: {FrameType.DATA, FrameType.END},
    FrameType.HEADS: {FrameType.HEADS_ARE},
    FrameType.POINTS: {FrameType.POINTS_ARE},
    FrameType.DECLARE: {FrameType.DECLARED},
    FrameType.LOSSES: {FrameType.LOSSES_ARE},
    FrameType.DEPOSIT: {FrameType.DEPOSITED},
    FrameType.CONTACT: {FrameType.CONTACT_IS},
    FrameType.PROMISES: {FrameType.PROMISES_ARE},
}


class Opened(NamedTuple):
    """The handshake is done: the other side is who it must be."""

    version: int


class Answer(NamedTuple):
    """A message that answers the request with this token; the last one when `final`."""

    token: int
    message: Message
    final: bool


class Piece(NamedTuple):
    """A piece of the range that the get with this token asked for."""

    token: int
    data: memoryview


class Ponged(NamedTuple):
    """The answer to a ping."""

    number: int


@dataclass(slots=True)
class _Expected:
    token: int
    request: Message
    left: int = 0
    """Bytes still to be sent (put) or heard (get)."""
    stopped: bool = False


class Asker:
    """One session, from hello to close; the shell moves `take_output()` out and feeds `receive()`.

    After any exception from `receive` the session is closed; its last words are in the output.
    """

    def __init__(self, handshake: Handshake) -> None:
        self.state = AskerState.GREETING
        self._handshake = handshake
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._expected: deque[_Expected] = deque()
        self._putting: _Expected | None = None
        self._tokens = 0
        self._pings: set[int] = set()
        hello = encode_message(handshake.hello())
        handshake.sent_hello(hello[HEAD_BYTES:])
        self._out.append(hello)

    @property
    def handshake(self) -> Handshake:
        """What is known of the other side."""
        return self._handshake

    def take_output(self) -> list[bytes]:
        """Return the frames to send now, in order; each is returned once."""
        out, self._out = self._out, []
        return out

    def ask(self, request: Message) -> int:
        """Send any request but a put; return the token of its answers."""
        self.state = ASKER.next(self.state, AskerEvent.ASKED)
        return self._expect(request, request.length if isinstance(request, Get) else 0).token

    def ping(self, number: int) -> None:
        """Send a ping; allowed at any time once open, also inside a put."""
        self._pings.add(number)
        self._out.append(encode_message(Ping(number=number)))

    def put(self, tenant: str, item: ObjectItem, offset: int) -> int:
        """Begin a put; size - offset bytes of `data` or a `stop` must follow before any other request."""
        self.state = ASKER.next(self.state, AskerEvent.PUT)
        expected = self._expect(Put(tenant=tenant, item=item, offset=offset), item.size - offset)
        self._putting = expected
        if expected.left == 0:
            self._end_put()
        return expected.token

    def data(self, piece: bytes | memoryview) -> None:
        """Send the next bytes of the put; at most DATA_BYTES_MAX at a time."""
        self.state = ASKER.next(self.state, AskerEvent.SENT_DATA)
        assert self._putting is not None and len(piece) <= self._putting.left
        self._out.append(encode_frame(FrameType.DATA, piece))
        self._putting.left -= len(piece)
        if self._putting.left == 0:
            self._end_put()

    def stop(self) -> None:
        """Give up the put that was begun; what has arrived stays for another time."""
        assert self._putting is not None
        self._putting.stopped = True
        self._out.append(encode_message(Stop()))
        self._end_put()

    def close(self, error: JbackupdError | None = None) -> None:
        """Close; with an error, tell the other side why."""
        if self.state is not AskerState.CLOSED and error is not None:
            self._out.append(encode_message(to_message(error, closing=True)))
        self.state = ASKER.next(self.state, AskerEvent.CLOSED)

    def receive(self, data: bytes) -> Iterator[Opened | Answer | Piece | Ponged]:
        """Yield what the other side says; use the iterator up.

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

    def _expect(self, request: Message, left: int) -> _Expected:
        self._tokens += 1
        expected = _Expected(self._tokens, request, left)
        self._expected.append(expected)
        self._out.append(encode_message(request))
        return expected

    def _end_put(self) -> None:
        self.state = ASKER.next(self.state, AskerEvent.PUT_ENDED)
        self._putting = None

    def _heard(self, frame: Frame) -> Iterator[Opened | Answer | Piece | Ponged]:
        event = _HANDSHAKE.get(frame.type, AskerEvent.HEARD_ANSWER)
        closing = frame.type is FrameType.ERROR and self._closing_error(frame)
        if closing:
            raise closing
        if not ASKER.allows(self.state, event):
            raise unforeseen(frame.type, self.state)
        self.state = ASKER.next(self.state, event)
        if event is AskerEvent.HEARD_HELLO:
            self._handshake.heard_hello(frame)
            self._out.append(encode_message(self._handshake.prove()))
        elif event is AskerEvent.HEARD_PROVE:
            self._handshake.heard_prove(frame)
            yield Opened(self._handshake.version)
        elif frame.type is FrameType.PONG:
            yield self._heard_pong(frame)
        else:
            yield self._heard_answer(frame)

    def _closing_error(self, frame: Frame) -> JbackupdError | None:
        message = decode_message(frame)
        assert isinstance(message, Error)
        if not message.closing:
            return None
        self.state = ASKER.next(self.state, AskerEvent.CLOSED)
        return from_message(self._handshake.other.site, message)

    def _heard_pong(self, frame: Frame) -> Ponged:
        message = decode_message(frame)
        assert isinstance(message, Pong)
        if message.number not in self._pings:
            raise unforeseen(frame.type, self.state)
        self._pings.remove(message.number)
        return Ponged(message.number)

    def _heard_answer(self, frame: Frame) -> Answer | Piece:
        if not self._expected:
            raise unforeseen(frame.type, self.state)
        expected = self._expected[0]
        if frame.type is FrameType.ERROR:
            self._expected.popleft()
            return Answer(expected.token, decode_message(frame), final=True)
        if frame.type not in _ANSWERS[expected.request.frame_type]:
            raise _wrong_answer(frame.type, expected.request)
        if frame.type is FrameType.DATA:
            expected.left -= len(frame.payload)
            if expected.left < 0 or not frame.payload:
                raise _wrong_answer(frame.type, expected.request)
            return Piece(expected.token, frame.payload)
        message = decode_message(frame)
        if not _fits(expected, message):
            raise _wrong_answer(frame.type, expected.request)
        final = not isinstance(message, Kept) or message.last
        if final:
            self._expected.popleft()
        return Answer(expected.token, message, final)


def _fits(expected: _Expected, message: Message) -> bool:
    """Tell whether an answer of the right type can be true at all."""
    request = expected.request
    if isinstance(message, Offsets) and isinstance(request, Have):
        return _offsets_fit(request.items, message.offsets)
    if isinstance(message, Kept) and isinstance(request, Put):
        sent = request.item.size - expected.left
        return request.offset <= message.offset <= sent and message.last == expected.stopped
    return expected.left == 0 or not isinstance(message, Stored)


def _offsets_fit(items: Sequence[ObjectItem], offsets: Sequence[int]) -> bool:
    return len(items) == len(offsets) and all(o <= i.size for i, o in zip(items, offsets, strict=True))


def unforeseen(kind: FrameType, state: Enum) -> ProtocolError:
    """Return the error of a frame that the table does not foresee."""
    return ProtocolError(
        "unable to go on with the link: a {kind} frame is not foreseen while {state}",
        kind=kind.name.lower(), state=state.value,
    )


def _wrong_answer(kind: FrameType, request: Message) -> ProtocolError:
    return ProtocolError(
        "unable to go on with the link: this {kind} frame cannot answer {request}",
        kind=kind.name.lower(), request=request.frame_type.name.lower(),
    )
