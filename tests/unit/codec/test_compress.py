"""Compression gives back what it got, and hostile payloads give a typed error."""

import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.compress import compress, decompress
from jbackupd.codec.padme import padme
from jbackupd.model.errors import DamageError
from jbackupd.model.records import Encoding


@given(st.binary(min_size=1, max_size=5000), st.binary(max_size=5000))
def test_what_is_compressed_comes_back(data: bytes, prefix: bytes) -> None:
    encoding, payload = compress(data, prefix)
    assert decompress(encoding, payload, len(data), prefix) == data


def test_incompressible_data_is_stored() -> None:
    data = os.urandom(100_000)
    assert compress(data) == (Encoding.STORED, data)


def test_a_later_version_costs_little_against_the_earlier_one() -> None:
    earlier = os.urandom(200_000)
    later = earlier[:90_000] + b"changed" + earlier[90_000:]
    encoding, payload = compress(later, earlier)
    assert encoding is Encoding.ZSTD_PREFIX
    assert len(payload) < 200


@given(st.binary(max_size=200))
def test_hostile_payloads_are_damage(payload: bytes) -> None:
    for encoding in (Encoding.ZSTD, Encoding.ZSTD_PREFIX):
        with pytest.raises(DamageError):
            decompress(encoding, payload, 7_000_000, b"prefix")


def test_a_declared_size_of_eight_gigabytes_is_refused_before_anything_is_allocated() -> None:
    bomb = bytes.fromhex("28b52ffd") + bytes((0xE0,)) + (8 << 30).to_bytes(8, "little") + b"\x01\x00\x00"
    assert zstandard.get_frame_parameters(bomb).content_size == 8 << 30
    with pytest.raises(DamageError):
        decompress(Encoding.ZSTD, bomb, 4096)


@given(st.integers(2, 1 << 40))
def test_padme_adds_at_most_an_eighth_and_is_stable(length: int) -> None:
    padded = padme(length)
    assert length <= padded <= length * 1.12 + 1
    assert padme(padded) == padded
