"""Records of the keys: signed, found again bit for bit, and nothing else is taken for one."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.signing import SiteSigner
from jbackupd.format.key import KeyRole, decode_key
from jbackupd.format.keyrecord import (
    Details,
    Erasure,
    LostContent,
    LostPoint,
    RecoveryChange,
    decode_record,
    encode_record,
    moved_packs,
    open_details,
    seal_details,
    verify_record,
)
from jbackupd.model.errors import DamageError, FormatError, IdentityError, KeyringError
from jbackupd.model.ids import DatasetId, ObjectName, SiteId, TenantId

IMARI, SAGA = TenantId("imari"), SiteId("saga")
WHEN = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
SIGNER = SiteSigner(b"s" * 64)
JUKI = DatasetId(IMARI, "juki")
CHANGE = RecoveryChange(3, b"n" * 16, b"o" * 16, b"s" * 8, 2, 5)


def name(number: int) -> ObjectName:
    return ObjectName(bytes([number]) * 32)


ERASURE = Erasure(
    b"e" * 16, "2021", (name(1), name(2)), (LostPoint(JUKI, 7, name(3)),), 4, 5, 6_000,
    ((name(8), (name(9), name(10))),), b"sealed",
)


def made(what, tenant=IMARI) -> bytes:
    return encode_record(what, tenant=tenant, site=SAGA, made_at=WHEN, signer=SIGNER)


@pytest.mark.parametrize("what", [CHANGE, ERASURE], ids=["recovery", "erased"])
def test_a_record_comes_back_as_it_was_made(what):
    key = decode_key(made(what))
    record = decode_record(key)
    assert (key.role, record.tenant, record.site, record.made_at, record.what) == (
        KeyRole.RECORD, IMARI, SAGA, WHEN, what
    )
    verify_record(record, SIGNER.public)
    with pytest.raises(IdentityError):
        verify_record(record, SiteSigner(b"x" * 64).public)


def test_no_bit_of_a_record_can_be_changed():
    data = made(ERASURE)
    for bit in range(0, len(data) * 8, 29):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            key = decode_key(bytes(changed))
            record = decode_record(key)
            verify_record(record, SIGNER.public)
        except (FormatError, IdentityError):
            continue
        # The label beside the record is for people and bound to nothing.
        assert (record.what, key.label != "erased") == (ERASURE, True)


def test_every_truncation_and_a_record_of_another_tenant_is_refused():
    key = decode_key(made(CHANGE))
    for length in range(0, len(key.sealed), 97):
        with pytest.raises(FormatError):
            decode_record(replace(key, sealed=key.sealed[:length]))
    with pytest.raises(FormatError):
        decode_record(replace(key, tenant=TenantId("karatsu")))
    with pytest.raises(FormatError):
        decode_record(replace(key, role=KeyRole.KEPT))


@pytest.mark.parametrize("what", [
    replace(CHANGE, number=1), replace(CHANGE, threshold=6), replace(CHANGE, recovery=b"short"),
    replace(ERASURE, packs=-1), replace(ERASURE, epoch=b""), replace(ERASURE, label="x" * 33),
    replace(ERASURE, lost=(LostPoint(JUKI, 0, name(1)),)), replace(ERASURE, destroyed=(ObjectName(b"short"),)),
    replace(ERASURE, moved=((name(1), (ObjectName(b""),)),)),
])  # fmt: skip
def test_values_out_of_their_range_are_refused(what):
    with pytest.raises(FormatError):
        decode_record(decode_key(made(what)))


def test_details_are_for_the_tenant_alone():
    contents = (LostContent(JUKI, 7, 12, 3456), LostContent(JUKI, 8, None, None))
    details = Details("佐藤", "保存期間満了", b"s" * 8, (1, 3), contents)
    sealed = seal_details(details, b"k" * 32, tenant=IMARI)
    assert open_details(sealed, b"k" * 32, tenant=IMARI) == details
    assert "佐藤".encode() not in sealed
    for key, tenant in ((b"x" * 32, IMARI), (b"k" * 32, TenantId("karatsu"))):
        with pytest.raises(KeyringError):
            open_details(sealed, key, tenant=tenant)
    with pytest.raises(KeyringError):
        open_details(sealed[:-1], b"k" * 32, tenant=IMARI)


def test_packs_that_moved_twice_are_followed_and_circles_end():
    def record(*moved: tuple[int, tuple[int, ...]]):
        pairs = tuple((name(old), tuple(map(name, new))) for old, new in moved)
        return decode_record(decode_key(made(replace(ERASURE, moved=pairs))))

    found = moved_packs([record((1, (2, 3))), record((2, (4,)), (5, ()))])
    assert found == {name(1): {name(3), name(4)}, name(2): {name(4)}, name(5): frozenset()}
    assert moved_packs([record((1, (2,)), (2, (1,)))]) == {name(1): frozenset(), name(2): frozenset()}
    assert moved_packs([decode_record(decode_key(made(CHANGE)))]) == {}


@settings(max_examples=150)
@given(st.binary(max_size=4000))
def test_any_bytes_are_a_record_or_malformed(data):
    key = replace(decode_key(made(CHANGE)), sealed=data)
    with pytest.raises(DamageError):
        decode_record(key)
