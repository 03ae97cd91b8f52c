"""Names and keyed hashes are those of format 1, and two tenants have nothing in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.hashing import ContentHash, name_hasher, name_of

SECRET = bytes(range(32))


def test_a_name_is_plain_blake3():
    assert name_of(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_keyed_hashes_are_those_of_format_1():
    hashes = ContentHash(SECRET)
    digest = hashes.file_digest()
    digest.update(b"ab")
    digest.update(b"c")
    assert hashes.chunk_id(b"abc").hex() == "dea6c5e09eca4ad512d82bf7eec02333"
    assert hashes.frame_id(b"abc").hex() == "4a824f433a6b85a348792139570bb3b8"
    assert hashes.cut_seed == 2367223522617604946
    assert digest.digest().hex() == "847d39e8a7843fdf97117873aeee635c3713f2bcadfa689b9b49a51356c778af"


@given(st.binary(max_size=100))
def test_equal_content_of_two_tenants_has_nothing_in_common(data):
    one, other = ContentHash(SECRET), ContentHash(bytes(32))
    ids = {one.chunk_id(data), other.chunk_id(data), one.frame_id(data), other.frame_id(data), name_of(data)[:16]}
    assert len(ids) == 5
    assert one.cut_seed != other.cut_seed and 0 <= one.cut_seed < 1 << 63


@given(st.lists(st.binary(max_size=50)))
def test_a_name_does_not_depend_on_how_bytes_arrive(parts):
    hasher = name_hasher()
    for part in parts:
        hasher.update(part)
    assert hasher.digest() == name_of(b"".join(parts))


def test_a_secret_of_another_length_is_a_defect():
    with pytest.raises(ValueError, match="32 bytes"):
        ContentHash(bytes(31))
