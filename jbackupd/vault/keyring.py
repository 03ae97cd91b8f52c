"""Who has which keys: the owner's keyring at its site, or keys recovered from shares.

The keyring is one small file, sealed under the site's local key. It holds the tenant secret, the
public keys, and session keys of the last days, so that new deltas can read what they are made
against and yesterday's file needs no two officers. It never holds a private key of an epoch.
"""

from __future__ import annotations

import posixpath
import secrets
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

import msgspec

from jbackupd.codec.hashing import TENANT_SECRET_BYTES, ContentHash
from jbackupd.codec.hpke import RecipientPublic, RecipientSecret, new_seed
from jbackupd.codec.seal import SESSION_KEY_BYTES, open_blob, seal_blob
from jbackupd.format.key import ID_BYTES, KeyRole, RecoveredChain, decode_key, seal_key
from jbackupd.model.errors import KeyMissingError, KeyringError, NotFoundError, RefusedError
from jbackupd.model.ids import TenantId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "keyring"
HISTORY_DAYS = 35
_JST = timezone(timedelta(hours=9))
"""Without a time zone database, which a bare machine may not have; Japan has no summer time."""


class KeySource(Protocol):
    """Where a reader gets keys from."""

    def content_hash(self) -> ContentHash:
        """Return the tenant's keyed hashes."""
        ...

    def session_key(self, session_id: bytes) -> bytes:
        """Return a session's key.

        Raises:
            KeyMissingError: It is not here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A backup run's key, already saved in the keyring."""

    session_id: bytes
    key: bytes = field(repr=False)
    key_object: bytes


class _SavedSession(msgspec.Struct, array_like=True, frozen=True):
    id: bytes
    key: bytes
    created_at: datetime


class _Saved(msgspec.Struct, array_like=True):
    tenant: str
    tenant_secret: bytes
    recovery_public: bytes
    epoch_label: str
    epoch_public: bytes
    epoch_object: bytes
    sessions: list[_SavedSession]


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What a new tenant's keys consist of.

    Attributes:
        recovery_seed: To be split into shares and then forgotten.
        objects: Key objects for the vault.
    """

    keyring: Keyring
    recovery_seed: bytes = field(repr=False)
    objects: tuple[bytes, ...]


def fiscal_year(moment: datetime) -> str:
    """Return the Japanese fiscal year (April to March) that a moment lies in, as four digits."""
    local = moment.astimezone(_JST)
    return str(local.year if local.month >= 4 else local.year - 1)


class Keyring:
    """The owner's keys at its site; safe for several threads.

    Use `create` or `open`.
    """

    def __init__(self, files: Files, local_key: bytes, saved: _Saved) -> None:
        self._files = files
        self._local_key = local_key
        self._saved = saved
        self._lock = threading.Lock()
        self._hash = ContentHash(saved.tenant_secret)
        self.tenant = TenantId(saved.tenant)

    @classmethod
    def create(cls, files: Files, tenant: TenantId, *, local_key: bytes, now: datetime) -> NewKeys:
        """Make a tenant's keys and save the keyring, durable.

        Raises:
            RefusedError: The tenant has a keyring here.
        """
        if files.exists(_path(tenant)):
            raise RefusedError(
                "the tenant {tenant} has keys at this site already",
                "keep them: new keys would make new points unreadable with the shares that were handed out",
                tenant=tenant,
            )
        seed = new_seed()
        recovery = RecipientSecret(seed).public
        secret = secrets.token_bytes(TENANT_SECRET_BYTES)
        keyring = cls(files, local_key, _Saved(tenant, secret, recovery.to_bytes(), "", b"", b"", []))
        root = seal_key(KeyRole.TENANT, secret, recovery, tenant=tenant, public=recovery.to_bytes())
        keyring._begin_epoch(fiscal_year(now))
        files.make_folder(FOLDER)
        keyring._save()
        return NewKeys(keyring, seed, (root, keyring._saved.epoch_object))

    @classmethod
    def open(cls, files: Files, tenant: TenantId, *, local_key: bytes) -> Keyring:
        """Open a saved keyring.

        Raises:
            KeyMissingError: There is none.
            KeyringError: It does not open with this site's local key, or is damaged.
        """
        try:
            sealed = files.read(_path(tenant))
        except NotFoundError as error:
            raise KeyMissingError(
                "this site has no keys of {tenant}",
                "a site that only stores has none; to recover, use shares", tenant=tenant,
            ) from error
        try:
            saved = msgspec.msgpack.decode(open_blob(local_key, sealed, context=_context(tenant)), type=_Saved)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KeyringError("the keyring of {tenant} is malformed", tenant=tenant) from error
        return cls(files, local_key, saved)

    def content_hash(self) -> ContentHash:
        """Return the tenant's keyed hashes."""
        return self._hash

    @property
    def recovery_public(self) -> RecipientPublic:
        """The recovery key's public half."""
        return RecipientPublic(self._saved.recovery_public)

    def session_key(self, session_id: bytes) -> bytes:
        """Return a session's key.

        Raises:
            KeyMissingError: The session is older than the keyring's history.
        """
        with self._lock:
            for session in self._saved.sessions:
                if session.id == session_id:
                    return session.key
        raise KeyMissingError(
            "this site no longer keeps the key of the session {session}",
            "points older than the kept history are read with shares: --share FILE",
            session=session_id.hex(),
        )

    def new_session(self, now: datetime) -> Session:
        """Draw a session key, save it durably, and return it with its key object."""
        with self._lock:
            if self._saved.epoch_label < fiscal_year(now):
                self._begin_epoch(fiscal_year(now))
            session_id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SESSION_KEY_BYTES)
            self._saved.sessions.append(_SavedSession(session_id, key, now.astimezone(UTC)))
            self._save()
            epoch = RecipientPublic(self._saved.epoch_public)
        sealed = seal_key(KeyRole.SESSION, key, epoch, tenant=self.tenant, key_id=session_id)
        return Session(session_id, key, sealed)

    def epoch_object(self) -> bytes:
        """Return the current epoch's key object; it must be in the vault before a session of it is."""
        with self._lock:
            return self._saved.epoch_object

    def prune(self, now: datetime, *, history_days: int, needed: Collection[bytes]) -> int:
        """Forget sessions older than the history that new deltas do not need; return how many.

        Args:
            history_days: 0 for a closed history: only what is needed stays.
            needed: Session ids that the newest points are read with.
        """
        oldest = now - timedelta(days=history_days)
        with self._lock:
            kept = [s for s in self._saved.sessions if s.id in needed or (history_days and s.created_at >= oldest)]
            forgotten = len(self._saved.sessions) - len(kept)
            if forgotten:
                self._saved.sessions = kept
                self._save()
        return forgotten

    def _begin_epoch(self, label: str) -> None:
        """Make an epoch's key pair; its seed is sealed to the recovery key and forgotten."""
        seed = new_seed()
        epoch = RecipientSecret(seed).public
        self._saved.epoch_label = label
        self._saved.epoch_public = epoch.to_bytes()
        self._saved.epoch_object = seal_key(
            KeyRole.EPOCH, seed, self.recovery_public, tenant=self.tenant, key_id=secrets.token_bytes(ID_BYTES),
            label=label, public=epoch.to_bytes(),
        )

    def _save(self) -> None:
        data = seal_blob(self._local_key, msgspec.msgpack.encode(self._saved), context=_context(self.tenant))
        write_durably(self._files, _path(self.tenant), data, temporary=_path(self.tenant) + ".new")

    def __repr__(self) -> str:
        return f"Keyring({self.tenant})"


class RecoveredKeys:
    """Keys that were opened with the recovery seed.

    Args:
        chain: The opened chain.
    """

    def __init__(self, chain: RecoveredChain) -> None:
        self._chain = chain
        self._hash = ContentHash(chain.tenant_secret)

    @classmethod
    def from_seed(cls, seed: bytes, tenant: TenantId, key_objects: Iterable[bytes]) -> RecoveredKeys:
        """Open a tenant's keys.

        Args:
            key_objects: The vault's key objects.

        Raises:
            KeyringError: The seed opens none of them.
        """
        return cls(RecoveredChain(seed, tenant, [decode_key(data) for data in key_objects]))

    def content_hash(self) -> ContentHash:
        """Return the tenant's keyed hashes."""
        return self._hash

    def session_key(self, session_id: bytes) -> bytes:
        """Return a session's key; see `RecoveredChain.session_key`."""
        return self._chain.session_key(session_id)

    def __repr__(self) -> str:
        return "RecoveredKeys(...)"


def _path(tenant: TenantId) -> str:
    return posixpath.join(FOLDER, tenant)


def _context(tenant: TenantId) -> bytes:
    return b"jbackupd 1 keyring " + tenant.encode()
