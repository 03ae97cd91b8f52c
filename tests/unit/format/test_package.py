"""The bytes of a package: all of it or nothing, for whom it was sealed, and nothing else ever comes out of a file."""

import struct
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.hpke import RecipientSecret, new_seed
from jbackupd.codec.signing import SIGNING_SEED_BYTES, SiteSigner
from jbackupd.format import package as format_package
from jbackupd.format.package import (
    BLOCK_BYTES,
    Content,
    FileFact,
    Keys,
    Manifest,
    clerk_key,
    decode_content,
    decode_keys,
    decode_manifest,
    encode_content,
    encode_keys,
    encode_manifest,
    open_by_passphrase,
    open_by_recovery,
    open_data,
    recovery_part,
    seal_data,
)
from jbackupd.model.errors import FormatError, IdentityError, JbackupdError, KeyringError

KEY, PACKAGE = bytes(range(32)), bytes(range(16))
NOW = datetime(2026, 11, 24, tzinfo=UTC)
MANIFEST = Manifest(
    PACKAGE.hex(), 3, "imari", "伊万里市", "saga", "office", "imari/juki@3", NOW, NOW, NOW, 200, "0.1.0",
    {"start.py": FileFact(10, "00" * 32)},
)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(format_package, "_MEMORY_KIB", 64)
    monkeypatch.setattr(format_package, "_ITERATIONS", 1)


def sealed(data, serial=1):
    return b"".join(seal_data(KEY, PACKAGE, serial, data))


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_what_is_sealed_opens_as_it_was(size):
    data = bytes(size)
    assert open_data(KEY, PACKAGE, 1, sealed(data)) == data


def test_another_key_package_or_serial_opens_nothing():
    made = sealed(b"residents")
    for key, package, serial in ((bytes(32), PACKAGE, 1), (KEY, bytes(16), 1), (KEY, PACKAGE, 2)):
        with pytest.raises(JbackupdError):
            open_data(key, package, serial, made)


def blocks_of(data):
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        found.append(data[at : at + 4 + length])
        at += 4 + length
    return found


def test_blocks_that_are_missing_doubled_moved_or_of_another_refresh_are_refused():
    made, other = sealed(bytes(2 * BLOCK_BYTES + 5)), sealed(bytes(2 * BLOCK_BYTES + 5), serial=2)
    one, two, three = blocks_of(made)
    for wrong in ([one, two], [one], [], [one, three], [two, one, three], [one, two, two, three], [one, two, three] * 2,
                  [one, blocks_of(other)[1], three]):
        with pytest.raises(JbackupdError):
            open_data(KEY, PACKAGE, 1, made[:8] + b"".join(wrong))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_one_changed_or_cut_byte_of_the_data_opens_nothing(data):
    made = bytearray(sealed(b"residents of a town" * 5))
    if data.draw(st.booleans()):
        made[data.draw(st.integers(0, len(made) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del made[data.draw(st.integers(0, len(made) - 1)) :]
    with pytest.raises(JbackupdError):
        open_data(KEY, PACKAGE, 1, bytes(made))


def test_the_passphrase_and_the_recovery_key_open_it_and_nothing_else_does():
    secret = RecipientSecret(new_seed())
    fingerprint, part = recovery_part(KEY, PACKAGE, secret.public)
    keys = Keys(fingerprint, part, (clerk_key(KEY, PACKAGE, "kubo", "bcdf-ghjk"),))
    keys = decode_keys(encode_keys(keys))
    assert open_by_passphrase(keys, PACKAGE, "kubo", " ｂｃｄｆ-ｇｈｊｋ ") == KEY
    assert open_by_recovery(keys, PACKAGE, secret) == KEY
    word = "bcdf-ghjk"
    for package, name, typed in ((PACKAGE, "kubo", "bcdf"), (PACKAGE, "mori", word), (bytes(16), "kubo", word)):
        with pytest.raises(KeyringError):
            open_by_passphrase(keys, package, name, typed)
    with pytest.raises(KeyringError):
        open_by_recovery(keys, PACKAGE, RecipientSecret(new_seed()))


@pytest.mark.parametrize("change", [
    {"memory_kib": 1 << 30}, {"iterations": 10**6}, {"iterations": 0}, {"salt": "!"}, {"salt": ""}, {"sealed": "AAAA"},
])
def test_keys_that_ask_for_a_machines_memory_or_are_none_are_refused(change):
    clerk = msgspec.structs.replace(clerk_key(KEY, PACKAGE, "kubo", "word"), **change)
    with pytest.raises((FormatError, KeyringError)):
        open_by_passphrase(Keys("", "", (clerk,)), PACKAGE, "kubo", "word")


def test_a_manifest_is_believed_only_as_its_site_signed_it():
    signer, other = SiteSigner(bytes(SIGNING_SEED_BYTES)), SiteSigner(bytes([1]) * SIGNING_SEED_BYTES)
    made = encode_manifest(MANIFEST, signer)
    assert decode_manifest(made, signer.public) == MANIFEST == decode_manifest(made)
    with pytest.raises(IdentityError):
        decode_manifest(made, other.public)
    with pytest.raises(IdentityError):
        decode_manifest(made.replace(b'"residents":200', b'"residents":201'), signer.public)
    with pytest.raises(FormatError):
        decode_manifest(made.replace(b'"version":1', b'"version":2'))


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
).map(msgspec.json.encode))
@settings(deadline=None, max_examples=150)
def test_no_bytes_bring_anything_but_a_formats_error_out(data):
    for decode in (decode_manifest, decode_keys, decode_content):
        with pytest.raises(FormatError):
            decode(data)


def test_the_content_comes_back():
    content = Content(b"database", b"accounts", b"", "ja")
    assert decode_content(encode_content(content)) == content
