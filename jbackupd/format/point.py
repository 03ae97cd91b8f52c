"""A point: the commit of a backup run, signed, chained to its predecessor.

    offset  size  field
    0       8     object header, kind 3 (format.header)
    8       4     c, little endian u32
    12      c     clear part, msgpack array (PointHeader, in the order of `_RawHeader`)
    12+c    4     b, little endian u32
    16+c    b     sealed body: key commitment 32, then the sealed msgpack of PointBody, slot 0
    16+c+b  3373  signature over all bytes before it: Ed25519 64, ML-DSA-65 3309 (codec.signing)

The body is sealed under the session key with the point id of the clear part, kind 3. Object references are
33 bytes: kind, name. `added` and `removed` are the difference between the objects that this
point needs and those that its predecessor needs, so that a holder without keys knows by itself
what every point needs: fold them along the chain. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from jbackupd.codec.hashing import name_of
from jbackupd.codec.seal import PackOpener, PackSealer
from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.format.header import HEADER_BYTES, check_header, encode_header
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import (
    FRAME_ID_BYTES,
    OBJECT_NAME_BYTES,
    DatasetId,
    FrameId,
    ObjectKind,
    ObjectName,
    ObjectRef,
    SiteId,
    TenantId,
    is_word,
)
from jbackupd.model.records import Extent, Statistics, Unreadable

SIGNING_CONTEXT = b"jbackupd 1 point"
POINT_BYTES_MAX = 64 * 1024 * 1024
COMMITMENT_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PointHeader:
    """The clear, signed part of a point."""

    dataset: DatasetId
    sequence: int
    """Counts from 1 without gaps."""
    previous: ObjectName
    """Name of the point before; NO_OBJECT for the first."""
    site: SiteId
    epoch: int
    begun_at: datetime
    taken_at: datetime
    point_id: bytes
    """16 random bytes; the body's key is derived with it."""
    session_id: bytes
    added: tuple[ObjectRef, ...]
    removed: tuple[ObjectRef, ...]
    incomplete: bool

    @property
    def tenant(self) -> TenantId:
        """The tenant that the dataset belongs to."""
        return self.dataset.tenant


@dataclass(frozen=True, slots=True)
class PointBody:
    """The sealed part of a point."""

    tree: tuple[Extent, ...]
    tree_bytes: int
    tree_digest: bytes
    statistics: Statistics
    source: str
    """Kind of the source, for people."""
    closure_frames_max: int
    closure_bytes_max: int
    """The budget that every frame of this point was encoded under."""


@dataclass(frozen=True, slots=True)
class Point:
    """A decoded point object; its signature is not checked yet, see `verify_point`."""

    name: ObjectName
    header: PointHeader
    sealed_body: bytes
    signed: bytes
    signature: bytes


class _RawHeader(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    tenant: str
    dataset: str
    sequence: int
    previous: bytes
    site: str
    epoch: int
    begun_at: int
    taken_at: int
    point_id: bytes
    session_id: bytes
    added: list[bytes]
    removed: list[bytes]
    incomplete: bool


class _RawBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    tree: list[tuple[bytes, int, int]]
    tree_bytes: int
    tree_digest: bytes
    counts: tuple[int, int, int, int, int, int, int, int]
    unreadable: list[tuple[bytes, str]]
    source: str
    closure_frames_max: int
    closure_bytes_max: int


_header_decoder = msgspec.msgpack.Decoder(_RawHeader)
_body_decoder = msgspec.msgpack.Decoder(_RawBody)


def encode_point(header: PointHeader, sealed_body: bytes, signer: SiteSigner) -> bytes:
    """Return a signed point object."""
    clear = msgspec.msgpack.encode(_RawHeader(
        header.dataset.tenant, header.dataset.name, header.sequence, header.previous, header.site,
        header.epoch, _microseconds(header.begun_at), _microseconds(header.taken_at), header.point_id,
        header.session_id, [_pack_ref(r) for r in header.added], [_pack_ref(r) for r in header.removed],
        header.incomplete,
    ))
    signed = b"".join((
        encode_header(ObjectKind.POINT), struct.pack("<I", len(clear)), clear,
        struct.pack("<I", len(sealed_body)), sealed_body,
    ))
    return signed + signer.sign(SIGNING_CONTEXT, signed)


def decode_point(data: bytes) -> Point:
    """Decode a point object without checking its signature.

    Raises:
        FormatError: The bytes are not a point of format 1.
    """
    check_header(data, ObjectKind.POINT)
    if len(data) > POINT_BYTES_MAX:
        raise FormatError("the point is longer than a point may be")
    clear, offset = _counted(data, HEADER_BYTES)
    body, offset = _counted(data, offset)
    if len(data) - offset != SIGNATURE_BYTES:
        raise FormatError("the point has no whole signature")
    try:
        raw = _header_decoder.decode(clear)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the point's clear part is malformed") from error
    return Point(name_of(data), _header_from_raw(raw), body, data[:offset], data[offset:])


def verify_point(point: Point, verifier: SiteVerifier) -> None:
    """Check that a site signed a point.

    Raises:
        IdentityError: It did not, or a bit has changed.
    """
    verifier.verify(SIGNING_CONTEXT, point.signed, point.signature)


def seal_body(sealer: PackSealer, body: PointBody) -> bytes:
    """Return the sealed body; the sealer must be made for the point id and kind POINT."""
    s = body.statistics
    raw = _RawBody(
        [(e.frame, e.offset, e.length) for e in body.tree], body.tree_bytes, body.tree_digest,
        (s.files, s.folders, s.symlinks, s.source_bytes, s.chunks, s.new_chunks, s.new_frames, s.delta_frames),
        [(u.path, u.reason) for u in s.unreadable], body.source, body.closure_frames_max, body.closure_bytes_max,
    )
    return sealer.commitment + sealer.seal(0, msgspec.msgpack.encode(raw))


def body_commitment(sealed_body: bytes) -> bytes:
    """Return the key commitment in front of a sealed body.

    Raises:
        FormatError: The body is too short to have one.
    """
    if len(sealed_body) < COMMITMENT_BYTES:
        raise FormatError("the point's body is too short")
    return sealed_body[:COMMITMENT_BYTES]


def open_body(opener: PackOpener, sealed_body: bytes) -> PointBody:
    """Open and decode a sealed body.

    Raises:
        DamageError: The seal does not fit.
        FormatError: The content is malformed.
    """
    try:
        raw = _body_decoder.decode(opener.open(0, sealed_body[COMMITMENT_BYTES:]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the point's body is malformed") from error
    if any(len(frame) != FRAME_ID_BYTES or offset < 0 or length <= 0 for frame, offset, length in raw.tree):
        raise FormatError("the point's body is out of range")
    return PointBody(
        tuple(Extent(FrameId(frame), offset, length) for frame, offset, length in raw.tree),
        raw.tree_bytes, raw.tree_digest,
        Statistics(*raw.counts, unreadable=tuple(Unreadable(path, reason) for path, reason in raw.unreadable)),
        raw.source, raw.closure_frames_max, raw.closure_bytes_max,
    )


def needed_after(needed: Iterable[ObjectRef], header: PointHeader) -> set[ObjectRef]:
    """Return what a point needs, from what its predecessor needs.

    Raises:
        FormatError: The difference does not apply: it adds what is there or removes what is not.
    """
    after = set(needed)
    step_on(after, header)
    return after


def step_on(needed: set[ObjectRef], header: PointHeader) -> None:
    """Make what a point's predecessor needs into what the point needs, in place.

    Raises:
        FormatError: The difference does not apply; the set is as it was.
    """
    added, removed = set(header.added), set(header.removed)
    if not added.isdisjoint(needed) or not removed <= needed or not added.isdisjoint(removed):
        raise FormatError("the point's object list does not continue its predecessor's")
    needed |= added
    needed -= removed


def step_back(needed: set[ObjectRef], header: PointHeader) -> None:
    """Undo `step_on`: make what a point needs into what its predecessor needs, in place."""
    needed.difference_update(header.added)
    needed.update(header.removed)


def _header_from_raw(raw: _RawHeader) -> PointHeader:
    if (
        not all(map(is_word, (raw.tenant, raw.dataset, raw.site))) or raw.sequence < 1 or raw.epoch < 0
        or len(raw.previous) != OBJECT_NAME_BYTES or len(raw.point_id) != 16 or len(raw.session_id) != 16
    ):
        raise FormatError("the point's clear part is out of range")
    return PointHeader(
        DatasetId(TenantId(raw.tenant), raw.dataset), raw.sequence, ObjectName(raw.previous),
        SiteId(raw.site), raw.epoch, _moment(raw.begun_at), _moment(raw.taken_at), raw.point_id, raw.session_id,
        tuple(map(_unpack_ref, raw.added)), tuple(map(_unpack_ref, raw.removed)), raw.incomplete,
    )


def _counted(data: bytes, offset: int) -> tuple[bytes, int]:
    """Return the bytes that a little endian u32 at an offset announces, and the offset behind them."""
    if offset + 4 > len(data):
        raise FormatError("the point is cut off")
    (length,) = struct.unpack_from("<I", data, offset)
    end = offset + 4 + length
    if end > len(data):
        raise FormatError("the point is cut off")
    return data[offset + 4 : end], end


def _pack_ref(ref: ObjectRef) -> bytes:
    return bytes((ref.kind,)) + ref.name


def _unpack_ref(data: bytes) -> ObjectRef:
    if len(data) != 1 + OBJECT_NAME_BYTES or data[0] not in ObjectKind._value2member_map_:
        raise FormatError("the point names an impossible object")
    return ObjectRef(ObjectKind(data[0]), ObjectName(data[1:]))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise FormatError("the point's time is out of range") from error
