"""Who has which keys: the owner's keyring at its site, or keys recovered from shares.

The keyring is one small file, sealed under the site's local key. It holds the tenant secret, the
public keys, and session keys of the last days, so that new deltas can read what they are made
against and yesterday's file needs no two officers. It never holds a private key of an epoch.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Protocol

import msgspec

from jbackupd.codec.hashing import TENANT_SECRET_BYTES, ContentHash
from jbackupd.codec.hpke import RecipientPublic, RecipientSecret, new_seed
from jbackupd.codec.seal import SESSION_KEY_BYTES, object_key
from jbackupd.format.key import ID_BYTES, KeyRole, seal_key
from jbackupd.model.errors import KeyMissingError, KeyringError, RefusedError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, TenantId
from jbackupd.storage.durable import destroy_durably
from jbackupd.storage.files import Files
from jbackupd.vault.keyepoch import JST, fiscal_year, next_epoch, year_of
from jbackupd.vault.keyringchanges import (
    KeptObject,
    adopted,
    erasing,
    following,
    pruned,
    settled,
    with_new_epoch,
)
from jbackupd.vault.keyringfile import (
    FOLDER,
    SavedKeyring,
    SavedSession,
    ask_rotation,
    exists,
    forget_rotation,
    is_rotation_asked,
    load,
    replace,
    save,
    settle,
)
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore

__all__ = [
    "FOLDER", "HISTORY_DAYS", "KeySource", "Keyring", "NewKeys", "RecoveredKeys", "Session", "fiscal_year",
]
HISTORY_DAYS = 35


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

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key (codec.seal): by its session's key, or kept alone when that is no more.

        Raises:
            KeyMissingError: Neither is here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A run's key; saved in the keyring before it is handed out, but for one that is drawn for an erasure."""

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


class Keyring:
    """The owner's keys at its site; safe for several threads.

    Use `create`, `open` or `adopt`. Two of one tenant must not change anything at the same time: whoever does
    holds the lock of the state folder.
    """

    def __init__(self, files: Files, local_key: bytes, saved: SavedKeyring, zone: tzinfo = JST) -> None:
        self._files = files
        self._zone = zone
        self._local_key = local_key
        self._take(saved)
        self._lock = threading.Lock()
        self._hash = ContentHash(saved.tenant_secret)
        self.tenant = TenantId(saved.tenant)

    @classmethod
    def create(cls, files: Files, tenant: TenantId, *, local_key: bytes, now: datetime) -> NewKeys:
        """Make a tenant's keys and save the keyring, durable.

        Raises:
            RefusedError: The tenant has a keyring here.
        """
        if exists(files, tenant):
            raise _already(tenant)
        seed = new_seed()
        recovery = RecipientSecret(seed).public
        secret = secrets.token_bytes(TENANT_SECRET_BYTES)
        root = seal_key(KeyRole.TENANT, secret, recovery, tenant=tenant, public=recovery.to_bytes())
        saved = with_new_epoch(SavedKeyring(tenant, secret, recovery.to_bytes(), "", b"", b""), next_epoch((), now))
        save(files, saved, local_key)
        return NewKeys(cls(files, local_key, saved), seed, (root, saved.epoch_object))

    @classmethod
    def open(cls, files: Files, tenant: TenantId, *, local_key: bytes, zone: tzinfo = JST) -> Keyring:
        """Open a saved keyring.

        Args:
            zone: The site's own time, in which fiscal years begin.

        Raises:
            KeyMissingError: There is none.
            KeyringError: It does not open with this site's local key, or is damaged.
        """
        return cls(files, local_key, load(files, tenant, local_key), zone)

    @classmethod
    def adopt(
        cls, files: Files, tenant: TenantId, keys: RecoveredKeys, *, created_at: Mapping[bytes, datetime],
        local_key: bytes, now: datetime, sessions_of: Mapping[bytes, bytes] = MappingProxyType({}),
        doomed: Collection[ObjectName] = (),
    ) -> Keyring:
        """Save a keyring of recovered keys, durable, so that this site can go on with the tenant's vault.

        A keyring that does not open is replaced. A new epoch begins: the seed of the old one is not kept anywhere.

        Args:
            keys: Opened with shares.
            created_at: When sessions were; one that is not in it stays only while new deltas need it.
            sessions_of: Sessions by the ids of points and packs, for keys of single objects.
            doomed: Key objects that a record says were destroyed.

        Raises:
            RefusedError: The tenant has a good keyring here, or the shares are of a recovery key that another followed.
        """
        with contextlib.suppress(KeyringError):
            load(files, tenant, local_key)
            raise _already(tenant)
        if keys.successor is not None:
            raise RefusedError(
                "unable to keep these keys of {tenant}: they were opened with shares of an earlier recovery key",
                "use the newest shares, or new points would be sealed to the old ones", tenant=tenant,
            )
        saved = adopted(
            tenant, keys, next_epoch(keys.epochs, now), created_at=created_at, sessions_of=sessions_of, doomed=doomed
        )
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

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key: by its session's key, or kept alone when that was destroyed.

        Raises:
            KeyMissingError: Neither is kept here.
        """
        kept = self._kept.get((kind, object_id))
        return kept if kept is not None else object_key(self.session_key(session_id), object_id, kind)

    def new_session(self, now: datetime) -> Session:
        """Draw a session key, save it durably, and return it with its key object."""
        session_id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SESSION_KEY_BYTES)
        with self._lock:
            saved = self._saved
            if year_of(saved.epoch_label) < fiscal_year(now, self._zone) or is_rotation_asked(self._files, saved):
                saved = with_new_epoch(saved, next_epoch((saved.epoch_label,), now, self._zone))
            session = SavedSession(session_id, key, now.astimezone(UTC))
            self._replace(msgspec.structs.replace(saved, sessions=(*saved.sessions, session)))
            forget_rotation(self._files, self.tenant)
        return self._session(session_id, key, saved)

    def _session(self, session_id: bytes, key: bytes, saved: SavedKeyring) -> Session:
        epoch = RecipientPublic(saved.epoch_public)
        return Session(session_id, key, seal_key(KeyRole.SESSION, key, epoch, tenant=self.tenant, key_id=session_id))

    @property
    def epoch(self) -> str:
        """The current epoch's name."""
        return self._saved.epoch_label

    @property
    def epoch_public(self) -> RecipientPublic:
        """The current epoch's public key."""
        return RecipientPublic(self._saved.epoch_public)

    def epoch_object(self) -> bytes:
        """Return the current epoch's key object; it must be in the vault before a session of it is."""
        return self._saved.epoch_object

    def rotate(self, now: datetime, *, taken: Collection[str] = ()) -> str:
        """Begin a new epoch at once and return its name; later sessions are sealed to it. `settle` must follow.

        Args:
            taken: Names of the vault's epochs.
        """
        with self._lock:
            name = next_epoch((*taken, self._saved.epoch_label), now, self._zone)
            self._replace(with_new_epoch(self._saved, name))
        return name

    def ask_rotation(self) -> None:
        """Have the next session begin a new epoch, durable; for who does not hold the lock."""
        ask_rotation(self._files, self._saved)

    def follow(self, keys: RecoveredKeys, recovery: RecipientPublic, record: bytes, now: datetime) -> None:
        """Go over to another recovery key, to which everything is sealed anew, with a new epoch. `settle` must follow.

        This one write decides: a crash before it leaves everything with the old key, after it with the new one.

        Args:
            keys: Opened with the recovery key in force.
            recovery: The new one.
            record: A signed record of it, for the vault.

        Raises:
            KeyringError: The keys were opened with another recovery key than the one in force.
            DamageError: An epoch's key object does not open; it would be lost to the new key.
        """
        with self._lock:
            name = next_epoch((*keys.epochs, self._saved.epoch_label), now, self._zone)
            self._replace(following(self._saved, keys, recovery, record, name))

    def draw_session(self) -> Session:
        """Draw a session key that is kept nowhere yet, sealed to the current epoch; `erase` keeps it."""
        session_id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SESSION_KEY_BYTES)
        return self._session(session_id, key, self._saved)

    def erase(
        self, sessions: Collection[bytes], *, doomed: Collection[ObjectName], objects: Sequence[bytes],
        session: Session, kept: Collection[KeptObject], now: datetime,
    ) -> None:
        """Forget sessions, and take upon itself to destroy key objects. `settle` must follow.

        This one write decides, and destroys the keyring before it.

        Args:
            sessions: Whose keys go.
            doomed: Key objects of the vault that hold what must not be opened any more.
            objects: Key objects for the vault, a signed record among them.
            session: Drawn before; known only after `settle`.
            kept: Session id, kind and id of each object that is still needed; its own key is kept here where its
                session's key was.
        """
        with self._lock:
            pending = SavedSession(session.session_id, session.key, now.astimezone(UTC))
            saved = erasing(self._saved, sessions, doomed=doomed, objects=objects, pending=pending, kept=kept)
            replace(self._files, saved, self._local_key)
            self._take(saved)

    def settle(self, store: ObjectStore) -> None:
        """Finish a rotation or an erasure, also one that was interrupted; harmless at any time. Only the writer may.

        Args:
            store: The tenant's vault.
        """
        with self._lock:
            settle(self._files, self.tenant)
            saved = self._saved
            for data in (*saved.unplaced, saved.epoch_object):
                store.put(ObjectKind.KEY, data)
            # Kept for ever: a peer or an old copy may bring one back.
            for ref in (ObjectRef(ObjectKind.KEY, ObjectName(name)) for name in saved.doomed):
                if store.has(ref):
                    destroy_durably(self._files, store.path(ref))
            if saved.unplaced or saved.pending:
                self._replace(settled(saved))

    def prune(self, now: datetime, *, history_days: int, needed: Collection[bytes]) -> int:
        """Forget sessions older than the history that new deltas do not need; return how many.

        Args:
            history_days: 0 for a closed history: only what is needed stays.
            needed: Session ids that the newest points are read with.
        """
        with self._lock:
            before = self._saved
            saved = pruned(before, needed, now - timedelta(days=history_days) if history_days else None)
            if saved != before:
                self._replace(saved)
        return len(before.sessions) - len(saved.sessions)

    def _replace(self, saved: SavedKeyring) -> None:
        """Save first: what could not be written was never handed out."""
        save(self._files, saved, self._local_key)
        self._take(saved)

    def _take(self, saved: SavedKeyring) -> None:
        self._saved = saved
        self._kept = {(ObjectKind(kept.kind), kept.object_id): kept.key for kept in saved.kept}

    def __repr__(self) -> str:
        return f"Keyring({self.tenant})"


def _already(tenant: TenantId) -> RefusedError:
    return RefusedError(
        "the tenant {tenant} has keys at this site already",
        "keep them: new keys would make new points unreadable with the shares that were handed out",
        tenant=tenant,
    )
