"""A key object: a secret sealed to who may open it.

    offset  size  field
    0       8     object header, kind 4 (format.header)
    8       ...   msgpack array [role, tenant, id, label, public, recipient, sealed]

    role       1 tenant: the tenant secret, sealed to the recovery key; public = the recovery public key
               2 epoch: an epoch's seed, sealed to the recovery key; public = the epoch's public key
               3 session: a session key, sealed to an epoch's key; public is empty
               4 kept: the keys of single objects of an erased epoch, sealed to a later epoch's key; public is empty
               5 record: what was done to the keys, signed, not sealed (format.keyrecord); public is empty
    tenant     the tenant's id
    id         16 bytes: zeros, the epoch id, the session id, random, or the record's digest
    label      the epoch's name (a fiscal year, or YEAR-NUMBER), else empty
    recipient  16 bytes: fingerprint of the public key that `sealed` is for (codec.hpke); zeros for a record
    sealed     HPKE, with "jbackupd 1 key" ‖ role ‖ id ‖ tenant as its info

The tenant secret, an epoch's seed and a session key have 32 bytes each. So who has the recovery seed
opens every epoch, and through the epochs every session. One epoch may have several key objects, for a
recovery key and those that followed it. Kept keys are a sequence of KEPT_BYTES each:

    0       1     kind of the object, 1 to 3
    1       16    its id: pack id, index id, point id
    17      64    its key ‖ commitment (codec.seal)
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from jbackupd.codec.hpke import FINGERPRINT_BYTES, PUBLIC_BYTES, SEED_BYTES, RecipientPublic, RecipientSecret
from jbackupd.codec.seal import OBJECT_KEY_BYTES, object_key
from jbackupd.format.header import HEADER_BYTES, check_header, encode_header
from jbackupd.model.errors import DamageError, FormatError, KeyMissingError, KeyringError
from jbackupd.model.ids import ObjectKind, TenantId, is_word

ID_BYTES = 16
NO_ID = bytes(ID_BYTES)
NO_RECIPIENT = bytes(FINGERPRINT_BYTES)
LABEL_CHARACTERS_MAX = 32
KEPT_BYTES = 1 + ID_BYTES + OBJECT_KEY_BYTES
KEPT_MAX = 10_000
"""Keys in one key object: 810 kB, a second of a thin line."""


class KeyRole(IntEnum):
    """What a key object holds; numbers are part of format 1."""

    TENANT = 1
    EPOCH = 2
    SESSION = 3
    KEPT = 4
    RECORD = 5


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
    expected_public = PUBLIC_BYTES if role in (KeyRole.TENANT, KeyRole.EPOCH) else 0
    if (
        role not in KeyRole._value2member_map_ or not is_word(tenant) or len(key_id) != ID_BYTES
        or len(public) != expected_public or len(recipient) != FINGERPRINT_BYTES or len(label) > LABEL_CHARACTERS_MAX
        or (role == KeyRole.RECORD) != (recipient == NO_RECIPIENT)
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
        self._tenant = tenant
        self._epochs: dict[bytes, list[KeyObject]] = {}
        for key in mine:
            if key.role is KeyRole.EPOCH:
                self._epochs.setdefault(RecipientPublic(key.public).fingerprint, []).append(key)
        self._sessions = {key.id: key for key in own if key.role is KeyRole.SESSION}
        self._kept_objects = [key for key in own if key.role is KeyRole.KEPT]
        self._kept: dict[tuple[ObjectKind, bytes], bytes] | None = None
        self._kept_damage: list[DamageError] = []
        self._opened: dict[bytes, RecipientSecret] = {}

    @property
    def recovery_public(self) -> RecipientPublic:
        """The recovery key's public half."""
        return self._recovery.public

    @property
    def sessions(self) -> tuple[bytes, ...]:
        """The ids of all sessions that have a key object."""
        return tuple(self._sessions)

    @property
    def epochs(self) -> tuple[str, ...]:
        """The names of the epochs that the recovery key opens."""
        return tuple(objects[0].label for objects in self._epochs.values())

    def epoch_of(self, session_id: bytes) -> bytes:
        """Return the fingerprint of the epoch that a session of `sessions` is sealed to."""
        return self._sessions[session_id].recipient

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

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key (codec.seal): by its session, or kept when the session's epoch was erased.

        Raises:
            KeyMissingError: Neither is there.
            DamageError: A key object does not open.
        """
        try:
            return object_key(self.session_key(session_id), object_id, kind)
        except KeyMissingError:
            kept = self.kept().get((kind, object_id))
            if kept is not None:
                return kept
            for damage in self._kept_damage:
                raise damage from None
            raise

    def sealed_to(self, recipient: RecipientPublic) -> list[bytes]:
        """Return key objects of the tenant secret and of every epoch for another recovery key.

        Raises:
            DamageError: An epoch's key object does not open: its sessions would be lost to the new key.
        """
        root = seal_key(
            KeyRole.TENANT, self.tenant_secret, recipient, tenant=self._tenant, public=recipient.to_bytes()
        )
        wraps = []
        for fingerprint, objects in self._epochs.items():
            key, seed = objects[0], self._epoch_seed(fingerprint)
            wraps.append(seal_key(
                KeyRole.EPOCH, seed, recipient, tenant=self._tenant, key_id=key.id, label=key.label, public=key.public
            ))
        return [root, *wraps]

    def _epoch(self, fingerprint: bytes) -> RecipientSecret:
        if fingerprint not in self._opened:
            self._opened[fingerprint] = RecipientSecret(self._epoch_seed(fingerprint))
        return self._opened[fingerprint]

    def _epoch_seed(self, fingerprint: bytes) -> bytes:
        """Return an epoch's seed; anybody can seal to a public key, so what does not fit the epoch is passed over."""
        objects = self._epochs.get(fingerprint)
        if not objects:
            raise KeyMissingError("the vault has no key object for the epoch {epoch}", epoch=fingerprint.hex())
        for key in objects:
            with contextlib.suppress(DamageError):
                seed = _open(self._recovery, key)
                if RecipientSecret(seed).public.fingerprint == fingerprint:
                    return seed
        raise _damaged(objects[0])

    def kept(self) -> Mapping[tuple[ObjectKind, bytes], bytes]:
        """Return all kept keys, by kind and id of the object."""
        if self._kept is None:
            self._kept = {}
            for key in self._kept_objects:
                try:
                    self._kept |= decode_kept(_opened(self._epoch(key.recipient), key), key)
                except KeyMissingError:
                    continue
                except DamageError as error:
                    self._kept_damage.append(error)
        return self._kept

    def __repr__(self) -> str:
        return "RecoveredChain(...)"


def seal_kept(
    keys: Mapping[tuple[ObjectKind, bytes], bytes], epoch: RecipientPublic, *, tenant: TenantId
) -> list[bytes]:
    """Return key objects that hold the keys of single objects.

    Args:
        keys: By kind and id of the object, as `codec.seal.object_key` returns them.
        epoch: Whose private key opens them.
    """
    packed = [bytes((kind,)) + object_id + key for (kind, object_id), key in sorted(keys.items())]
    return [
        seal_key(
            KeyRole.KEPT, b"".join(packed[begin : begin + KEPT_MAX]), epoch, tenant=tenant,
            key_id=secrets.token_bytes(ID_BYTES),
        )
        for begin in range(0, len(packed), KEPT_MAX)
    ]


def decode_kept(data: bytes, key: KeyObject) -> dict[tuple[ObjectKind, bytes], bytes]:
    """Return the keys of single objects that an opened key object holds.

    Raises:
        DamageError: They are malformed.
    """
    if len(data) % KEPT_BYTES:
        raise _damaged(key)
    pieces = [data[begin : begin + KEPT_BYTES] for begin in range(0, len(data), KEPT_BYTES)]
    if any(piece[0] not in _KEPT_KINDS for piece in pieces):
        raise _damaged(key)
    return {(ObjectKind(piece[0]), piece[1:17]): piece[17:] for piece in pieces}


_KEPT_KINDS = (ObjectKind.PACK, ObjectKind.INDEX, ObjectKind.POINT)


def _opened(recipient: RecipientSecret, key: KeyObject) -> bytes:
    try:
        return recipient.open(key.sealed, key.context)
    except KeyringError as error:
        raise _damaged(key) from error


def _open(recipient: RecipientSecret, key: KeyObject) -> bytes:
    """Return the SEED_BYTES bytes that a key object of the tenant, an epoch or a session holds."""
    secret = _opened(recipient, key)
    if len(secret) != SEED_BYTES:
        raise _damaged(key)
    return secret


def _damaged(key: KeyObject) -> DamageError:
    return DamageError(
        "the key object of {role} {id} is damaged: it does not open", "fetch the key objects again from a peer",
        role=key.role.name.lower(), id=key.label or (key.id.hex() if key.id != NO_ID else key.tenant),
    )
