"""Key objects: a chain from the recovery seed to every session, told apart from all that is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.codec.seal import object_key
from jbackupd.format.header import encode_header
from jbackupd.format.key import ID_BYTES, KeyRole, RecoveredChain, decode_key, seal_kept, seal_key
from jbackupd.model.errors import DamageError, FormatError, JbackupdError, KeyMissingError, KeyringError
from jbackupd.model.ids import ObjectKind, TenantId

IMARI = TenantId("imari")
SEED = bytes(range(32))
RECOVERY = RecipientSecret(SEED)
EPOCH_SEED = b"e" * 32
EPOCH = RecipientSecret(EPOCH_SEED)
SESSION = b"s" * ID_BYTES

TENANT_OBJECT = seal_key(
    KeyRole.TENANT, b"t" * 32, RECOVERY.public, tenant=IMARI, public=RECOVERY.public.to_bytes()
)
EPOCH_OBJECT = seal_key(
    KeyRole.EPOCH, EPOCH_SEED, RECOVERY.public, tenant=IMARI, key_id=b"i" * ID_BYTES, label="2026",
    public=EPOCH.public.to_bytes(),
)
SESSION_OBJECT = seal_key(KeyRole.SESSION, b"k" * 32, EPOCH.public, tenant=IMARI, key_id=SESSION)
ALL = (SESSION_OBJECT, TENANT_OBJECT, EPOCH_OBJECT)


def chain(*objects, seed=SEED, tenant=IMARI):
    return RecoveredChain(seed, tenant, [decode_key(data) for data in objects])


def test_the_recovery_seed_opens_everything():
    opened = chain(*ALL)
    assert (opened.tenant_secret, opened.session_key(SESSION), opened.sessions) == (b"t" * 32, b"k" * 32, (SESSION,))
    assert opened.recovery_public.fingerprint == RECOVERY.public.fingerprint
    assert repr(opened) == "RecoveredChain(...)"


def test_a_key_object_tells_in_clear_what_it_is_for_and_nothing_more():
    key = decode_key(SESSION_OBJECT)
    assert (key.role, key.tenant, key.id, key.recipient) == (KeyRole.SESSION, IMARI, SESSION, EPOCH.public.fingerprint)
    assert b"k" * 32 not in SESSION_OBJECT


@pytest.mark.parametrize(("seed", "tenant"), [(bytes(32), IMARI), (SEED, TenantId("karatsu"))])
def test_another_seed_or_tenant_opens_nothing(seed, tenant):
    with pytest.raises(KeyringError, match="opens nothing of") as caught:
        chain(*ALL, seed=seed, tenant=tenant)
    assert caught.value.exit_code == 6


def test_a_missing_epoch_or_session_is_told():
    with pytest.raises(KeyMissingError, match="session 73737373"):
        chain(TENANT_OBJECT, EPOCH_OBJECT).session_key(SESSION)
    with pytest.raises(KeyMissingError, match="epoch"):
        chain(TENANT_OBJECT, SESSION_OBJECT).session_key(SESSION)


def test_a_key_bound_to_another_tenant_id_or_role_is_damage_and_named():
    moved = seal_key(KeyRole.SESSION, b"k" * 32, EPOCH.public, tenant=IMARI, key_id=b"x" * ID_BYTES)
    renamed = moved.replace(b"x" * ID_BYTES, SESSION)
    with pytest.raises(DamageError, match="key object of session 73737373"):
        chain(TENANT_OBJECT, EPOCH_OBJECT, renamed).session_key(SESSION)
    with pytest.raises(DamageError, match="key object of epoch 2026"):
        chain(TENANT_OBJECT, _flipped(EPOCH_OBJECT), SESSION_OBJECT).session_key(SESSION)
    with pytest.raises(DamageError, match="key object of tenant imari"):
        chain(_flipped(TENANT_OBJECT))
    short = seal_key(KeyRole.SESSION, b"k" * 31, EPOCH.public, tenant=IMARI, key_id=SESSION)
    with pytest.raises(DamageError, match="key object of session"):
        chain(TENANT_OBJECT, EPOCH_OBJECT, short).session_key(SESSION)


def _flipped(data: bytes) -> bytes:
    """Change the last byte: of the sealed part."""
    return data[:-1] + bytes((data[-1] ^ 1,))


def test_every_flipped_bit_is_told_or_changes_nothing_but_the_label():
    for data in ALL:
        others = [item for item in ALL if item is not data]
        for bit in range(0, len(data) * 8, 13):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                found = chain(*others, bytes(changed)).session_key(SESSION)
            except JbackupdError:
                continue
            assert found == b"k" * 32
            assert changed.replace(decode_key(bytes(changed)).label.encode(), b"2026", 1) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_a_key_object_or_malformed(data):
    for candidate in (data, encode_header(ObjectKind.KEY) + data):
        with pytest.raises(FormatError):
            decode_key(candidate)


KEPT = {(ObjectKind.POINT, b"p" * 16): b"1" * 64, (ObjectKind.PACK, b"q" * 16): b"2" * 64}


def test_kept_keys_stand_in_for_a_session_that_does_not_open():
    other = RecipientSecret(b"o" * 32)
    lost = seal_key(KeyRole.SESSION, b"k" * 32, other.public, tenant=IMARI, key_id=b"l" * ID_BYTES)
    (kept,) = seal_kept(KEPT, EPOCH.public, tenant=IMARI)
    opened = chain(*ALL, lost, kept)
    for (kind, object_id), key in KEPT.items():
        assert opened.object_key(b"l" * ID_BYTES, object_id, kind) == key
    with pytest.raises(KeyMissingError):
        opened.object_key(b"l" * ID_BYTES, b"p" * 16, ObjectKind.PACK)
    assert opened.object_key(SESSION, b"p" * 16, ObjectKind.POINT) == object_key(b"k" * 32, b"p" * 16, ObjectKind.POINT)


def test_many_kept_keys_are_divided_among_objects(monkeypatch):
    monkeypatch.setattr("jbackupd.format.key.KEPT_MAX", 3)
    keys = {(ObjectKind.PACK, bytes([n]) * 16): bytes([n]) * 64 for n in range(8)}
    objects = seal_kept(keys, EPOCH.public, tenant=IMARI)
    assert len(objects) == 3
    opened = chain(*ALL, *objects)
    assert all(opened.object_key(b"l" * ID_BYTES, key[1], key[0]) == value for key, value in keys.items())
    assert seal_kept({}, EPOCH.public, tenant=IMARI) == []


@pytest.mark.parametrize("data", [b"\x01" * 80, b"\x04" + bytes(80), b"\x00" * 81, b"\x01" * 82])
def test_kept_keys_of_another_shape_are_damage(data):
    odd = seal_key(KeyRole.KEPT, data, EPOCH.public, tenant=IMARI, key_id=b"r" * ID_BYTES)
    with pytest.raises(DamageError):
        chain(*ALL, odd).object_key(b"l" * ID_BYTES, b"p" * 16, ObjectKind.POINT)
    (kept,) = seal_kept(KEPT, EPOCH.public, tenant=IMARI)
    assert chain(*ALL, odd, kept).object_key(b"l" * ID_BYTES, b"p" * 16, ObjectKind.POINT) == b"1" * 64


def test_a_forged_key_object_of_an_epoch_beside_the_right_one_costs_nothing():
    """Anybody can seal to a public key; a seed that does not give the epoch's key is passed over."""
    forged = seal_key(
        KeyRole.EPOCH, b"f" * 32, RECOVERY.public, tenant=IMARI, key_id=b"i" * ID_BYTES, label="2026",
        public=EPOCH.public.to_bytes(),
    )
    for objects in ((forged, *ALL), (*ALL, forged)):
        assert chain(*objects).session_key(SESSION) == b"k" * 32
    with pytest.raises(DamageError, match="epoch 2026"):
        chain(TENANT_OBJECT, forged, SESSION_OBJECT).session_key(SESSION)


def test_everything_can_be_sealed_to_another_recovery_key():
    following = RecipientSecret(b"n" * 32)
    wraps = chain(*ALL).sealed_to(following.public)
    opened = chain(*wraps, SESSION_OBJECT, seed=b"n" * 32)
    assert (opened.tenant_secret, opened.session_key(SESSION), opened.epochs) == (b"t" * 32, b"k" * 32, ("2026",))
    with pytest.raises(KeyringError):
        chain(*wraps, SESSION_OBJECT)
