"""Receipts: every field comes back, every bit is signed, every prefix is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner
from jbackupd.format.receipt import RECEIPT_BYTES_MAX, Receipt, decode_receipt, encode_receipt, verify_receipt
from jbackupd.model.errors import FormatError, IdentityError
from jbackupd.model.ids import DatasetId, ObjectName, SiteId, TenantId

KYOTO = SiteSigner.from_seed(hashlib.sha512(b"kyoto").digest())
SAGA = SiteSigner.from_seed(hashlib.sha512(b"saga").digest())
RECEIPT = Receipt(
    DatasetId(TenantId("imari"), "juki"), 7, ObjectName(bytes(range(32))), SiteId("kyoto"),
    datetime(2026, 11, 23, 3, 4, 5, 678901, tzinfo=UTC), 1234,
)
DATA = encode_receipt(RECEIPT, KYOTO)


def test_every_field_comes_back():
    assert verify_receipt(DATA, KYOTO.public) == RECEIPT


def test_the_layout_is_the_documented_one():
    assert DATA[:8] == b"JBKP\x01\x05\0\0"
    assert DATA[8:25] == b"\x05imari\x04juki" + b"\x07\0\0\0\0\0"
    assert len(DATA) == 8 + 6 + 5 + 8 + 32 + 6 + 8 + 4 + SIGNATURE_BYTES
    longest = replace(RECEIPT, dataset=DatasetId(TenantId("t" * 32), "d" * 32), holder=SiteId("s" * 32))
    assert len(encode_receipt(longest, KYOTO)) == RECEIPT_BYTES_MAX


def test_another_sites_signature_is_refused():
    with pytest.raises(IdentityError):
        verify_receipt(DATA, SAGA.public)


def test_no_changed_byte_verifies():
    for position in range(len(DATA) - SIGNATURE_BYTES + 70):
        changed = bytearray(DATA)
        changed[position] ^= 0x20
        with pytest.raises((FormatError, IdentityError)):
            verify_receipt(bytes(changed), KYOTO.public)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 20, 60, len(DATA) - 1])
def test_no_prefix_is_a_receipt(length):
    with pytest.raises(FormatError):
        decode_receipt(DATA[:length])


def test_nothing_may_follow_it():
    with pytest.raises(FormatError):
        decode_receipt(DATA + b"\0")


def test_times_before_1970_and_far_away_come_back_or_are_refused():
    early = replace(RECEIPT, received_at=datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1))
    assert decode_receipt(encode_receipt(early, KYOTO)) == early
    far = bytearray(DATA)
    far[-SIGNATURE_BYTES - 12 : -SIGNATURE_BYTES - 4] = (2**63 - 1).to_bytes(8, "little")
    with pytest.raises(FormatError):
        decode_receipt(bytes(far))
