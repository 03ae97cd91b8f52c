"""What is sealed opens in its place only; a slot is sealed once; the whole run watches nonces."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec import seal
from jbackupd.codec.seal import PackOpener, PackSealer, open_blob, seal_blob
from jbackupd.model.errors import DamageError, InvariantError, KeyringError
from jbackupd.model.ids import ObjectKind, TenantId

KEY = b"k" * 32
IMARI = TenantId("imari")


@pytest.fixture(autouse=True)
def watch(monkeypatch, nonce_watch):
    """Watch each of these tests apart: they seal with fixed keys."""
    monkeypatch.setattr(seal, "observe_nonce", type(nonce_watch)())


def sealer(**changes):
    return PackSealer(changes.pop("key", KEY), **{"tenant": IMARI, "pack_id": b"p" * 16} | changes)


def opener(commitment, **changes):
    changed = {"tenant": IMARI, "pack_id": b"p" * 16, "commitment": commitment} | changes
    return PackOpener(changed.pop("key", KEY), **changed)


def test_the_seal_is_that_of_format_1():
    made = PackSealer(bytes(range(32)), tenant=IMARI, pack_id=bytes(range(16)))
    assert made.commitment.hex() == "795dd14889f8460cf4a30a91ffa5a2adb3303828b83d1a672a0874451902a1db"
    assert made.seal(3, b"frame").hex() == "80e1e5de7721f016c94ff6c698b3a1d0a1c292aa5f"


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_what_was_sealed_opens(data, slot):
    pack_id = secrets.token_bytes(16)
    made = sealer(pack_id=pack_id)
    sealed = made.seal(slot, data)
    assert len(sealed) == len(data) + 16
    assert opener(made.commitment, pack_id=pack_id).open(slot, sealed) == data


def test_every_flipped_bit_is_found():
    made = sealer()
    sealed = made.seal(1, b"a frame of a resident register")
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamageError):
            opener(made.commitment).open(1, changed)


def test_a_seal_opens_in_its_slot_object_kind_and_tenant_only():
    made = sealer()
    sealed = made.seal(1, b"frame")
    with pytest.raises(DamageError, match="does not fit"):
        opener(made.commitment, tenant=TenantId("karatsu")).open(1, sealed)
    for slot in (0, 2, 2**32 - 1):
        with pytest.raises(DamageError, match="does not fit"):
            opener(made.commitment).open(slot, sealed)
    for changes in ({"key": b"x" * 32}, {"pack_id": b"q" * 16}, {"kind": ObjectKind.INDEX}):
        with pytest.raises(DamageError, match="not sealed with its session's key"):
            opener(made.commitment, **changes)
    for length in (0, 15, 20):
        with pytest.raises(DamageError):
            opener(made.commitment).open(1, sealed[:length])


def test_a_slot_is_sealed_once():
    made = sealer()
    made.seal(7, b"one")
    with pytest.raises(InvariantError, match="slot 7"):
        made.seal(7, b"two")


def test_the_watch_over_the_test_run_finds_an_object_id_that_was_drawn_twice():
    sealer().seal(0, b"one")
    with pytest.raises(AssertionError, match="same nonce"):
        sealer().seal(0, b"two")


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_a_blob_opens_with_its_key_and_context_only(data, context):
    sealed = seal_blob(KEY, data, context=context)
    assert open_blob(KEY, sealed, context=context) == data
    for key, bytes_, where in (
        (b"x" * 32, sealed, context), (KEY, sealed, context + b"x"), (KEY, sealed[:-1], context), (KEY, b"", context),
        (KEY, bytes((sealed[0] ^ 1,)) + sealed[1:], context),
    ):
        with pytest.raises(KeyringError):
            open_blob(key, bytes_, context=where)


def test_equal_blobs_differ_when_sealed():
    assert seal_blob(KEY, b"same", context=b"") != seal_blob(KEY, b"same", context=b"")
