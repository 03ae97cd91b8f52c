"""Who has which keys: the owner's keyring at its site, or keys recovered from shares.

The keyring is one small file, sealed under the site's local key. It holds the tenant secret, the
public keys, and session keys of the last days, so that new deltas can read what they are made
against and yesterday's file needs no two officers. It never holds a private key of an epoch.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

import msgspec

from jbackupd.codec.hashing import TENANT_SECRET_BYTES, ContentHash
from jbackupd.codec.hpke import RecipientPublic, RecipientSecret, new_seed
from jbackupd.codec.seal import SESSION_KEY_BYTES
from jbackupd.format.key import ID_BYTES, KeyRole, seal_key
from jbackupd.model.errors import KeyMissingError, KeyringError, RefusedError
from jbackupd.model.ids import TenantId
from jbackupd.storage.files import Files
from jbackupd.vault.keyringfile import FOLDER, SavedKeyring, SavedSession, load, path_of, save
from jbackupd.vault.recovered import RecoveredKeys

__all__ = [
    "FOLDER", "HISTORY_DAYS", "KeySource", "Keyring", "NewKeys", "RecoveredKeys", "Session", "fiscal_year",
]
HISTORY_DAYS = 35
_JST = timezone(timedelta(hours=9))
"""Without a time zone database, which a bare machine may not have; Japan has no summer time."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


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

    Use `create`, `open` or `adopt`.
    """

    def __init__(self, files: Files, local_key: bytes, saved: SavedKeyring) -> None:
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
        if files.exists(path_of(tenant)):
            raise _already(tenant)
        seed = new_seed()
        recovery = RecipientSecret(seed).public
        secret = secrets.token_bytes(TENANT_SECRET_BYTES)
        root = seal_key(KeyRole.TENANT, secret, recovery, tenant=tenant, public=recovery.to_bytes())
        saved = _with_new_epoch(SavedKeyring(tenant, secret, recovery.to_bytes(), "", b"", b""), fiscal_year(now))
        save(files, saved, local_key)
        return NewKeys(cls(files, local_key, saved), seed, (root, saved.epoch_object))

    @classmethod
    def open(cls, files: Files, tenant: TenantId, *, local_key: bytes) -> Keyring:
        """Open a saved keyring.

        Raises:
            KeyMissingError: There is none.
            KeyringError: It does not open with this site's local key, or is damaged.
        """
        return cls(files, local_key, load(files, tenant, local_key))

    @classmethod
    def adopt(
        cls, files: Files, tenant: TenantId, keys: RecoveredKeys, *, created_at: Mapping[bytes, datetime],
        local_key: bytes, now: datetime,
    ) -> Keyring:
        """Save a keyring of recovered keys, durable, so that this site can go on with the tenant's vault.

        A keyring that does not open is replaced. A new epoch begins: the seed of the old one is not kept anywhere.

        Args:
            keys: Opened with shares.
            created_at: When sessions were; one that is not in it stays only while new deltas need it.

        Raises:
            RefusedError: The tenant has a good keyring here.
        """
        with contextlib.suppress(KeyringError):
            load(files, tenant, local_key)
            raise _already(tenant)
        sessions = tuple(
            SavedSession(session_id, key, created_at.get(session_id, _LONG_AGO))
            for session_id, key in keys.open_all().keys.items()
        )
        empty = SavedKeyring(tenant, keys.tenant_secret, keys.recovery_public.to_bytes(), "", b"", b"", sessions)
        saved = _with_new_epoch(empty, fiscal_year(now))
        save(files, saved, local_key)
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
        session_id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SESSION_KEY_BYTES)
        with self._lock:
            saved = self._saved
            if saved.epoch_label < fiscal_year(now):
                saved = _with_new_epoch(saved, fiscal_year(now))
            session = SavedSession(session_id, key, now.astimezone(UTC))
            self._replace(msgspec.structs.replace(saved, sessions=(*saved.sessions, session)))
        epoch = RecipientPublic(saved.epoch_public)
        sealed = seal_key(KeyRole.SESSION, key, epoch, tenant=self.tenant, key_id=session_id)
        return Session(session_id, key, sealed)

    def epoch_object(self) -> bytes:
        """Return the current epoch's key object; it must be in the vault before a session of it is."""
        return self._saved.epoch_object

    def prune(self, now: datetime, *, history_days: int, needed: Collection[bytes]) -> int:
        """Forget sessions older than the history that new deltas do not need; return how many.

        Args:
            history_days: 0 for a closed history: only what is needed stays.
            needed: Session ids that the newest points are read with.
        """
        oldest = now - timedelta(days=history_days)
        with self._lock:
            sessions = self._saved.sessions
            kept = tuple(s for s in sessions if s.id in needed or (history_days and s.created_at >= oldest))
            if len(kept) < len(sessions):
                self._replace(msgspec.structs.replace(self._saved, sessions=kept))
        return len(sessions) - len(kept)

    def _replace(self, saved: SavedKeyring) -> None:
        """Save first: what could not be written was never handed out."""
        save(self._files, saved, self._local_key)
        self._saved = saved

    def __repr__(self) -> str:
        return f"Keyring({self.tenant})"


def _with_new_epoch(saved: SavedKeyring, label: str) -> SavedKeyring:
    """Return a keyring with a new epoch's key pair, whose seed is sealed to the recovery key and forgotten."""
    seed = new_seed()
    public = RecipientSecret(seed).public.to_bytes()
    sealed = seal_key(
        KeyRole.EPOCH, seed, RecipientPublic(saved.recovery_public), tenant=TenantId(saved.tenant),
        key_id=secrets.token_bytes(ID_BYTES), label=label, public=public,
    )
    return msgspec.structs.replace(saved, epoch_label=label, epoch_public=public, epoch_object=sealed)


def _already(tenant: TenantId) -> RefusedError:
    return RefusedError(
        "the tenant {tenant} has keys at this site already",
        "keep them: new keys would make new points unreadable with the shares that were handed out",
        tenant=tenant,
    )
