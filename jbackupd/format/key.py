"""A key object: a secret sealed to who may open it.

    offset  size  field
    0       8     object header, kind 4 (format.header)
    8       ...   msgpack array [role, tenant, id, label, public, recipient, sealed]

    role       1 tenant: the tenant secret, sealed to the recovery key; public = the recovery public key
               2 epoch: an epoch's seed, sealed to the recovery key; public = the epoch's public key
               3 session: a session key, sealed to an epoch's key; public is empty
    tenant     the tenant's id
    id         16 bytes: zeros, the epoch id, or the session id
    label      the epoch's fiscal year, else empty
    recipient  16 bytes: fingerprint of the public key that `sealed` is for (codec.hpke)
    sealed     HPKE, with "jbackupd 1 key" ‖ role ‖ id ‖ tenant as its info

The tenant secret, an epoch's seed and a session key have 32 bytes each. So who has the recovery seed
opens every epoch, and through the epochs every session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from jbackupd.codec.hpke import FINGERPRINT_BYTES, PUBLIC_BYTES, SEED_BYTES, RecipientPublic, RecipientSecret
from jbackupd.format.header import HEADER_BYTES, check_header, encode_header
from jbackupd.model.errors import DamageError, FormatError, KeyMissingError, KeyringError
from jbackupd.model.ids import ObjectKind, TenantId, is_word

ID_BYTES = 16
NO_ID = bytes(ID_BYTES)


class KeyRole(IntEnum):
    """What a key object holds; numbers are part of format 1."""

    TENANT = 1
    EPOCH = 2
    SESSION = 3


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A decoded key object."""

    role: KeyRole
    tenant: TenantId
    id: bytes
    label: str
    public: bytes
    recipient: bytes
    sealed: bytes

    @property
    def context(self) -> bytes:
        """What `sealed` is bound to."""
        return _context(self.role, self.tenant, self.id)


_decoder = msgspec.msgpack.Decoder(tuple[int, str, bytes, str, bytes, bytes, bytes])


def _context(role: KeyRole, tenant: TenantId, key_id: bytes) -> bytes:
    return b"jbackupd 1 key" + bytes((role,)) + key_id + tenant.encode()


def seal_key(
    role: KeyRole, secret: bytes, recipient: RecipientPublic, *, tenant: TenantId, key_id: bytes = NO_ID,
    label: str = "", public: bytes = b"",
) -> bytes:
    """Return a key object that holds a secret."""
    return encode_header(ObjectKind.KEY) + msgspec.msgpack.encode((
        int(role), tenant, key_id, label, public, recipient.fingerprint,
        recipient.seal(secret, _context(role, tenant, key_id)),
    ))


def decode_key(data: bytes) -> KeyObject:
    """Decode a key object.

    Raises:
        FormatError: The bytes are not a key object.
    """
    check_header(data, ObjectKind.KEY)
    try:
        role, tenant, key_id, label, public, recipient, sealed = _decoder.decode(data[HEADER_BYTES:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("a key object is malformed") from error
    expected_public = 0 if role == KeyRole.SESSION else PUBLIC_BYTES
    if (
        role not in KeyRole._value2member_map_ or not is_word(tenant) or len(key_id) != ID_BYTES
        or len(public) != expected_public or len(recipient) != FINGERPRINT_BYTES or len(label) > 32
    ):
        raise FormatError("a key object is out of range")
    fingerprint = RecipientPublic(public).fingerprint if public else b""
    if role == KeyRole.TENANT and fingerprint != recipient:
        raise FormatError("a key object is out of range")
    return KeyObject(KeyRole(role), TenantId(tenant), key_id, label, public, recipient, sealed)


class RecoveredChain:
    """From the recovery seed to every session key of a tenant. Opens a key only when it is asked for.

    Args:
        seed: The recovery seed.
        tenant: Whose keys.
        objects: The vault's key objects, decoded; those of other tenants are left aside.

    Raises:
        KeyringError: The seed is of another tenant or recovery key, or the tenant's key object is missing.
        DamageError: The tenant's key object does not open.
    """

    def __init__(self, seed: bytes, tenant: TenantId, objects: Iterable[KeyObject]) -> None:
        self._recovery = RecipientSecret(seed)
        own = [key for key in objects if key.tenant == tenant]
        mine = [key for key in own if key.recipient == self.recovery_public.fingerprint]
        roots = [key for key in mine if key.role is KeyRole.TENANT]
        if not roots:
            raise KeyringError(
                "the recovered key opens nothing of {tenant}",
                "check that the shares are this tenant's and of its newest set", tenant=tenant,
            )
        self.tenant_secret = _open(self._recovery, roots[0])
        self._epochs = {RecipientPublic(k.public).fingerprint: k for k in mine if k.role is KeyRole.EPOCH}
        self._sessions = {key.id: key for key in own if key.role is KeyRole.SESSION}
        self._opened: dict[bytes, RecipientSecret] = {}

    @property
    def recovery_public(self) -> RecipientPublic:
        """The recovery key's public half."""
        return self._recovery.public

    @property
    def sessions(self) -> tuple[bytes, ...]:
        """The ids of all sessions that have a key object."""
        return tuple(self._sessions)

    def session_key(self, session_id: bytes) -> bytes:
        """Return a session's key.

        Raises:
            KeyMissingError: There is no key object for it, or none for its epoch.
            DamageError: A key object does not open.
        """
        key = self._sessions.get(session_id)
        if key is None:
            raise KeyMissingError("the vault has no key object for the session {session}", session=session_id.hex())
        return _open(self._epoch(key.recipient), key)

    def _epoch(self, fingerprint: bytes) -> RecipientSecret:
        if fingerprint not in self._opened:
            key = self._epochs.get(fingerprint)
            if key is None:
                raise KeyMissingError("the vault has no key object for the epoch {epoch}", epoch=fingerprint.hex())
            self._opened[fingerprint] = RecipientSecret(_open(self._recovery, key))
        return self._opened[fingerprint]

    def __repr__(self) -> str:
        return "RecoveredChain(...)"


def _open(recipient: RecipientSecret, key: KeyObject) -> bytes:
    """Return what a key object holds; SEED_BYTES bytes whatever its role."""
    try:
        secret = recipient.open(key.sealed, key.context)
    except KeyringError as error:
        raise _damaged(key) from error
    if len(secret) != SEED_BYTES:
        raise _damaged(key)
    return secret


def _damaged(key: KeyObject) -> DamageError:
    return DamageError(
        "the key object of {role} {id} is damaged: it does not open", "fetch the key objects again from a peer",
        role=key.role.name.lower(), id=key.label or (key.id.hex() if key.id != NO_ID else key.tenant),
    )
