"""The Network Block Device protocol, the serving side: fixed newstyle handshake, simple replies. Sans-I/O.

Structured replies and block status are not offered: a range of a point is either read whole and checked or not at
all, so there are no half answers to structure, and a holder of sealed frames does not know where zeros lie. Clients
that ask for them are told "unsupported" and go on without, as the protocol wants it.

Source: NetworkBlockDevice/nbd, doc/proto.md (2024); numbers and names are from there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from jbackupd.model.errors import ProtocolError
from jbackupd.model.machine import Machine

LENGTH_MAX = 32 * 1024 * 1024
"""What every client may count on in one request, and no client of ours asks for more."""
OPTION_BYTES_MAX = 8 * 1024
"""A name of 4,096 bytes and its surroundings."""
OPTIONS_MAX = 256
"""Nobody needs more of them to begin."""
BLOCK_BYTES = 4096

_GREETING_MAGIC, _OPTION_MAGIC, _OPTION_REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPTION_HEAD = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_FLAGS_BYTES = 4
_OLD_EXPORT_PADDING = bytes(124)


class Option(IntEnum):
    """What a client may ask before it reads."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7


class OptionAnswer(IntEnum):
    """How an option is answered; errors have the highest bit."""

    ACK = 1
    SERVER = 2
    INFO = 3
    UNSUPPORTED = 0x8000_0001
    INVALID = 0x8000_0003
    UNKNOWN = 0x8000_0006


class Information(IntEnum):
    """Parts of the answer to INFO and GO."""

    EXPORT = 0
    BLOCK_SIZE = 3


class Command(IntEnum):
    """What a client may ask of the export it has chosen."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class NbdError(IntEnum):
    """What a client can be told of a failure."""

    NONE = 0
    NOT_PERMITTED = 1
    IO = 5
    INVALID = 22
    NO_SPACE = 28
    SHUTTING_DOWN = 108


FUA = 1
"""Command flag: durable before it is answered."""
_HAS_FLAGS, _READ_ONLY, _SEND_FLUSH, _SEND_FUA, _SEND_TRIM, _SEND_ZEROES, _MULTI = 1, 2, 4, 8, 32, 64, 256
_COMMAND_FLAGS = {Command.READ: FUA, Command.WRITE: FUA, Command.FLUSH: FUA, Command.TRIM: FUA,
                  Command.WRITE_ZEROES: FUA | 2}
"""Those that are understood; 2 is "leave no hole", which is granted or not as it comes."""
_CHANGING = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)
_REFUSED_NAME_BYTES = 200


@dataclass(frozen=True, slots=True)
class Export:
    """Something to choose.

    Attributes:
        size: Bytes.
    """

    size: int
    read_only: bool

    @property
    def flags(self) -> int:
        """What may be asked of it; several connections see the same bytes, and a flush counts for all."""
        if self.read_only:
            return _HAS_FLAGS | _READ_ONLY | _SEND_FLUSH | _MULTI
        return _HAS_FLAGS | _SEND_FLUSH | _SEND_FUA | _SEND_TRIM | _SEND_ZEROES | _MULTI


class Request(NamedTuple):
    """A command to carry out: its range lies within the export, and the export takes it. Answer it once."""

    cookie: int
    command: Command
    offset: int
    length: int
    durable: bool
    data: bytes


class NbdState(Enum):
    """Where a connection is."""

    GREETING = "greeting"
    HAGGLING = "haggling"
    SERVING = "serving"
    CLOSED = "closed"


class NbdEvent(Enum):
    """What happens to it."""

    HEARD_FLAGS = "hears flags"
    HEARD_OPTION = "hears an option"
    CHOSE = "chooses an export"
    HEARD_REQUEST = "hears a request"
    CLOSED = "closes"


_S, _E = NbdState, NbdEvent
NBD: Machine[NbdState, NbdEvent] = Machine(
    "nbd",
    {
        (_S.GREETING, _E.HEARD_FLAGS): _S.HAGGLING,
        (_S.HAGGLING, _E.HEARD_OPTION): _S.HAGGLING,
        (_S.HAGGLING, _E.CHOSE): _S.SERVING,
        (_S.SERVING, _E.HEARD_REQUEST): _S.SERVING,
        **{(state, _E.CLOSED): _S.CLOSED for state in _S},
    },
)


class NbdSession:
    """One connection, from greeting to close; the shell moves `take_output()` out and feeds `receive()`.

    Args:
        exports: What there is, by name. The first one is also meant by the empty name.
    """

    def __init__(self, exports: Mapping[str, Export]) -> None:
        self.state = NbdState.GREETING
        self._exports = exports
        self._chosen = ""
        self._no_zeroes = False
        self._options = 0
        self._rest = bytearray()
        self._wanted = _FLAGS_BYTES
        self._out: list[bytes] = [
            struct.pack(">8s8sH", _GREETING_MAGIC, _OPTION_MAGIC, _FIXED_NEWSTYLE | _NO_ZEROES)
        ]

    @property
    def chosen(self) -> str:
        """The name of the export that is served, once one was chosen."""
        return self._chosen

    def take_output(self) -> list[bytes]:
        """Return what to send now, in order; each piece is returned once."""
        out, self._out = self._out, []
        return out

    def receive(self, data: bytes) -> Iterator[Request]:
        """Yield what is to be carried out; use the iterator up. Once it is closed, what comes is passed over.

        Raises:
            ProtocolError: The client does not speak the protocol; the connection is closed.
        """
        self._rest += data
        position = 0
        try:
            while self.state is not NbdState.CLOSED and len(self._rest) - position >= self._wanted:
                piece = bytes(self._rest[position : position + self._wanted])
                used = self._whole_length(piece)
                if used > self._wanted:
                    self._wanted = used
                    continue
                position += used
                yield from self._heard(piece)
        finally:
            del self._rest[: position if self.state is not NbdState.CLOSED else len(self._rest)]

    def answer(self, cookie: int, error: NbdError = NbdError.NONE, data: bytes = b"") -> None:
        """Answer a request.

        Args:
            data: What was read; empty with an error, and for all but READ.
        """
        self._out.append(_REPLY.pack(_REPLY_MAGIC, error, cookie))
        if data:
            self._out.append(data)

    def close(self) -> None:
        """Close; harmless twice."""
        self.state = NBD.next(self.state, NbdEvent.CLOSED)

    # Within.

    def _whole_length(self, head: bytes) -> int:
        """Return how long a message is that begins like this; checked against its bound before it is gathered."""
        if self.state is NbdState.HAGGLING:
            magic, _, length = _OPTION_HEAD.unpack_from(head)
            if magic != _OPTION_MAGIC or length > OPTION_BYTES_MAX:
                raise self._broken("an option is not one, or too long")
            return _OPTION_HEAD.size + int(length)
        if self.state is NbdState.SERVING:
            magic, _, kind, _, _, length = _REQUEST.unpack_from(head)
            if magic != _REQUEST_MAGIC or (kind == Command.WRITE and length > LENGTH_MAX):
                raise self._broken("a request is not one, or too long")
            return _REQUEST.size + (int(length) if kind == Command.WRITE else 0)
        return _FLAGS_BYTES

    def _heard(self, message: bytes) -> Iterator[Request]:
        if self.state is NbdState.GREETING:
            self._heard_flags(message)
        elif self.state is NbdState.HAGGLING:
            self._heard_option(message)
        else:
            self.state = NBD.next(self.state, NbdEvent.HEARD_REQUEST)
            yield from self._heard_request(message)
        self._wanted = _REQUEST.size if self.state is NbdState.SERVING else _OPTION_HEAD.size

    def _heard_flags(self, message: bytes) -> None:
        flags = int.from_bytes(message, "big")
        if flags & ~(_FIXED_NEWSTYLE | _NO_ZEROES) or not flags & _FIXED_NEWSTYLE:
            raise self._broken("the client does not speak the fixed newstyle handshake")
        self._no_zeroes = bool(flags & _NO_ZEROES)
        self.state = NBD.next(self.state, NbdEvent.HEARD_FLAGS)

    def _heard_option(self, message: bytes) -> None:
        self.state = NBD.next(self.state, NbdEvent.HEARD_OPTION)
        self._options += 1
        if self._options > OPTIONS_MAX:
            raise self._broken("the client haggles without end")
        kind, data = struct.unpack_from(">I", message, 8)[0], message[_OPTION_HEAD.size :]
        if kind == Option.EXPORT_NAME:
            self._choose_the_old_way(data)
        elif kind == Option.ABORT:
            self._reply(kind, OptionAnswer.ACK)
            self.close()
        elif kind == Option.LIST:
            self._list(data)
        elif kind in (Option.INFO, Option.GO):
            self._inform(Option(kind), data)
        else:
            self._reply(kind, OptionAnswer.UNSUPPORTED)

    def _choose_the_old_way(self, name: bytes) -> None:
        """There is no way to refuse this option but to hang up."""
        found = self._find(name)
        if found is None:
            raise self._broken("the client wants an export that there is not")
        export = self._exports[found]
        padding = b"" if self._no_zeroes else _OLD_EXPORT_PADDING
        self._out.append(struct.pack(">QH", export.size, export.flags) + padding)
        self._choose(found)

    def _list(self, data: bytes) -> None:
        if data:
            self._reply(Option.LIST, OptionAnswer.INVALID)
            return
        for name in self._exports:
            raw = name.encode("utf-8", "surrogateescape")
            self._reply(Option.LIST, OptionAnswer.SERVER, struct.pack(">I", len(raw)) + raw)
        self._reply(Option.LIST, OptionAnswer.ACK)

    def _inform(self, option: Option, data: bytes) -> None:
        name_end = 4 + int.from_bytes(data[:4], "big")
        count = int.from_bytes(data[name_end : name_end + 2], "big")
        if len(data) < 6 or len(data) != name_end + 2 + 2 * count:
            self._reply(option, OptionAnswer.INVALID)
            return
        found = self._find(data[4:name_end])
        if found is None:
            self._reply(option, OptionAnswer.UNKNOWN, data[4:name_end][:_REFUSED_NAME_BYTES])
            return
        export = self._exports[found]
        self._reply(option, OptionAnswer.INFO, struct.pack(">HQH", Information.EXPORT, export.size, export.flags))
        sizes = struct.pack(">HIII", Information.BLOCK_SIZE, 1, BLOCK_BYTES, LENGTH_MAX)
        self._reply(option, OptionAnswer.INFO, sizes)
        self._reply(option, OptionAnswer.ACK)
        if option is Option.GO:
            self._choose(found)

    def _find(self, raw: bytes) -> str | None:
        name = raw.decode("utf-8", "surrogateescape")
        if not name:
            return next(iter(self._exports), None)
        return name if name in self._exports else None

    def _choose(self, name: str) -> None:
        self._chosen = name
        self.state = NBD.next(self.state, NbdEvent.CHOSE)

    def _heard_request(self, message: bytes) -> Iterator[Request]:
        _, flags, kind, cookie, offset, length = _REQUEST.unpack_from(message)
        if kind == Command.DISCONNECT:
            self.close()
            return
        error = self._judged(kind, flags, offset, length)
        if error is not NbdError.NONE:
            self.answer(cookie, error)
            return
        yield Request(cookie, Command(kind), offset, length, bool(flags & FUA), message[_REQUEST.size :])

    def _judged(self, kind: int, flags: int, offset: int, length: int) -> NbdError:
        """Return what stands against a request."""
        export = self._exports[self._chosen]
        if kind not in _COMMAND_FLAGS or flags & ~_COMMAND_FLAGS[Command(kind)]:
            return NbdError.INVALID
        if kind in _CHANGING and export.read_only:
            return NbdError.NOT_PERMITTED
        if kind == Command.FLUSH:
            return NbdError.INVALID if offset or length else NbdError.NONE
        if kind == Command.READ and length > LENGTH_MAX:
            return NbdError.INVALID
        if offset + length > export.size:
            return NbdError.NO_SPACE if kind == Command.WRITE else NbdError.INVALID
        return NbdError.NONE

    def _reply(self, option: int, answer: OptionAnswer, data: bytes = b"") -> None:
        self._out.append(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, answer, len(data)) + data)

    def _broken(self, what: str) -> ProtocolError:
        self.close()
        return ProtocolError("unable to go on with a block device's client: {what}", what=what)
