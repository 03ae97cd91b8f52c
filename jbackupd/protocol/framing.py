"""Frames on the line: a length, a type, a payload.

    offset size field
    0      4    length of the payload, unsigned, big endian
    4      1    frame type (FrameType)
    5      n    payload: a msgpack map (messages.py), or for DATA the raw bytes of an object

Each type has its own bound. The bound is checked as soon as the five bytes of the head are there, before
anything is kept for the payload. Specified in docs/protocol/line.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from jbackupd.model.errors import ProtocolError

_HEAD = struct.Struct(">IB")
HEAD_BYTES = _HEAD.size
FRAME_BYTES_MAX = 256 * 1024
DATA_BYTES_MAX = FRAME_BYTES_MAX - HEAD_BYTES
"""A full data frame fills one SSH packet of 256 KiB exactly; five bytes more would cost a second packet."""


class FrameType(IntEnum):
    """What a frame holds; numbers are part of the protocol and are never reused."""

    HELLO = 1
    PROVE = 2
    DATA = 3
    ERROR = 4
    PING = 5
    PONG = 6
    HAVE = 16
    PUT = 17
    STOP = 18
    COMMIT = 19
    GET = 20
    HEADS = 21
    POINTS = 22
    DECLARE = 23
    LOSSES = 24
    DEPOSIT = 25
    CONTACT = 26
    PROMISES = 27
    OFFSETS = 32
    KEPT = 33
    STORED = 34
    RECEIPT = 35
    END = 36
    HEADS_ARE = 37
    POINTS_ARE = 38
    DECLARED = 39
    LOSSES_ARE = 40
    DEPOSITED = 41
    CONTACT_IS = 42
    PROMISES_ARE = 43


PAYLOAD_BYTES_MAX: dict[FrameType, int] = {
    FrameType.HELLO: 16 * 1024,  # 300 sites with their epochs
    FrameType.PROVE: 4 * 1024,  # Ed25519 and ML-DSA-65: 3373 bytes
    FrameType.DATA: DATA_BYTES_MAX,
    FrameType.ERROR: 8 * 1024,
    FrameType.PING: 64,
    FrameType.PONG: 64,
    FrameType.HAVE: 64 * 1024,  # 1024 items of at most 48 bytes
    FrameType.PUT: 256,
    FrameType.STOP: 16,
    FrameType.COMMIT: 256,
    FrameType.GET: 256,
    FrameType.HEADS: 256,
    FrameType.POINTS: 256,
    FrameType.DECLARE: 128 * 1024,  # a declaration with a handful of approvals of 4 KiB
    FrameType.LOSSES: 16 * 1024,  # the epochs of 300 sites
    FrameType.DEPOSIT: 200 * 1024,  # a head, and a piece of a journal
    FrameType.CONTACT: 64,
    FrameType.PROMISES: 128 * 1024,  # a piece of an officer's book
    FrameType.OFFSETS: 16 * 1024,
    FrameType.KEPT: 32,
    FrameType.STORED: 16,
    FrameType.RECEIPT: 8 * 1024,
    FrameType.END: 16,
    FrameType.HEADS_ARE: 256 * 1024,
    FrameType.POINTS_ARE: 32 * 1024,
    FrameType.DECLARED: 16,
    FrameType.LOSSES_ARE: 128 * 1024,  # at least one declaration
    FrameType.DEPOSITED: 32,
    FrameType.CONTACT_IS: 64,
    FrameType.PROMISES_ARE: 8 * 1024,  # the books of 100 officers
}


class Frame(NamedTuple):
    """One frame; the payload is a view of the bytes that were fed, valid for as long as it is kept."""

    type: FrameType
    payload: memoryview


def encode_frame(kind: FrameType, payload: bytes | memoryview) -> bytes:
    """Return a frame's bytes.

    Raises:
        ProtocolError: The payload is over its type's bound: what was asked for does not fit the protocol.
    """
    _check_length(kind, len(payload))
    return b"".join((_HEAD.pack(len(payload), kind), payload))


class FrameReader:
    """Cuts a stream of bytes into frames; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = HEAD_BYTES

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes; the iterator must be used up.

        Raises:
            ProtocolError: A frame's type is unknown or its length is over the bound; the frames before it were
                yielded, and the stream cannot be used any more.
        """
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._held = [], 0
        view, position = memoryview(whole), 0
        while (rest := len(whole) - position) >= HEAD_BYTES:
            length, number = _HEAD.unpack_from(whole, position)
            kind = _frame_type(number)
            _check_length(kind, length)
            if rest < HEAD_BYTES + length:
                self._needed = HEAD_BYTES + length
                break
            position += HEAD_BYTES + length
            yield Frame(kind, view[position - length : position])
        else:
            self._needed = HEAD_BYTES
        if rest:
            self._pieces, self._held = [whole[position:]], rest

    @property
    def between_frames(self) -> bool:
        """Tell whether the stream may end here without having cut a frame."""
        return self._held == 0


def _frame_type(number: int) -> FrameType:
    try:
        return FrameType(number)
    except ValueError:
        raise ProtocolError(
            "unable to read from the line: {number} is not a frame type of this protocol",
            "check that both sites run versions of jbackupd at most two apart", number=number,
        ) from None


def _check_length(kind: FrameType, length: int) -> None:
    if length > PAYLOAD_BYTES_MAX[kind]:
        raise ProtocolError(
            "unable to pass a frame: {kind} of {length} bytes; the bound is {bound}",
            kind=kind.name.lower(), length=length, bound=PAYLOAD_BYTES_MAX[kind],
        )
