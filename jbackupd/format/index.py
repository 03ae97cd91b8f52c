"""An index: where the frames of some packs are; what a restore needs, without chunk ids.

    offset  size  field
    0       8     object header, kind 2 (format.header)
    8       16    index id, random
    24      16    session id
    40      32    key commitment (codec.seal)
    72      ...   sealed body, slot 0

The body is msgpack: an array of [pack name, pack length, session id, frame records], the
records as in format.pack with empty chunk fields. An index may list packs of earlier sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from jbackupd.codec.seal import PackOpener, PackSealer
from jbackupd.format.header import check_header, encode_header
from jbackupd.format.pack import (
    PACK_BYTES_MAX,
    PACK_HEAD_BYTES,
    FrameRecord,
    PackHead,
    RawFrame,
    frame_from_raw,
    raw_frame,
)
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import OBJECT_NAME_BYTES, ObjectKind, ObjectName

_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, int, bytes, list[RawFrame]]])


@dataclass(frozen=True, slots=True)
class IndexedPack:
    """A pack as an index lists it; its frames carry no chunks."""

    name: ObjectName
    length: int
    session_id: bytes
    frames: tuple[FrameRecord, ...]


def encode_index(
    sealer: PackSealer, packs: Sequence[IndexedPack], *, index_id: bytes, session_id: bytes
) -> bytes:
    """Return an index object; the sealer must be made for this index id and kind INDEX."""
    body = msgspec.msgpack.encode([
        (pack.name, pack.length, pack.session_id, [raw_frame(f, with_chunks=False) for f in pack.frames])
        for pack in packs
    ])
    head = encode_header(ObjectKind.INDEX) + index_id + session_id + sealer.commitment
    return head + sealer.seal(0, body)


def decode_index_head(data: bytes) -> PackHead:
    """Decode an index object's clear head (same fields as a pack's).

    Raises:
        FormatError: The bytes are not of an index.
    """
    check_header(data, ObjectKind.INDEX)
    if len(data) < PACK_HEAD_BYTES:
        raise FormatError("the index is shorter than its head")
    return PackHead(data[8:24], data[24:40], data[40:PACK_HEAD_BYTES])


def open_index(opener: PackOpener, data: bytes) -> list[IndexedPack]:
    """Open an index object.

    Raises:
        DamageError: The seal does not fit.
        FormatError: The content is malformed.
    """
    try:
        raw = _decoder.decode(opener.open(0, data[PACK_HEAD_BYTES:]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the index is malformed") from error
    packs = []
    for name, length, session_id, frames in raw:
        if len(name) != OBJECT_NAME_BYTES or len(session_id) != 16 or not 0 < length <= PACK_BYTES_MAX:
            raise FormatError("an index entry is out of range")
        packs.append(IndexedPack(
            ObjectName(name), length, session_id, tuple(frame_from_raw(frame) for frame in frames)
        ))
    return packs
