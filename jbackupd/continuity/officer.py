"""An officer's key: a file that only its passphrase opens, and the card that goes with it."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.codec.signing import SIGNING_SEED_BYTES, SiteSigner
from jbackupd.format.identity import Card, CardKind
from jbackupd.model.errors import KeyringError, UsageError

TITLE = b"# jbackupd officer key 1\n"
PASSPHRASE_CHARACTERS_MIN = 8
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 1, 64 * 1024
"""RFC 9106, second recommendation, with one lane: 0.2 s here, for who guesses as well."""
_CONTEXT = b"jbackupd 1 officer key"
_SALT_BYTES = 16


class _Saved(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    officer: str
    salt: bytes
    iterations: int
    memory_kib: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class OfficerKey:
    """An opened key."""

    officer: str
    signer: SiteSigner

    @property
    def card(self) -> Card:
        """The card that goes into the configuration of every site."""
        return Card(CardKind.OFFICER, self.officer, self.signer.public)


def make_officer(officer: str, passphrase: str) -> tuple[OfficerKey, bytes]:
    """Return a new key and its file's bytes.

    Raises:
        UsageError: The passphrase is too short.
    """
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise UsageError(
            "the passphrase is too short", "use at least {count} characters, several words for example",
            count=PASSPHRASE_CHARACTERS_MIN,
        )
    seed, salt = secrets.token_bytes(SIGNING_SEED_BYTES), secrets.token_bytes(_SALT_BYTES)
    sealed = seal_blob(
        _stretch(passphrase, salt, _ITERATIONS, _MEMORY_KIB), seed, context=_CONTEXT + officer.encode()
    )
    saved = msgspec.msgpack.encode(_Saved(officer, salt, _ITERATIONS, _MEMORY_KIB, sealed))
    return OfficerKey(officer, SiteSigner(seed)), TITLE + base64.encodebytes(saved)


def open_officer(data: bytes, passphrase: str) -> OfficerKey:
    """Open a key file.

    Raises:
        KeyringError: The passphrase is wrong, or the file is damaged.
    """
    try:
        if not data.startswith(TITLE):
            raise ValueError("no title")
        saved = msgspec.msgpack.decode(base64.b64decode(data[len(TITLE) :]), type=_Saved)
        if len(saved.salt) < _SALT_BYTES or not (1 <= saved.iterations <= 16 and 8 <= saved.memory_kib <= 1 << 20):
            raise ValueError("parameters out of range")
    except (ValueError, msgspec.DecodeError) as error:
        raise KeyringError(
            "the file is not an officer's key", "use the file that 'jbackupd officer create' made"
        ) from error
    key = _stretch(passphrase, saved.salt, saved.iterations, saved.memory_kib)
    try:
        seed = open_blob(key, saved.sealed, context=_CONTEXT + saved.officer.encode())
    except KeyringError as error:
        raise KeyringError(
            "the key of {officer} does not open: the passphrase is wrong, or the file is damaged",
            "try the passphrase again; another officer may approve instead", officer=saved.officer,
        ) from error
    return OfficerKey(saved.officer, SiteSigner(seed))


def _stretch(passphrase: str, salt: bytes, iterations: int, memory_kib: int) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=iterations, lanes=_LANES, memory_cost=memory_kib).derive(
        passphrase.encode()
    )
