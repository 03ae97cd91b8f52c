"""Whether a package may be opened now, and with what. Nothing of it is written to a disk in clear."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.codec.shares import Share, combine
from jbackupd.format.package import (
    KEYS,
    MANIFEST,
    Content,
    Keys,
    Manifest,
    data_name,
    decode_content,
    decode_keys,
    decode_manifest,
    journal_key,
    open_by_passphrase,
    open_by_recovery,
    open_data,
)
from jbackupd.model.errors import DamageError, JbackupdError, NotFoundError, RefusedError, StorageError
from jbackupd.model.reasons import reason_of
from jbackupd.model.wareki import show_moment

SLOW = timedelta(hours=1)
"""A laptop's clock may be behind by so much."""


@dataclass(frozen=True, slots=True)
class Found:
    """A package's files that are not secret."""

    folder: str
    manifest: Manifest
    keys: Keys

    @property
    def id(self) -> bytes:
        """The package's id."""
        return bytes.fromhex(self.manifest.id)


@dataclass(frozen=True, slots=True)
class Opened:
    """What an opened package holds."""

    manifest: Manifest
    content: Content = field(repr=False)
    journal_key: bytes = field(repr=False)


def find(folder: str) -> Found:
    """Read what a package says of itself.

    Raises:
        NotFoundError: There is no package.
        FormatError, StorageError: It cannot be read.
    """
    return Found(folder, decode_manifest(_read(folder, MANIFEST)), decode_keys(_read(folder, KEYS)))


def check_time(manifest: Manifest, now: datetime, newest_entry: datetime | None) -> None:
    """Check that a package may be opened now.

    Args:
        newest_entry: Of its own record: the clock cannot be before it.

    Raises:
        RefusedError: It has expired, or the clock shows a time that cannot be.
    """
    latest = max(manifest.made_at, newest_entry or manifest.made_at)
    if now < latest - SLOW:
        raise RefusedError(
            "this machine's clock shows {now}, but the package was used at {latest}", "set the clock right",
            now=show_moment(now), latest=show_moment(latest),
        )
    if now > manifest.expires_at:
        raise RefusedError(
            "the package could be opened until {until}",
            "bring back what was taken in, with --export too; get a new package",
            until=show_moment(manifest.expires_at),
        )


def with_passphrase(found: Found, name: str, passphrase: str) -> bytes:
    """Return the package key; raises as `open_by_passphrase`."""
    return open_by_passphrase(found.keys, found.id, name, passphrase)


def with_shares(found: Found, shares: Sequence[Share]) -> bytes:
    """Return the package key.

    Raises:
        ShareError: A share is bad, or there are too few.
        KeyringError: They are shares of another key.
    """
    return open_by_recovery(found.keys, found.id, RecipientSecret(combine(shares)))


def open_package(found: Found, key: bytes) -> Opened:
    """Return what the package holds.

    Raises:
        DamageError: Its data is damaged.
        StorageError: It cannot be read.
    """
    sealed = _read(found.folder, data_name(found.manifest.serial))
    try:
        data = open_data(key, found.id, found.manifest.serial, sealed)
    except JbackupdError as error:
        raise DamageError(
            "the data of the package is damaged: {reason}", "copy the package again from where it was made",
            reason=str(error),
        ) from error
    return Opened(found.manifest, decode_content(data), journal_key(key, found.id))


def _read(folder: str, name: str) -> bytes:
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise NotFoundError(
            "there is no whole package in {folder}: {name} is missing", "copy the package again", folder=folder,
            name=name,
        ) from error
    except OSError as error:
        raise StorageError("unable to read {path}: {reason}", path=name, reason=reason_of(error)) from error
