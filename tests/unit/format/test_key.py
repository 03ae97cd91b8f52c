"""Key objects: a chain from the recovery seed to every session, told apart from all that is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.format.header import encode_header
from jbackupd.format.key import ID_BYTES, KeyRole, RecoveredChain, decode_key, seal_key
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
