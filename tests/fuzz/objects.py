"""What lies in a vault and goes over the line: objects, their sealed parts, trees, frames, messages."""

from __future__ import annotations

import struct
from typing import Any

import blake3
import msgspec

from jbackupd.codec.compress import decompress
from jbackupd.codec.hpke import RecipientSecret
from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.format.declaration import Declaration, decode_declaration, encode_declaration
from jbackupd.format.expiry import Expiry, decode_expiry, encode_expiry
from jbackupd.format.header import HEADER_BYTES, encode_header
from jbackupd.format.index import IndexedPack, decode_index_head, encode_index, open_index
from jbackupd.format.key import KEPT_BYTES, KeyObject, KeyRole, decode_kept, decode_key
from jbackupd.format.keyrecord import Details, KeyRecord, decode_record, encode_record, open_details, seal_details
from jbackupd.format.pack import (
    PACK_HEAD_BYTES,
    PACK_TAIL_BYTES,
    TRAILER_STEP,
    FrameRecord,
    decode_pack_head,
    frame_from_raw,
    open_trailer,
    raw_frame,
    trailer_span,
)
from jbackupd.format.point import (
    COMMITMENT_BYTES,
    Point,
    PointBody,
    decode_point,
    encode_point,
    open_body,
    seal_body,
)
from jbackupd.format.receipt import Receipt, decode_receipt, encode_receipt
from jbackupd.format.tree import MAGIC as TREE_MAGIC
from jbackupd.format.tree import TreeDecoder, TreeEncoder
from jbackupd.model.errors import KeyringError, ProtocolError
from jbackupd.model.ids import ObjectKind
from jbackupd.model.records import Encoding, TreeEntry
from jbackupd.protocol.framing import Frame, FrameReader, FrameType
from jbackupd.protocol.messages import Message, decode_message, encode_message
from tests.fuzz.kind import DAMAGE, LOCAL_KEY, TENANT, Kind, NoSigner, Plain

FRAME_BYTES = 4096
"""Length that a frame's record asks for."""
PREFIX = bytes(range(256)) * 16
RECIPIENT = RecipientSecret(b"r" * 32)
KEPT_KEY = KeyObject(KeyRole.KEPT, TENANT, b"i" * 16, "", b"", b"r" * 16, b"")
RECORD_CONTEXT = b"jbackupd 1 record imari"


def _pack(data: bytes) -> list[FrameRecord]:
    decode_pack_head(data)
    offset, length = trailer_span(data[-PACK_TAIL_BYTES:], len(data))
    return open_trailer(Plain(), data[offset : offset + length])


def _pack_records(data: bytes) -> bytes:
    offset, _ = trailer_span(data[-PACK_TAIL_BYTES:], len(data))
    (filled,) = struct.unpack_from("<I", data, offset)
    return data[offset + 4 : offset + 4 + filled]


def pack_of(records: bytes) -> bytes:
    """Return a pack without frames whose trailer holds these bytes."""
    filled = -(-(4 + len(records)) // TRAILER_STEP) * TRAILER_STEP
    trailer = (struct.pack("<I", len(records)) + records).ljust(filled, b"\0")
    head = encode_header(ObjectKind.PACK) + b"p" * 16 + b"s" * 16 + Plain.commitment
    return head + trailer + struct.pack("<I", len(trailer)) + b"JBPE"


def _index(data: bytes) -> list[IndexedPack]:
    decode_index_head(data)
    return open_index(Plain(), data)


def _index_again(packs: list[IndexedPack]) -> list[IndexedPack]:
    again = _index(encode_index(Plain(), packs, index_id=b"i" * 16, session_id=b"s" * 16))
    # An index never carries chunks; a decoder that is shown some reads them.
    return packs if any(f.chunks for pack in packs for f in pack.frames) else again


def _point(data: bytes) -> Point:
    point = decode_point(data)
    str(point.header.dataset), point.header.taken_at.isoformat()
    return point


def _point_again(point: Point) -> Point:
    again = decode_point(encode_point(point.header, point.sealed_body, NoSigner()))
    return point if (again.header, again.sealed_body) == (point.header, point.sealed_body) else again


def _point_clear(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, HEADER_BYTES)
    return data[HEADER_BYTES + 4 : HEADER_BYTES + 4 + length]


def point_of(clear: bytes) -> bytes:
    """Return a point with this clear part."""
    head = encode_header(ObjectKind.POINT) + struct.pack("<I", len(clear)) + clear
    return head + struct.pack("<I", 4) + b"body" + bytes(SIGNATURE_BYTES)


def _body(data: bytes) -> PointBody:
    return open_body(Plain(), bytes(COMMITMENT_BYTES) + data)


def _key_again(key: KeyObject) -> KeyObject:
    return decode_key(encode_header(ObjectKind.KEY) + msgspec.msgpack.encode(
        (int(key.role), key.tenant, key.id, key.label, key.public, key.recipient, key.sealed)
    ))


def _record(data: bytes) -> KeyRecord:
    return decode_record(decode_key(data))


def _record_again(record: KeyRecord) -> KeyRecord:
    again = _record(encode_record(
        record.what, tenant=record.tenant, site=record.site, made_at=record.made_at, signer=NoSigner()
    ))
    same = (again.what, again.site, again.made_at) == (record.what, record.site, record.made_at)
    return record if same else again


def _record_signed(data: bytes) -> bytes:
    return bytes(msgspec.msgpack.decode(data[HEADER_BYTES:])[6][:-SIGNATURE_BYTES])


def record_of(signed: bytes) -> bytes:
    """Return a record of the keys with this statement, its digest right."""
    return encode_header(ObjectKind.KEY) + msgspec.msgpack.encode((
        int(KeyRole.RECORD), TENANT, blake3.blake3(signed).digest(16), "erased", b"", bytes(16),
        signed + bytes(SIGNATURE_BYTES),
    ))


def _details_of(plain: bytes) -> bytes:
    return seal_blob(LOCAL_KEY, plain, context=RECORD_CONTEXT)


def _details(data: bytes) -> Details:
    return open_details(data, LOCAL_KEY, tenant=TENANT)


def _tree(data: bytes) -> list[TreeEntry]:
    decoder, entries = TreeDecoder(), []
    for begin in range(0, len(data), 61):
        entries += decoder.feed(data[begin : begin + 61])
    decoder.finish()
    return entries


def _tree_again(entries: list[TreeEntry]) -> list[TreeEntry]:
    encoder = TreeEncoder()
    return _tree(b"".join([encoder.begin(), *map(encoder.add, entries), encoder.end()]))


def _tree_bodies(data: bytes) -> bytes:
    bodies, position = [], len(TREE_MAGIC)
    while position + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, position)
        bodies.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return b"|".join(bodies)


def _tree_of(joined: bytes) -> bytes:
    return TREE_MAGIC + b"".join(struct.pack("<I", len(body)) + body for body in joined.split(b"|"))


def _frame(data: bytes) -> bytes:
    encoding = Encoding(data[0] % 3) if data else Encoding.STORED
    plain = decompress(encoding, data[1:], FRAME_BYTES, PREFIX if encoding is Encoding.ZSTD_PREFIX else b"")
    assert len(plain) == FRAME_BYTES, "a frame has another length than its record says"
    return plain


def _message(data: bytes) -> Message | None:
    """Decode a message whose first byte is its type."""
    if not data or data[0] not in FrameType._value2member_map_:
        return None
    return decode_message(Frame(FrameType(data[0]), memoryview(data)[1:]))


def _message_again(message: Message | None) -> Message | None:
    return message and decode_message(next(iter(FrameReader().feed(encode_message(message)))))


def _line(data: bytes) -> list[Any]:
    """Decode a stream of frames that comes in pieces."""
    reader = FrameReader()
    frames = (frame for at in range(0, len(data), 53) for frame in reader.feed(data[at : at + 53]))
    return [bytes(frame.payload) if frame.type is FrameType.DATA else decode_message(frame) for frame in frames]


def _declaration_of(statement: bytes) -> bytes:
    return b"JBDECL\x01\x00" + struct.pack("<I", len(statement)) + statement + b"\x90"


def _statement(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, 8)
    return data[12 : 12 + length]


def _receipt_again(receipt: Receipt) -> Receipt:
    return decode_receipt(encode_receipt(receipt, NoSigner()))


def _expiry_again(expiry: Expiry) -> Expiry:
    return decode_expiry(encode_expiry(expiry, NoSigner()))


def _declaration_again(declaration: Declaration) -> Declaration:
    return decode_declaration(encode_declaration(declaration))


def _kept_again(keys: dict[tuple[ObjectKind, bytes], bytes]) -> dict[tuple[ObjectKind, bytes], bytes]:
    packed = b"".join(bytes((kind,)) + object_id + key for (kind, object_id), key in keys.items())
    assert len(packed) % KEPT_BYTES == 0
    return decode_kept(packed, KEPT_KEY)


OBJECTS = (
    Kind("pack", _pack, DAMAGE, lambda f: [frame_from_raw(raw_frame(r, with_chunks=True)) for r in f],
         _pack_records, pack_of),
    Kind("index", _index, DAMAGE, _index_again, lambda data: data[PACK_HEAD_BYTES:],
         lambda body: encode_header(ObjectKind.INDEX) + b"i" * 16 + b"s" * 16 + Plain.commitment + body),
    Kind("point", _point, DAMAGE, _point_again, _point_clear, point_of),
    Kind("point-body", _body, DAMAGE, lambda body: _body(seal_body(Plain(), body)[COMMITMENT_BYTES:])),
    Kind("key", decode_key, DAMAGE, _key_again),
    Kind("session-envelope", lambda data: RECIPIENT.open(data, b"context"), (KeyringError,)),
    Kind("record", _record, DAMAGE, _record_again, _record_signed, record_of),
    Kind("record-details", _details, (*DAMAGE, KeyringError),
         lambda details: _details(seal_details(details, LOCAL_KEY, tenant=TENANT)),
         lambda data: open_blob(LOCAL_KEY, data, context=RECORD_CONTEXT), _details_of),
    Kind("kept-keys", lambda data: decode_kept(data, KEPT_KEY), DAMAGE, _kept_again),
    Kind("receipt", decode_receipt, DAMAGE, _receipt_again),
    Kind("expiry", decode_expiry, DAMAGE, _expiry_again, lambda data: data[HEADER_BYTES:-SIGNATURE_BYTES],
         lambda body: b"JBKP\x01\x06\0\0" + body + bytes(SIGNATURE_BYTES)),
    Kind("declaration", decode_declaration, DAMAGE, _declaration_again, _statement, _declaration_of),
    Kind("tree", _tree, DAMAGE, _tree_again, _tree_bodies, _tree_of),
    Kind("frame", _frame, DAMAGE, None, slack_bytes=8 << 20),
    Kind("message", _message, (ProtocolError,), _message_again, words=tuple(bytes((kind,)) for kind in FrameType)),
    Kind("line", _line, (ProtocolError,), None, lambda data: data[5 : 5 + struct.unpack_from(">I", data)[0]],
         lambda payload: struct.pack(">IB", len(payload), FrameType.HAVE) + payload),
)

