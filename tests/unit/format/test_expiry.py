"""The bytes of an expiry: golden, signed, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner
from jbackupd.format.expiry import Expiry, RemovedPoint, decode_expiry, encode_expiry, verify_expiry
from jbackupd.model.errors import FormatError, IdentityError
from jbackupd.model.ids import DatasetId, SiteId, TenantId

IMARI = TenantId("imari")
SIGNER = SiteSigner(b"s" * 64)
EXPIRY = Expiry(
    IMARI, SiteId("saga"), 3, datetime(2026, 11, 23, 4, 5, 6, 7, tzinfo=UTC),
    (RemovedPoint(DatasetId(IMARI, "juki"), 12, name_of(b"point"), "not-kept"),),
    ((name_of(b"old"), name_of(b"new")),),
)
GOLDEN = (
    "4a424b5001060000" "96" "a5696d617269" "a473616761" "03" "cf000660e9b2f04087" "91" "94" "a46a756b69" "0c"
    "c420" + name_of(b"point").hex() + "a86e6f742d6b657074" "91" "92" "c420" + name_of(b"old").hex()
    + "c420" + name_of(b"new").hex()
)


def signed(statement: object) -> bytes:
    body = b"JBKP\x01\x06\0\0" + msgspec.msgpack.encode(statement)
    return body + SIGNER.sign(b"jbackupd 1 expiry", body)


def test_the_bytes_are_those_of_the_specification() -> None:
    data = encode_expiry(EXPIRY, SIGNER)
    assert data[:-SIGNATURE_BYTES].hex() == GOLDEN
    assert verify_expiry(data, SIGNER.public) == EXPIRY


def test_another_site_s_signature_or_another_byte_is_refused() -> None:
    data = encode_expiry(EXPIRY, SIGNER)
    with pytest.raises(IdentityError):
        verify_expiry(data, SiteSigner(b"k" * 64).public)
    for position in range(8, len(data), 97):
        other = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises((IdentityError, FormatError)):
            verify_expiry(other, SIGNER.public)


@pytest.mark.parametrize("statement", [
    ["imari", "saga", 1, 0, []],
    ["imari", "saga", 1, 0, [], [], []],
    ["Imari", "saga", 1, 0, [], []],
    ["imari", "", 1, 0, [], []],
    ["imari", "saga", -1, 0, [], []],
    ["imari", "saga", 1, 2**62, [], []],
    ["imari", "saga", 1, 0, [["juki", 0, bytes(32), "not-kept"]], []],
    ["imari", "saga", 1, 0, [["juki", 1, bytes(31), "not-kept"]], []],
    ["imari", "saga", 1, 0, [["juki", 1, bytes(32), "no word"]], []],
    ["imari", "saga", 1, 0, [["../x", 1, bytes(32), "not-kept"]], []],
    ["imari", "saga", 1, 0, [], [[bytes(32), bytes(33)]]],
    {"tenant": "imari"},
], ids=str)
def test_a_statement_out_of_its_range_is_refused(statement: object) -> None:
    with pytest.raises(FormatError):
        decode_expiry(signed(statement))


def test_every_prefix_is_refused() -> None:
    data = encode_expiry(EXPIRY, SIGNER)
    for length in range(0, len(data), 53):
        with pytest.raises(FormatError):
            decode_expiry(data[:length])
