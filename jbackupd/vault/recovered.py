"""Keys recovered from shares: the recovery seed and a vault's key objects, damaged ones told and not in the way."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jbackupd.codec.hashing import ContentHash
from jbackupd.codec.hpke import RecipientPublic, RecipientSecret
from jbackupd.format.key import KeyObject, KeyRole, RecoveredChain, decode_key
from jbackupd.format.keyrecord import KeyRecord
from jbackupd.model.errors import DamageError, JbackupdError, KeyMissingError, KeyringError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, TenantId
from jbackupd.vault.keyhistory import Verifiers, erasure, erasures, recoveries, recovery_change, superseded
from jbackupd.vault.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Opened:
    """Every session of a vault, tried.

    Attributes:
        keys: Session keys by session id.
        erased: How many do not open since their epoch was erased.
        damaged: What does not open, each with the reason; key objects that were not readable at all first.
    """

    keys: Mapping[bytes, bytes] = field(repr=False)
    damaged: tuple[JbackupdError, ...]
    erased: int = 0


class RecoveredKeys:
    """Keys that were opened with the recovery seed.

    Args:
        chain: The opened chain.
        damaged: Why key objects could not be read; a key that is missing may be in one of them.
        successor: The record of the newest recovery key, if the shares are of an earlier one.
        erased: Fingerprints of epochs that were erased, as records say.
    """

    def __init__(
        self, chain: RecoveredChain, damaged: Sequence[JbackupdError] = (), successor: KeyRecord | None = None,
        erased: Collection[bytes] = (),
    ) -> None:
        self._chain = chain
        self._hash = ContentHash(chain.tenant_secret)
        self.damaged = tuple(damaged)
        self.successor = successor
        self._erased = erased

    @classmethod
    def from_seed(cls, seed: bytes, tenant: TenantId, key_objects: Iterable[bytes]) -> RecoveredKeys:
        """Open a tenant's keys.

        Args:
            key_objects: The vault's key objects; damaged ones only cost what is in them.

        Raises:
            KeyringError: The seed opens none of them.
        """
        return cls._of(seed, tenant, (functools.partial(decode_key, data) for data in key_objects))

    @classmethod
    def from_store(
        cls, seed: bytes, tenant: TenantId, store: ObjectStore, verifiers: Verifiers | None = None, *,
        without: Collection[ObjectName] = (), more: Sequence[bytes] = (),
    ) -> RecoveredKeys:
        """Open a tenant's keys with the key objects of a store; damaged ones only cost what is in them.

        Args:
            verifiers: Whose records of the keys count; None where nobody's card is at hand.
            without: Key objects to leave aside, as if they were not there.
            more: Key objects to take in, as if they were there.

        Raises:
            KeyringError: The seed opens none of them.
        """

        def read(name: ObjectName) -> KeyObject:
            return decode_key(store.read_checked(ObjectRef(ObjectKind.KEY, name)))

        names = [name for name in store.names(ObjectKind.KEY) if name not in without]
        readers = [functools.partial(read, name) for name in names]
        readers += [functools.partial(decode_key, data) for data in more]
        return cls._of(seed, tenant, readers, verifiers)

    @classmethod
    def _of(
        cls, seed: bytes, tenant: TenantId, readers: Iterable[Callable[[], KeyObject]],
        verifiers: Verifiers | None = None,
    ) -> RecoveredKeys:
        found: list[KeyObject] = []
        damaged: list[JbackupdError] = []
        for read in readers:
            try:
                found.append(read())
            except DamageError as error:
                damaged.append(error)
        own = RecipientSecret(seed).public.fingerprint
        changes = recoveries((key for key in found if key.tenant == tenant), verifiers)
        successor = changes[-1] if changes and recovery_change(changes[-1]).recovery != own else None
        try:
            gone = {erasure(record).epoch for record in erasures(found, verifiers)}
            return cls(RecoveredChain(seed, tenant, found), damaged, successor, gone)
        except KeyringError:
            if successor is not None and own in {recovery_change(change).before for change in changes}:
                raise superseded(successor) from None
            # No key object of the tenant itself: it is among the damaged ones, not the shares are wrong.
            if damaged and not any(key.role is KeyRole.TENANT and key.tenant == tenant for key in found):
                raise damaged[0] from None
            raise

    @property
    def tenant_secret(self) -> bytes:
        """What the tenant's content hashes derive from."""
        return self._chain.tenant_secret

    @property
    def recovery_public(self) -> RecipientPublic:
        """The recovery key's public half."""
        return self._chain.recovery_public

    def content_hash(self) -> ContentHash:
        """Return the tenant's keyed hashes."""
        return self._hash

    def session_key(self, session_id: bytes) -> bytes:
        """Return a session's key.

        Raises:
            KeyMissingError: There is no key object for it, or none for its epoch.
            DamageError: A key object does not open, or the missing one may be among those that were not readable.
        """
        with self._explained():
            return self._chain.session_key(session_id)

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key: by its session's key, or kept alone when that was destroyed.

        Raises:
            As `session_key`.
        """
        with self._explained():
            return self._chain.object_key(session_id, object_id, kind)

    def require_in_force(self) -> None:
        """Check that the shares are of the newest recovery key that the vault has.

        Raises:
            KeyMissingError: Another one followed it; the hint names its shares.
        """
        if self.successor is not None:
            raise superseded(self.successor)

    def kept(self) -> Mapping[tuple[ObjectKind, bytes], bytes]:
        """Return the kept keys of single objects, by kind and id; damaged key objects only cost what is in them."""
        return self._chain.kept()

    @property
    def epochs(self) -> tuple[str, ...]:
        """The names of the epochs that these keys open."""
        return self._chain.epochs

    def sealed_to(self, recovery: RecipientPublic) -> list[bytes]:
        """Return key objects of the tenant secret and of every epoch for another recovery key.

        Raises:
            DamageError: A key object is damaged: what is in it would be lost to the new key.
        """
        for error in self.damaged:
            raise error
        return self._chain.sealed_to(recovery)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say why a key is missing, as far as it is known."""
        try:
            yield
        except KeyMissingError as error:
            if self.successor is not None:
                raise superseded(self.successor) from error
            if self.damaged:
                raise self.damaged[0] from error
            raise

    def open_all(self) -> Opened:
        """Try every session; what does not open is told, not raised."""
        keys: dict[bytes, bytes] = {}
        damaged, erased = list(self.damaged), 0
        for session_id in self._chain.sessions:
            try:
                keys[session_id] = self.session_key(session_id)
            except (KeyMissingError, DamageError) as error:
                if isinstance(error, KeyMissingError) and self._chain.epoch_of(session_id) in self._erased:
                    erased += 1
                else:
                    damaged.append(error)
        return Opened(keys, tuple(damaged), erased)

    def __repr__(self) -> str:
        return "RecoveredKeys(...)"
