"""A pack gives back what was put in, tells nothing by its lengths, and hostile bytes give a typed error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.hashing import ContentHash
from jbackupd.codec.padme import padme
from jbackupd.codec.seal import PackOpener, PackSealer
from jbackupd.format.index import IndexedPack, decode_index_head, encode_index, open_index
from jbackupd.format.pack import (
    PACK_HEAD_BYTES,
    PACK_TAIL_BYTES,
    TRAILER_SLOT,
    ChunkRecord,
    FrameRecord,
    PackBuilder,
    decode_pack_head,
    open_trailer,
    trailer_span,
)
from jbackupd.model.errors import DamageError, InvariantError
from jbackupd.model.ids import ChunkId, FrameId, ObjectKind, ObjectName, TenantId
from jbackupd.model.records import Encoding, Extent

KEY, PACK_ID, SESSION = b"k" * 32, b"p" * 16, b"s" * 16
TENANT = TenantId("imari")
HASHES = ContentHash(b"t" * 32)


def build(contents: list[bytes], pack_id: bytes = PACK_ID) -> tuple[bytes, list[FrameRecord]]:
    builder = PackBuilder(PackSealer(KEY, tenant=TENANT, pack_id=pack_id), pack_id=pack_id, session_id=SESSION)
    for content in contents:
        half = len(content) // 2
        chunks = [ChunkRecord(HASHES.chunk_id(part), len(part)) for part in (content[:half], content[half:]) if part]
        builder.add(
            HASHES.frame_id(content), content, plain_length=len(content), encoding=Encoding.STORED, bases=(),
            chunks=chunks,
        )
    return builder.finish(), builder.frames


def opener(pack_id: bytes = PACK_ID, commitment: bytes | None = None, **changes: object) -> PackOpener:
    arguments: dict[str, object] = {"tenant": TENANT, "pack_id": pack_id}
    arguments["commitment"] = commitment or PackSealer(KEY, tenant=TENANT, pack_id=pack_id).commitment
    return PackOpener(KEY, **(arguments | changes))  # type: ignore[arg-type]


def read(data: bytes) -> list[FrameRecord]:
    head = decode_pack_head(data[:PACK_HEAD_BYTES])
    offset, length = trailer_span(data[-PACK_TAIL_BYTES:], len(data))
    return open_trailer(opener(head.pack_id, head.commitment), data[offset : offset + length])


counter = iter(range(10**9))


def fresh_id() -> bytes:
    return next(counter).to_bytes(16, "big")


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=8))
def test_frames_and_chunks_come_back(contents: list[bytes]) -> None:
    pack_id = fresh_id()
    data, frames = build(contents, pack_id)
    assert read(data) == frames
    assert len(data) == padme(len(data))
    for slot, (record, content) in enumerate(zip(frames, contents, strict=True)):
        sealed = data[record.offset : record.offset + record.sealed_length]
        assert opener(pack_id).open(slot, sealed) == content


def test_no_content_and_no_chunk_id_is_in_clear() -> None:
    content = b"a resident's name" * 50
    data, frames = build([content], fresh_id())
    assert b"resident" not in data
    assert frames[0].chunks[0].id not in data
    assert frames[0].id not in data


@settings(max_examples=300)
@given(st.data())
def test_every_changed_bit_is_found(data: st.DataObject) -> None:
    pack, frames = build([b"x" * 500, b"y" * 700], fresh_id())
    bit = data.draw(st.integers(0, len(pack) * 8 - 1))
    changed = bytearray(pack)
    changed[bit // 8] ^= 1 << bit % 8
    covered = [(f.offset, f.offset + f.sealed_length) for f in frames]
    try:
        damaged = read(bytes(changed)) != frames
    except DamageError:
        damaged = True
    pack_id = pack[8:24]
    for slot, (begin, end) in enumerate(covered):
        try:
            opener(pack_id).open(slot, bytes(changed[begin:end]))
        except DamageError:
            damaged = True
    # What neither trailer nor frames cover is the padding and the session id: the object's name covers these.
    head_of_session = 24 <= bit // 8 < 40
    padding = covered[-1][1] <= bit // 8 < trailer_span(pack[-PACK_TAIL_BYTES:], len(pack))[0]
    assert damaged or head_of_session or padding


def test_a_slot_of_another_pack_tenant_kind_or_place_is_damage() -> None:
    data, frames = build([b"x" * 500, b"y" * 500], PACK_ID)
    sealed = data[frames[0].offset : frames[0].offset + frames[0].sealed_length]
    assert opener().open(0, sealed) == b"x" * 500
    with pytest.raises(DamageError):
        opener().open(1, sealed)
    with pytest.raises(DamageError):
        opener().open(TRAILER_SLOT, sealed)
    with pytest.raises(DamageError):
        opener(tenant=TenantId("karatsu")).open(0, sealed)
    with pytest.raises(DamageError):
        opener(kind=ObjectKind.INDEX)
    with pytest.raises(DamageError):
        PackOpener(b"z" * 32, tenant=TENANT, pack_id=PACK_ID, commitment=data[40:72])


def test_a_slot_is_never_sealed_twice() -> None:
    sealer = PackSealer(KEY, tenant=TENANT, pack_id=fresh_id())
    sealer.seal(3, b"one")
    with pytest.raises(InvariantError):
        sealer.seal(3, b"two")


@given(st.binary(max_size=300))
def test_hostile_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(DamageError):
        read(data)
    with pytest.raises(DamageError):
        open_index(opener(), data.rjust(72, b"x"))
    with pytest.raises(DamageError):
        decode_index_head(data)


def test_an_index_lists_packs_without_chunks() -> None:
    index_id = fresh_id()
    record = FrameRecord(
        FrameId(b"f" * 16), 72, 116, 100, Encoding.ZSTD_PREFIX, (Extent(FrameId(b"g" * 16), 5, 50),),
        (ChunkRecord(ChunkId(b"c" * 16), 100),),
    )
    pack = IndexedPack(ObjectName(b"n" * 32), 4096, SESSION, (record,))
    sealer = PackSealer(KEY, tenant=TENANT, pack_id=index_id, kind=ObjectKind.INDEX)
    data = encode_index(sealer, [pack], index_id=index_id, session_id=SESSION)
    head = decode_index_head(data)
    found = open_index(
        PackOpener(KEY, tenant=TENANT, pack_id=head.pack_id, commitment=head.commitment, kind=ObjectKind.INDEX), data
    )
    assert [(p.name, p.length, p.session_id) for p in found] == [(pack.name, 4096, SESSION)]
    assert found[0].frames[0].bases == record.bases
    assert found[0].frames[0].chunks == ()
