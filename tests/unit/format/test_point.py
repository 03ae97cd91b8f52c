"""Points: every field comes back, every bit is signed or sealed, hostile bytes are refused, object lists fold."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.hashing import name_of
from jbackupd.codec.seal import PackOpener, PackSealer
from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner
from jbackupd.format.point import (
    COMMITMENT_BYTES,
    PointBody,
    PointHeader,
    body_commitment,
    decode_point,
    encode_point,
    needed_after,
    open_body,
    seal_body,
    verify_point,
)
from jbackupd.model.errors import DamageError, FormatError, IdentityError
from jbackupd.model.ids import DatasetId, FrameId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.model.records import Extent, Statistics, Unreadable

TENANT = TenantId("imari")
SAGA = SiteSigner.from_seed(hashlib.sha512(b"saga").digest())
KYOTO = SiteSigner.from_seed(hashlib.sha512(b"kyoto").digest())
SESSION, POINT_ID = b"s" * 16, b"p" * 16
KEY = b"k" * 32
BEGUN = datetime(2026, 11, 22, 19, 0, 0, 1, tzinfo=UTC)


def ref(number: int, kind: ObjectKind = ObjectKind.PACK) -> ObjectRef:
    return ObjectRef(kind, ObjectName(bytes([number]) * 32))


HEADER = PointHeader(
    DatasetId(TENANT, "juki"), 7, ObjectName(bytes(range(32))), SiteId("saga"), 2, BEGUN,
    BEGUN + timedelta(minutes=10), POINT_ID, SESSION, (ref(1), ref(2, ObjectKind.KEY)), (ref(3),), True,
)
BODY = PointBody(
    (Extent(FrameId(b"f" * 16), 5, 1000),), 1000, b"d" * 32,
    Statistics(3, 2, 1, 4000, 9, 4, 2, 1, unreadable=(Unreadable("読めない".encode("cp932"), "permission denied"),)),
    "files", 3, 4096,
)


def sealer(point_id: bytes = POINT_ID) -> PackSealer:
    return PackSealer(KEY, tenant=TENANT, pack_id=point_id, kind=ObjectKind.POINT)


def opener(sealed: bytes, **changes: object) -> PackOpener:
    options = {"tenant": TENANT, "pack_id": POINT_ID, "kind": ObjectKind.POINT, **changes}
    return PackOpener(KEY, commitment=body_commitment(sealed), **options)


SEALED = seal_body(sealer(), BODY)
DATA = encode_point(HEADER, SEALED, SAGA)


def signed_anew(**changes: object) -> bytes:
    """Return a point whose clear part has other raw values, rightly signed: by a site that is broken or hostile."""
    (length,) = struct.unpack_from("<I", DATA, 8)
    names = [
        "tenant", "dataset", "sequence", "previous", "site", "epoch", "begun_at", "taken_at", "point_id", "session_id",
        "added", "removed", "incomplete",
    ]
    raw = dict(zip(names, msgspec.msgpack.decode(DATA[12 : 12 + length]), strict=True)) | changes
    clear = msgspec.msgpack.encode(list(raw.values()))
    signed = DATA[:8] + struct.pack("<I", len(clear)) + clear + DATA[12 + length : -SIGNATURE_BYTES]
    return signed + SAGA.sign(b"jbackupd 1 point", signed)


def test_every_field_comes_back() -> None:
    point = decode_point(DATA)
    verify_point(point, SAGA.public)
    assert (point.header, point.name) == (HEADER, name_of(DATA))
    assert open_body(opener(point.sealed_body), point.sealed_body) == BODY


def test_the_layout_is_the_documented_one() -> None:
    assert DATA[:8] == b"JBKP\x01\x03\0\0"
    (clear,) = struct.unpack_from("<I", DATA, 8)
    (body,) = struct.unpack_from("<I", DATA, 12 + clear)
    assert len(DATA) == 16 + clear + body + 3373
    assert DATA[16 + clear :][:COMMITMENT_BYTES] == body_commitment(SEALED)
    raw = msgspec.msgpack.decode(DATA[12 : 12 + clear])
    assert raw[:5] == ["imari", "juki", 7, bytes(range(32)), "saga"]
    assert raw[6] == (BEGUN - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_nothing_about_files_is_in_clear() -> None:
    for secret in ("読めない".encode("cp932"), b"permission", b"files", b"d" * 32):
        assert secret not in DATA


def test_another_sites_signature_is_refused() -> None:
    with pytest.raises(IdentityError):
        verify_point(decode_point(DATA), KYOTO.public)


def test_no_changed_bit_verifies() -> None:
    for position in range(len(DATA) - SIGNATURE_BYTES + 70):
        changed = bytearray(DATA)
        changed[position] ^= 1 << position % 8
        with pytest.raises((FormatError, IdentityError)):
            verify_point(decode_point(bytes(changed)), SAGA.public)


def test_no_prefix_is_a_point_and_nothing_may_follow_it() -> None:
    for length in (*range(len(DATA) - SIGNATURE_BYTES + 2), len(DATA) - 1):
        with pytest.raises(FormatError):
            decode_point(DATA[:length])
    with pytest.raises(FormatError):
        decode_point(DATA + b"\0")


@pytest.mark.parametrize("changes", [
    {"tenant": "../etc"}, {"tenant": ""}, {"dataset": "a/b"}, {"site": "佐賀"}, {"sequence": 0}, {"sequence": -1},
    {"epoch": -1}, {"previous": b"short"}, {"point_id": b""}, {"session_id": b"s" * 17}, {"taken_at": (1 << 64) - 1},
    {"begun_at": -(1 << 62)}, {"added": [b"\x01" + b"n" * 31]}, {"added": [b"\xff" + b"n" * 32]}, {"removed": [b""]},
    {"sequence": "7"}, {"incomplete": 1}, {"more": None},
], ids=str)
def test_a_clear_part_out_of_range_is_refused_even_if_it_is_signed(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        decode_point(signed_anew(**changes))


@pytest.mark.parametrize("changes", [
    {"tenant": TenantId("karatsu")}, {"pack_id": b"q" * 16}, {"kind": ObjectKind.INDEX},
], ids=str)
def test_a_body_opens_only_as_what_it_was_sealed_for(changes: dict[str, object]) -> None:
    with pytest.raises(DamageError):
        open_body(opener(SEALED, **changes), SEALED)


@pytest.mark.parametrize(("frame", "offset", "length"), [(b"short", 0, 1), (b"f" * 16, -1, 1), (b"f" * 16, 0, 0)])
def test_a_body_out_of_range_is_refused(frame: bytes, offset: int, length: int) -> None:
    own_id = b"%16d" % (len(frame) + offset * 100 + length)
    sealed = seal_body(sealer(own_id), replace(BODY, tree=(Extent(FrameId(frame), offset, length),)))
    with pytest.raises(FormatError):
        open_body(opener(sealed, pack_id=own_id), sealed)


def test_a_body_that_is_too_short_or_no_body_is_refused() -> None:
    with pytest.raises(FormatError):
        body_commitment(b"c" * (COMMITMENT_BYTES - 1))
    odd = sealer(b"o" * 16)
    sealed = odd.commitment + odd.seal(0, b"\x93\x01\x02")
    with pytest.raises(FormatError):
        open_body(opener(sealed, pack_id=b"o" * 16), sealed)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_a_point_or_malformed(data: bytes, headed: bool) -> None:
    with suppress(FormatError):
        decode_point(DATA[:8] + struct.pack("<I", len(data)) + data if headed else data)


def test_object_lists_fold_along_the_chain() -> None:
    assert needed_after({ref(3), ref(4)}, HEADER) == {ref(1), ref(2, ObjectKind.KEY), ref(4)}


@pytest.mark.parametrize("before", [set(), {ref(3), ref(1)}], ids=["removes what is not", "adds what is there"])
def test_a_difference_that_does_not_continue_is_refused(before: set[ObjectRef]) -> None:
    with pytest.raises(FormatError):
        needed_after(before, HEADER)


def test_a_difference_that_adds_and_removes_the_same_is_refused() -> None:
    with pytest.raises(FormatError):
        needed_after({ref(3)}, replace(HEADER, added=(ref(3),)))
