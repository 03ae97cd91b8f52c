"""Signatures of a site or a person: Ed25519 and ML-DSA-65 together, both must verify.

Two schemes, because heads are evidence for decades: one is well tried, the other withstands a
quantum computer. The context is bound into both, so that a signature made for one purpose is worth
nothing for another.

Source: RFC 8032; FIPS 204 (context string as defined there).
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from jbackupd.model.errors import FormatError, IdentityError

SIGNING_SEED_BYTES = 64
ED25519_SIGNATURE_BYTES = 64
MLDSA65_SIGNATURE_BYTES = 3309
SIGNATURE_BYTES = ED25519_SIGNATURE_BYTES + MLDSA65_SIGNATURE_BYTES
ED25519_PUBLIC_BYTES = 32
MLDSA65_PUBLIC_BYTES = 1952
PUBLIC_BYTES = ED25519_PUBLIC_BYTES + MLDSA65_PUBLIC_BYTES


def _framed(context: bytes, message: bytes) -> bytes:
    """Return what Ed25519 signs: it has no context of its own."""
    return struct.pack("<B", len(context)) + context + message


class SiteVerifier:
    """The public half.

    Args:
        public: PUBLIC_BYTES bytes, Ed25519 first.

    Raises:
        FormatError: The bytes are no public keys.
    """

    def __init__(self, public: bytes) -> None:
        if len(public) != PUBLIC_BYTES:
            raise FormatError("a signing public key has the wrong length")
        self._public = public
        try:
            self._ed25519 = Ed25519PublicKey.from_public_bytes(public[:ED25519_PUBLIC_BYTES])
            self._mldsa = MLDSA65PublicKey.from_public_bytes(public[ED25519_PUBLIC_BYTES:])
        except ValueError as error:
            raise FormatError("a signing public key is malformed") from error

    def to_bytes(self) -> bytes:
        """Return PUBLIC_BYTES bytes."""
        return self._public

    @classmethod
    def from_bytes(cls, data: bytes) -> SiteVerifier:
        """Return the verifier of public keys; see the class for what it raises."""
        return cls(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SiteVerifier) and other._public == self._public

    def __hash__(self) -> int:
        return hash(self._public)

    def verify(self, context: bytes, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            IdentityError: One of the two signatures does not fit.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise IdentityError("a signature has the wrong length")
        try:
            self._ed25519.verify(signature[:ED25519_SIGNATURE_BYTES], _framed(context, message))
            self._mldsa.verify(signature[ED25519_SIGNATURE_BYTES:], message, context)
        except InvalidSignature as error:
            raise IdentityError(
                "a signature does not fit: the signer is another one, or a bit has changed",
                "compare the card in the configuration with the signer's own",
            ) from error


class SiteSigner:
    """The private half.

    Args:
        seed: SIGNING_SEED_BYTES random bytes: Ed25519 first, then ML-DSA-65.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SIGNING_SEED_BYTES:
            raise FormatError("a signing seed has the wrong length")
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(seed[:32])
        self._mldsa = MLDSA65PrivateKey.from_seed_bytes(seed[32:])

    @classmethod
    def from_seed(cls, seed: bytes) -> SiteSigner:
        """Return the signer of a seed."""
        return cls(seed)

    @property
    def public(self) -> SiteVerifier:
        """The public half."""
        return SiteVerifier(
            self._ed25519.public_key().public_bytes_raw() + self._mldsa.public_key().public_bytes_raw()
        )

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Return SIGNATURE_BYTES bytes: Ed25519, then ML-DSA-65.

        Args:
            context: What the signature is for, at most 255 bytes.
        """
        return self._ed25519.sign(_framed(context, message)) + self._mldsa.sign(message, context)

    def __repr__(self) -> str:
        return "SiteSigner(...)"
