"""Sealing: AES-256-GCM under a key that belongs to one object, with a commitment to that key.

    key ‖ commitment = HKDF-SHA256(session key, salt = object id, info = "jbackupd 1 " + kind, 64 bytes)
    nonce            = slot, 12 bytes big endian
    associated data  = "jbackupd" ‖ format version ‖ kind ‖ object id ‖ slot u32 ‖ plaintext length u32 ‖ tenant

A slot is sealed at most once: an object id is random and its key lives as long as one sealer.
AES-GCM alone does not commit to its key (one ciphertext may open under two keys), so every object
carries the commitment and it is checked before anything is opened.

Source: NIST SP 800-38D; RFC 5869; Albertini et al., "How to Abuse and Fix Authenticated Encryption
Without Key Commitment", USENIX Security 2022.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jbackupd.codec.hashing import Buffer
from jbackupd.model.errors import DamageError, InvariantError, KeyringError
from jbackupd.model.ids import ObjectKind, TenantId

SESSION_KEY_BYTES = 32
OBJECT_KEY_BYTES = 64
"""An object's key and its commitment: opens this object alone."""
TAG_BYTES = 16
NONCE_BYTES = 12

observe_nonce: Callable[[bytes, bytes], None] | None = None
"""Called with every (key, nonce) that seals something; set by the test run, which asserts that none repeats."""


def object_key(session_key: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
    """Return the key of one object and its commitment, OBJECT_KEY_BYTES together; it says nothing of the session's key.

    Args:
        session_key: 32 bytes.
        object_id: 16 bytes: pack id, index id, point id.
        kind: What the object is.
    """
    info = b"jbackupd 1 " + kind.name.lower().encode()
    return HKDF(SHA256(), OBJECT_KEY_BYTES, salt=object_id, info=info).derive(session_key)


def _derive(session_key: bytes, object_id: bytes, kind: ObjectKind) -> tuple[bytes, bytes]:
    both = object_key(session_key, object_id, kind)
    return both[:SESSION_KEY_BYTES], both[SESSION_KEY_BYTES:]


def _associated(kind: ObjectKind, tenant: TenantId, object_id: bytes, slot: int, length: int) -> bytes:
    return b"jbackupd\x01" + bytes((kind,)) + object_id + struct.pack(">II", slot, length) + tenant.encode()


def _observe(key: bytes, nonce: bytes) -> None:
    if observe_nonce is not None:
        observe_nonce(key, nonce)


class PackSealer:
    """Seals the slots of one object.

    Args:
        session_key: 32 bytes.
        tenant: Whose object it is.
        pack_id: 16 random bytes, never used before.
        kind: What the object is.
    """

    def __init__(
        self, session_key: bytes, *, tenant: TenantId, pack_id: bytes, kind: ObjectKind = ObjectKind.PACK
    ) -> None:
        self._key, self.commitment = _derive(session_key, pack_id, kind)
        self._tenant, self._pack_id, self._kind = tenant, pack_id, kind
        self._sealed: set[int] = set()

    def seal(self, slot: int, plaintext: Buffer) -> bytes:
        """Return ciphertext and tag of a slot.

        Args:
            slot: 0 to 2^32 - 1; each at most once.
            plaintext: At most 2^31 - 1 bytes.

        Raises:
            InvariantError: The slot was sealed before.
        """
        if slot in self._sealed:
            raise InvariantError(f"slot {slot} would be sealed twice under one key")
        self._sealed.add(slot)
        nonce = slot.to_bytes(NONCE_BYTES, "big")
        _observe(self._key, nonce)
        encryptor = Cipher(AES256(self._key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(
            _associated(self._kind, self._tenant, self._pack_id, slot, len(plaintext))
        )
        return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


class PackOpener:
    """Opens the slots of one object.

    Args:
        commitment: As the object carries it.

    Raises:
        DamageError: The object was not sealed with this session key, or its head is damaged.
    """

    def __init__(
        self, session_key: bytes, *, tenant: TenantId, pack_id: bytes, commitment: bytes,
        kind: ObjectKind = ObjectKind.PACK,
    ) -> None:
        self._use(object_key(session_key, pack_id, kind), tenant, pack_id, commitment, kind)

    @classmethod
    def with_object_key(
        cls, key: bytes, *, tenant: TenantId, pack_id: bytes, commitment: bytes, kind: ObjectKind = ObjectKind.PACK
    ) -> PackOpener:
        """Return what opens an object with its own key, as `object_key` returns it; raises as the class does."""
        opener = cls.__new__(cls)
        opener._use(key, tenant, pack_id, commitment, kind)
        return opener

    def _use(self, key: bytes, tenant: TenantId, pack_id: bytes, commitment: bytes, kind: ObjectKind) -> None:
        if not hmac.compare_digest(key[SESSION_KEY_BYTES:], commitment):
            raise DamageError("the {kind} was not sealed with its session's key", kind=kind.name.lower())
        self._key, self._tenant, self._pack_id, self._kind = key[:SESSION_KEY_BYTES], tenant, pack_id, kind

    def open(self, slot: int, sealed: Buffer) -> bytes:
        """Return a slot's plaintext.

        Raises:
            DamageError: A bit differs, or the bytes belong to another slot, object, kind or tenant.
        """
        length = len(sealed) - TAG_BYTES
        if length < 0:
            raise DamageError("a sealed slot is shorter than its seal")
        view = memoryview(sealed)
        nonce = slot.to_bytes(NONCE_BYTES, "big")
        decryptor = Cipher(AES256(self._key), GCM(nonce, bytes(view[length:]))).decryptor()
        decryptor.authenticate_additional_data(_associated(self._kind, self._tenant, self._pack_id, slot, length))
        try:
            return decryptor.update(view[:length]) + decryptor.finalize()
        except InvalidTag as error:
            raise DamageError("a seal does not fit its bytes") from error


def seal_blob(key: bytes, data: bytes, *, context: bytes) -> bytes:
    """Return a random nonce, ciphertext and tag; for small site-local files.

    Args:
        key: 32 bytes.
        context: Says what the data is; must be the same when it is opened.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    _observe(key, nonce)
    return nonce + AESGCM(key).encrypt(nonce, data, context)


def open_blob(key: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """Return what `seal_blob` sealed.

    Raises:
        KeyringError: The key or the context is another one, or a bit differs.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise KeyringError("a sealed file does not open: its key is another one, or it is damaged") from error
