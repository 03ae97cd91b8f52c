"""A municipality's package (市町村パッケージ): its manifest, its keys, its data. See docs/format/package.md.

    manifest.json       what it is, in two lines: JSON of Manifest, and {"signature": base64} of the site over the
                        first line without its newline (codec.signing, context "jbackupd package")
    keys.json           the package key, sealed to each who may open it: JSON of Keys
    data-SERIAL.sealed  the data, sealed in blocks

    data-SERIAL.sealed  magic "JBPKG01" NUL, then blocks of at most BLOCK_BYTES of plaintext, each a u32 (little
                        endian) of its sealed length and seal_blob under the data key, context
                        "jbackupd 1 package data " ‖ package id 16 ‖ serial u32 ‖ number u32 ‖ last (0 or 1)
                        data key = BLAKE3 derive-key, context "jbackupd 1 package data key", of package key ‖ serial u32

The plaintext is a msgpack map of Content. A block that is missing, doubled, moved, of another serial, or behind the
last one is refused.
"""

from __future__ import annotations

import base64
import secrets
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeVar

import blake3
import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from jbackupd.codec.hpke import RecipientPublic, RecipientSecret
from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.model.errors import FormatError, KeyringError

T = TypeVar("T")

VERSION = 1
MANIFEST, KEYS = "manifest.json", "keys.json"
MAGIC = b"JBPKG01\0"
KEY_BYTES = 32
ID_BYTES = 16
BLOCK_BYTES = 1 << 20
SIGNATURE_CONTEXT = b"jbackupd package"
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 1, 64 * 1024
_MEMORY_KIB_MAX = 1 << 20
_LENGTH = struct.Struct("<I")
_SEALED_MAX = BLOCK_BYTES + 64


class FileFact(msgspec.Struct, frozen=True, array_like=True):
    """A file of the package: its length, and its SHA-256 in hex, which Python checks without any library."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a package is.

    Attributes:
        id: Hex; the same for every refresh.
        serial: Counts the refreshes.
        as_of: 基準日時 of the residents.
        program: Version of the program in it.
        files: By path; manifest.json is not among them, nor what the desk writes.
    """

    id: str
    serial: int
    tenant: str
    title: str
    site: str
    holder: str
    point: str
    as_of: datetime
    made_at: datetime
    expires_at: datetime
    residents: int
    program: str
    files: dict[str, FileFact]
    version: int = VERSION


class ClerkKey(msgspec.Struct, frozen=True):
    """The package key, sealed under a clerk's passphrase."""

    name: str
    salt: str
    iterations: int
    memory_kib: int
    sealed: str


class Keys(msgspec.Struct, frozen=True):
    """The package key for each who may open it.

    Attributes:
        recovery_key: Fingerprint of the recovery key, hex.
        sealed: HPKE to it, base64.
    """

    recovery_key: str
    sealed: str
    clerks: tuple[ClerkKey, ...]
    version: int = VERSION


class Content(msgspec.Struct, frozen=True):
    """What is sealed.

    Attributes:
        database: A desk's, as SQLite has it.
        accounts: Of the desk: the file's bytes.
        font: For 外字; empty without one.
    """

    database: bytes
    accounts: bytes
    font: bytes
    language: str


def clerk_key(package_key: bytes, package: bytes, name: str, passphrase: str) -> ClerkKey:
    """Seal the package key under a clerk's passphrase."""
    salt = secrets.token_bytes(16)
    stretched = _stretched(passphrase, salt, _ITERATIONS, _MEMORY_KIB)
    sealed = seal_blob(stretched, package_key, context=_clerk_context(package, name))
    return ClerkKey(name, _text(salt), _ITERATIONS, _MEMORY_KIB, _text(sealed))


def recovery_part(package_key: bytes, package: bytes, recovery: RecipientPublic) -> tuple[str, str]:
    """Seal the package key to the tenant's recovery key; return its fingerprint and what was sealed."""
    return recovery.fingerprint.hex(), _text(recovery.seal(package_key, b"jbackupd 1 package key " + package))


def open_by_passphrase(keys: Keys, package: bytes, name: str, passphrase: str) -> bytes:
    """Return the package key.

    Raises:
        KeyringError: The passphrase is wrong, or nobody of that name may open it.
        FormatError: The file is no such one.
    """
    clerk = next((clerk for clerk in keys.clerks if clerk.name == name), None)
    if clerk is None:
        raise KeyringError(
            "{name} cannot open this package", "the package names: {names}", name=name,
            names=", ".join(clerk.name for clerk in keys.clerks),
        )
    if not (1 <= clerk.iterations <= 16 and 8 <= clerk.memory_kib <= _MEMORY_KIB_MAX):
        raise FormatError("the keys of the package are out of range")
    try:
        stretched = _stretched(passphrase, _bytes(clerk.salt), clerk.iterations, clerk.memory_kib)
        return open_blob(stretched, _bytes(clerk.sealed), context=_clerk_context(package, name))
    except KeyringError as error:
        raise KeyringError("the passphrase of {name} is wrong", "type it again", name=name) from error
    except ValueError as error:
        raise FormatError("the keys of the package are out of range") from error


def open_by_recovery(keys: Keys, package: bytes, recovery: RecipientSecret) -> bytes:
    """Return the package key with the tenant's recovery key, from k of n shares.

    Raises:
        KeyringError: It was sealed to another recovery key, or changed.
    """
    return recovery.open(_bytes(keys.sealed), b"jbackupd 1 package key " + package)


def seal_data(package_key: bytes, package: bytes, serial: int, data: bytes) -> Iterator[bytes]:
    """Yield the bytes of data.sealed."""
    key = _data_key(package_key, serial)
    yield MAGIC
    pieces = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)] or [b""]
    for number, piece in enumerate(pieces):
        sealed = seal_blob(key, piece, context=_context(package, serial, number, last=number == len(pieces) - 1))
        yield _LENGTH.pack(len(sealed)) + sealed


def open_data(package_key: bytes, package: bytes, serial: int, sealed: bytes) -> bytes:
    """Return what data.sealed holds, all of it or nothing.

    Raises:
        FormatError: It is cut off, goes on behind its end, or is no such file.
        KeyringError: The key is another one, or a bit was changed.
    """
    if not sealed.startswith(MAGIC):
        raise FormatError("the data of the package is no such file")
    key, blocks = _data_key(package_key, serial), list(_blocks(sealed))
    if not blocks:
        raise FormatError("the data of the package is cut off")
    return b"".join(
        open_blob(key, block, context=_context(package, serial, number, last=number == len(blocks) - 1))
        for number, block in enumerate(blocks)
    )


def data_name(serial: int) -> str:
    """Return the name of a refresh's data."""
    return f"data-{serial}.sealed"


def encode_manifest(manifest: Manifest, signer: SiteSigner) -> bytes:
    """Return manifest.json."""
    line = msgspec.json.encode(manifest)
    signature = _text(signer.sign(SIGNATURE_CONTEXT, line))
    return line + b"\n" + msgspec.json.encode({"signature": signature}) + b"\n"


def decode_manifest(data: bytes, verifier: SiteVerifier | None = None) -> Manifest:
    """Read manifest.json.

    Args:
        verifier: Of the site that must have signed it; None believes any.

    Raises:
        FormatError: It is none of this version.
        IdentityError: Another one signed it, or it was changed.
    """
    line, _, rest = data.partition(b"\n")
    manifest = _decoded(line, Manifest)
    if manifest.version != VERSION:
        raise FormatError(
            "the package is of version {version}", "open it with the program that lies in it", version=manifest.version
        )
    signature = _bytes(_decoded(rest, dict[str, str]).get("signature", ""))
    if verifier is not None:
        verifier.verify(SIGNATURE_CONTEXT, line, signature)
    return manifest


def encode_keys(keys: Keys) -> bytes:
    """Return keys.json."""
    return msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n"


def encode_content(content: Content) -> bytes:
    """Return what is sealed."""
    return msgspec.msgpack.encode(content)


def decode_content(data: bytes) -> Content:
    """Read what was sealed.

    Raises:
        FormatError: It is none of this version.
    """
    try:
        return msgspec.msgpack.decode(data, type=Content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("a file of the package is malformed", "it may be of a newer version") from error


def journal_key(package_key: bytes, package: bytes) -> bytes:
    """Return what the journals that a laptop writes are sealed with; the same for every refresh."""
    return blake3.blake3(package_key + package, derive_key_context="jbackupd 1 package journal key").digest(KEY_BYTES)


def decode_keys(data: bytes) -> Keys:
    """Read keys.json.

    Raises:
        FormatError: It is none of this version.
    """
    return _decoded(data, Keys)


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError("a file of the package is malformed", "it may be of a newer version") from error


def _blocks(sealed: bytes) -> Iterable[bytes]:
    at = len(MAGIC)
    while at < len(sealed):
        if at + _LENGTH.size > len(sealed):
            raise FormatError("the data of the package is cut off")
        (length,) = _LENGTH.unpack_from(sealed, at)
        at += _LENGTH.size
        if length > _SEALED_MAX or at + length > len(sealed):
            raise FormatError("the data of the package is cut off")
        yield sealed[at : at + length]
        at += length


def _data_key(package_key: bytes, serial: int) -> bytes:
    return blake3.blake3(
        package_key + _LENGTH.pack(serial), derive_key_context="jbackupd 1 package data key"
    ).digest(KEY_BYTES)


def _context(package: bytes, serial: int, number: int, *, last: bool) -> bytes:
    return b"jbackupd 1 package data " + package + struct.pack("<II?", serial, number, last)


def _clerk_context(package: bytes, name: str) -> bytes:
    return b"jbackupd 1 package clerk " + package + name.encode()


def _stretched(passphrase: str, salt: bytes, iterations: int, memory_kib: int) -> bytes:
    return Argon2id(
        salt=salt, length=KEY_BYTES, iterations=iterations, lanes=_LANES, memory_cost=memory_kib
    ).derive(unicodedata.normalize("NFKC", passphrase).strip().encode("utf-8", "backslashreplace"))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError("the keys of the package are malformed") from error
