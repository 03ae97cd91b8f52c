"""What a site keeps of a package: its key, who may open it, and their accounts. Everything here blocks.

    STATE/packages/ID/package.json      JSON of Kept: the package key, sealed under this site's local key
    STATE/packages/ID/keys.json         as in the package
    STATE/packages/ID/accounts.json     of the package's desk

So a package is made anew at every point without anybody's passphrase, and what clerks remember stays good.
"""

from __future__ import annotations

import base64
import posixpath
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from jbackupd.codec.hpke import RecipientPublic
from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.desk.accounts import Account, Accounts, Grant, generate_password
from jbackupd.desk.roles import Roles
from jbackupd.format.package import (
    ID_BYTES,
    KEY_BYTES,
    Keys,
    clerk_key,
    decode_keys,
    encode_keys,
    recovery_part,
)
from jbackupd.model.errors import FormatError, NotFoundError, RefusedError
from jbackupd.settings.schema import Package, Settings
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import Files

FOLDER = "packages"
_KEPT, _KEYS, _ACCOUNTS = "package.json", "keys.json", "accounts.json"
_GROUPS = 2
"""Passphrases have two generated passwords' letters: 115 bits, for a stick that is lost may be tried for years."""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept; `id` in hex, `key` sealed, in base64."""

    id: str
    key: str
    made_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A package that was founded here."""

    id: bytes
    key: bytes = field(repr=False)
    keys: Keys
    accounts: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Founded:
    """A new package's passphrases, by account; nobody can show them again."""

    passphrases: Mapping[str, str] = field(repr=False)


def package_named(settings: Settings, name: str) -> Package:
    """Return a package of the configuration.

    Raises:
        NotFoundError: There is none.
    """
    found = next((package for package in settings.packages if package.id == name), None)
    if found is None:
        raise NotFoundError(
            "there is no package {package} in the configuration", "see 'jbackupd tenant package list'", package=name
        )
    return found


def is_founded(files: Files, name: str) -> bool:
    """Tell whether a package's key is here."""
    return files.exists(posixpath.join(FOLDER, name, _KEPT))


def found(
    files: Files, name: str, clerks: Sequence[tuple[str, str]], recovery: RecipientPublic, *, site_key: bytes,
    roles: Roles, now: datetime,
) -> Founded:
    """Draw a package's key and its clerks' passphrases; the package itself is written afterwards.

    Args:
        clerks: Account and role of each who may open it.

    Raises:
        RefusedError: It was founded before.
        NotFoundError, UsageError: A role is not known, or a name cannot be an account's.
    """
    if is_founded(files, name):
        raise RefusedError(
            "the package {package} was founded already", "'jbackupd tenant package erase' forgets it", package=name
        )
    package, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES)
    passphrases = {account: "-".join(generate_password() for _ in range(_GROUPS)) for account, _role in clerks}
    for _account, role in clerks:
        roles.get(role)
    accounts = Accounts(Account.make(account, passphrases[account], Grant(role)) for account, role in clerks)
    fingerprint, sealed = recovery_part(key, package, recovery)
    keys = Keys(fingerprint, sealed, tuple(clerk_key(key, package, *pair) for pair in passphrases.items()))
    folder = posixpath.join(FOLDER, name)
    files.make_folder(folder)
    _put(files, posixpath.join(folder, _KEYS), encode_keys(keys))
    _put(files, posixpath.join(folder, _ACCOUNTS), accounts.encode())
    sealed_key = seal_blob(site_key, key, context=_context(name, package))
    kept = Kept(package.hex(), base64.b64encode(sealed_key).decode(), now)
    # Last: with it the package is founded.
    _put(files, posixpath.join(folder, _KEPT), msgspec.json.encode(kept) + b"\n")
    return Founded(passphrases)


def load(files: Files, name: str, site_key: bytes) -> Known:
    """Return what is kept of a package.

    Raises:
        NotFoundError: It was not founded here.
        FormatError, KeyringError: It cannot be read.
    """
    folder = posixpath.join(FOLDER, name)
    if not is_founded(files, name):
        raise NotFoundError(
            "the package {package} was never founded here",
            "found it with 'jbackupd tenant package write {package} --clerk NAME'", package=name,
        )
    try:
        kept = msgspec.json.decode(files.read(posixpath.join(folder, _KEPT)), type=Kept)
        package, sealed = bytes.fromhex(kept.id), base64.b64decode(kept.key, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise FormatError(
            "what is kept of the package {package} is damaged", "erase it and found it again", package=name
        ) from error
    key = open_blob(site_key, sealed, context=_context(name, package))
    keys = decode_keys(files.read(posixpath.join(folder, _KEYS)))
    return Known(package, key, keys, files.read(posixpath.join(folder, _ACCOUNTS)))


def forget(files: Files, name: str) -> None:
    """Destroy what is kept of a package; what was written of it stays as it is. Harmless if it is gone."""
    folder = posixpath.join(FOLDER, name)
    if files.exists(folder):
        for each in (_KEPT, _KEYS, _ACCOUNTS):
            destroy_durably(files, posixpath.join(folder, each))


def _put(files: Files, path: str, data: bytes) -> None:
    write_durably(files, path, data, temporary=path + ".new")


def _context(name: str, package: bytes) -> bytes:
    return b"jbackupd 1 package of " + name.encode() + b" " + package
