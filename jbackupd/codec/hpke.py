"""Sealing to a recipient who is not here: HPKE with ML-KEM-768 and X25519 together.

A secret is one 32-byte seed, which is what gets split into shares: SHAKE-256 stretches it to the
64-byte ML-KEM seed and the X25519 key, as X-Wing does.

Source: RFC 9180 (HPKE, base mode); FIPS 203; draft-connolly-cfrg-xwing-kem for the stretching.
"""

from __future__ import annotations

import secrets

import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHAKE256, Hash
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from jbackupd.model.errors import FormatError, KeyringError

SEED_BYTES = 32
MLKEM_SEED_BYTES = 64
MLKEM_PUBLIC_BYTES = 1184
PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + 32
FINGERPRINT_BYTES = 16
OVERHEAD_BYTES = 1088 + 32 + 16
"""ML-KEM-768 ciphertext, X25519 ephemeral key, tag."""
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_seed() -> bytes:
    """Return the seed of a new recipient."""
    return secrets.token_bytes(SEED_BYTES)


class RecipientPublic:
    """Who can be sealed to.

    Args:
        data: PUBLIC_BYTES bytes: ML-KEM-768 encapsulation key, X25519 public key.

    Raises:
        FormatError: The bytes are no public key.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) != PUBLIC_BYTES:
            raise FormatError("a recipient's public key has the wrong length")
        self._data = data
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(data[:MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(data[MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError as error:
            raise FormatError("a recipient's public key is malformed") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> RecipientPublic:
        """Return the recipient of public bytes; see the class for what it raises."""
        return cls(data)

    def to_bytes(self) -> bytes:
        """Return PUBLIC_BYTES bytes."""
        return self._data

    @property
    def fingerprint(self) -> bytes:
        """Sixteen bytes that name this recipient."""
        return blake3.blake3(self._data).digest(FINGERPRINT_BYTES)

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Return bytes that only the recipient can open, OVERHEAD_BYTES longer than the data.

        Args:
            context: What it is for; must be the same when it is opened.
        """
        return _SUITE.encrypt(data, self._key, info=context)


class RecipientSecret:
    """Who can open.

    Args:
        seed: SEED_BYTES bytes.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise FormatError("a recipient's seed has the wrong length")
        shake = Hash(SHAKE256(MLKEM_SEED_BYTES + 32))
        shake.update(seed)
        stretched = shake.finalize()
        mlkem = MLKEM768PrivateKey.from_seed_bytes(stretched[:MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(stretched[MLKEM_SEED_BYTES:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = RecipientPublic(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def from_seed(cls, seed: bytes) -> RecipientSecret:
        """Return the recipient of a seed."""
        return cls(seed)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed to this recipient.

        Raises:
            KeyringError: It was sealed to another one, for another context, or a bit has changed.
        """
        try:
            return _SUITE.decrypt(sealed, self._key, info=context)
        except (InvalidTag, ValueError) as error:
            raise KeyringError("a sealed key does not open: it is for another recipient, or damaged") from error

    def __repr__(self) -> str:
        return "RecipientSecret(...)"
