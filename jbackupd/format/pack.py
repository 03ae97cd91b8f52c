"""A pack: an immutable object of sealed frames.

    offset  size  field
    0       8     object header, kind 1 (format.header)
    8       16    pack id, random
    24      16    session id: names the key object whose session key seals this pack
    40      32    key commitment (codec.seal)
    72      ...   sealed frames, slots 0 .. n-1, one after another
    ...     16+p  sealed padding: p zero bytes, slot PADDING_SLOT
    ...     t     sealed trailer, slot TRAILER_SLOT
    end-8   4     t, little endian
    end-4   4     magic "JBPE"

p is chosen so that the whole pack has a Padmé length. The trailer's plaintext is a little
endian u32 length, that many bytes of msgpack (an array of frame records), and zeros up to a
multiple of TRAILER_STEP. Frame and chunk lengths are known only to who can open the trailer.

A frame record is the array [frame id, offset, sealed length, plain length, encoding, bases, chunk
ids, chunk lengths]: `offset` counts from the pack's begin; `bases` is an array of [frame id,
offset, length], the stretches whose concatenation is the zstd prefix; chunk ids are
concatenated, 16 bytes each; chunk lengths are little endian u32, and sum to the plain length.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from jbackupd.codec.padme import padme
from jbackupd.codec.seal import TAG_BYTES, PackOpener, PackSealer
from jbackupd.format.header import HEADER_BYTES, check_header, encode_header
from jbackupd.model.errors import FormatError, InvariantError
from jbackupd.model.ids import CHUNK_ID_BYTES, FRAME_ID_BYTES, ChunkId, FrameId, ObjectKind
from jbackupd.model.records import Encoding, Extent

PACK_HEAD_BYTES = 72
PACK_TAIL_BYTES = 8
PADDING_SLOT = 0xFFFF_FFFE
TRAILER_SLOT = 0xFFFF_FFFF
TRAILER_STEP = 256
"""Coarse enough to hide a handful of chunks, small against the 20 bytes that each chunk costs."""
TAIL_MAGIC = b"JBPE"
FRAME_RECORD_BYTES = 40
BASE_RECORD_BYTES = 28
CHUNK_RECORD_BYTES = 20
"""What records take in a trailer, nearly."""
FRAME_BYTES_MAX = 16 * 1024 * 1024
PACK_BYTES_MAX = 64 * 1024 * 1024


class ChunkRecord(NamedTuple):
    """A chunk inside a frame, in the frame's order. A tuple, as there are millions."""

    id: ChunkId
    length: int


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """Where a frame lies in its pack and what is needed to decode it."""

    id: FrameId
    offset: int
    sealed_length: int
    plain_length: int
    encoding: Encoding
    bases: tuple[Extent, ...] = ()
    chunks: tuple[ChunkRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PackHead:
    """The clear head of a pack."""

    pack_id: bytes
    session_id: bytes
    commitment: bytes


RawFrame = tuple[bytes, int, int, int, int, list[tuple[bytes, int, int]], bytes, bytes]
_raw_frames = msgspec.msgpack.Decoder(list[RawFrame])


def raw_frame(record: FrameRecord, *, with_chunks: bool) -> RawFrame:
    """Return a frame record as the plain tuple that is encoded."""
    chunks = record.chunks if with_chunks else ()
    return (
        record.id, record.offset, record.sealed_length, record.plain_length, int(record.encoding),
        [(base.frame, base.offset, base.length) for base in record.bases],
        b"".join(chunk.id for chunk in chunks),
        struct.pack(f"<{len(chunks)}I", *(chunk.length for chunk in chunks)),
    )


def frame_from_raw(raw: RawFrame) -> FrameRecord:
    """Check a decoded tuple and return the frame record.

    Raises:
        FormatError: A field is out of its range.
    """
    frame, offset, sealed, plain, encoding, bases, ids, lengths = raw
    count = len(lengths) // 4
    if (
        len(frame) != FRAME_ID_BYTES or encoding not in (0, 1, 2) or not 0 < plain <= FRAME_BYTES_MAX
        or sealed < TAG_BYTES or offset < PACK_HEAD_BYTES or offset + sealed > PACK_BYTES_MAX
        or len(lengths) % 4 or len(ids) != count * CHUNK_ID_BYTES
        or bool(bases) != (encoding == Encoding.ZSTD_PREFIX)
        or any(len(b[0]) != FRAME_ID_BYTES or b[1] < 0 or not 0 < b[2] <= FRAME_BYTES_MAX for b in bases)
        or sum(b[2] for b in bases) > PACK_BYTES_MAX
    ):
        raise FormatError("a frame record is out of range")
    sizes = struct.unpack(f"<{count}I", lengths)
    if count and sum(sizes) != plain:
        raise FormatError("the chunks of a frame do not fill it")
    return FrameRecord(
        FrameId(frame), offset, sealed, plain, Encoding(encoding),
        tuple(Extent(FrameId(b[0]), b[1], b[2]) for b in bases),
        tuple([
            ChunkRecord(ChunkId(ids[at : at + CHUNK_ID_BYTES]), size)
            for at, size in zip(range(0, len(ids), CHUNK_ID_BYTES), sizes, strict=True)
        ]),
    )


class PackBuilder:
    """Builds one pack in memory.

    Args:
        sealer: Seals with this pack's key; knows the pack id and the commitment.
        pack_id: 16 random bytes.
        session_id: 16 bytes.
    """

    def __init__(self, sealer: PackSealer, *, pack_id: bytes, session_id: bytes) -> None:
        self._sealer = sealer
        self._parts = [encode_header(ObjectKind.PACK), pack_id, session_id, sealer.commitment]
        self.length = PACK_HEAD_BYTES
        self.frames: list[FrameRecord] = []
        self._trailer_bytes = 0

    def add(
        self, frame: FrameId, payload: bytes, *, plain_length: int, encoding: Encoding,
        bases: Sequence[Extent], chunks: Sequence[ChunkRecord],
    ) -> FrameRecord:
        """Seal a frame's payload into the next slot and return its record."""
        sealed = self._sealer.seal(len(self.frames), payload)
        record = FrameRecord(
            frame, self.length, len(sealed), plain_length, encoding, tuple(bases), tuple(chunks)
        )
        self._parts.append(sealed)
        self.length += len(sealed)
        self.frames.append(record)
        self._trailer_bytes += FRAME_RECORD_BYTES + BASE_RECORD_BYTES * len(bases) + CHUNK_RECORD_BYTES * len(chunks)
        return record

    @property
    def padding_bytes(self) -> int:
        """How much padding the pack would need if it were finished now, within a few hundred bytes."""
        bare = self.length + self._trailer_bytes
        return padme(bare) - bare

    def finish(self) -> bytes:
        """Return the whole pack; the builder is used up."""
        body = msgspec.msgpack.encode([raw_frame(record, with_chunks=True) for record in self.frames])
        filled = -(-(4 + len(body)) // TRAILER_STEP) * TRAILER_STEP
        trailer = (struct.pack("<I", len(body)) + body).ljust(filled, b"\0")
        bare = self.length + TAG_BYTES + len(trailer) + TAG_BYTES + PACK_TAIL_BYTES
        padding = self._sealer.seal(PADDING_SLOT, bytes(padme(bare) - bare))
        sealed = self._sealer.seal(TRAILER_SLOT, trailer)
        data = b"".join((*self._parts, padding, sealed, struct.pack("<I", len(sealed)), TAIL_MAGIC))
        if len(data) > PACK_BYTES_MAX:
            raise InvariantError("a pack grew over its bound")
        return data


def decode_pack_head(data: bytes) -> PackHead:
    """Decode a pack's first PACK_HEAD_BYTES bytes.

    Raises:
        FormatError: They are too short or not of a pack.
    """
    check_header(data, ObjectKind.PACK)
    if len(data) < PACK_HEAD_BYTES:
        raise FormatError("the pack is shorter than its head")
    return PackHead(data[HEADER_BYTES:24], data[24:40], data[40:PACK_HEAD_BYTES])


def trailer_span(tail: bytes, pack_length: int) -> tuple[int, int]:
    """Return offset and length of the sealed trailer from a pack's last PACK_TAIL_BYTES bytes.

    Raises:
        FormatError: The tail is damaged.
    """
    if len(tail) != PACK_TAIL_BYTES or tail[4:] != TAIL_MAGIC:
        raise FormatError("the pack does not end like a pack")
    (length,) = struct.unpack("<I", tail[:4])
    offset = pack_length - PACK_TAIL_BYTES - length
    if length < TAG_BYTES or offset < PACK_HEAD_BYTES or pack_length > PACK_BYTES_MAX:
        raise FormatError("the pack's trailer has an impossible length")
    return offset, length


def open_trailer(opener: PackOpener, sealed: bytes) -> list[FrameRecord]:
    """Open and decode a sealed trailer.

    Raises:
        DamageError: The seal does not fit.
        FormatError: The content is malformed.
    """
    plain = opener.open(TRAILER_SLOT, sealed)
    if len(plain) < 4:
        raise FormatError("the pack's trailer is too short")
    (length,) = struct.unpack("<I", plain[:4])
    if length > len(plain) - 4 or any(plain[4 + length :]):
        raise FormatError("the pack's trailer has an impossible length")
    try:
        raw = _raw_frames.decode(plain[4 : 4 + length])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the pack's trailer is malformed") from error
    return [frame_from_raw(item) for item in raw]
