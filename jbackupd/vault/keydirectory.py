"""Which key objects does a set of sessions need?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jbackupd.codec.hpke import RecipientPublic
from jbackupd.format.index import decode_index_head
from jbackupd.format.key import KeyObject, KeyRole, decode_key
from jbackupd.format.keyrecord import KeyRecord
from jbackupd.format.pack import PACK_HEAD_BYTES
from jbackupd.model.errors import DamageError, JbackupdError, KeyMissingError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.keyepoch import year_of
from jbackupd.vault.keyhistory import erasure, erasures, recoveries, recovery_change
from jbackupd.vault.store import ObjectStore


class KeyDirectory:
    """The key objects of a store, by what they are for. Opens none of them.

    Raises:
        DamageError: A key object is damaged; a point must not be committed on top of that.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._keys: dict[ObjectName, KeyObject] = {
            name: decode_key(store.read_checked(ObjectRef(ObjectKind.KEY, name)))
            for name in store.names(ObjectKind.KEY)
        }

    def needed_for(self, sessions: Collection[bytes], *, newest: bytes) -> set[ObjectName]:
        """Return the key objects of a point: from the recovery key in force down to its sessions.

        Every epoch of that recovery key is among them, also one that only older points need: a holder that has this
        point can read those with the newest shares too. So are records, and the kept keys of erased epochs.

        Args:
            sessions: That the point's objects were sealed under.
            newest: The session of the point; its epoch was begun under the recovery key in force.

        Raises:
            KeyMissingError: A session or its epoch has no key object in the store, and was not erased.
        """
        found = {name: key for name, key in self._keys.items() if key.role is KeyRole.SESSION and key.id in sessions}
        in_force = self._recipients_of({key.recipient for key in found.values() if key.id == newest})
        under = {name: key for name, key in self._keys.items() if key.recipient in in_force}
        epochs = {name: _epoch_of(key) for name, key in under.items() if key.role is KeyRole.EPOCH}
        roots = {name for name, key in under.items() if key.role is KeyRole.TENANT}
        readable = {name: key for name, key in found.items() if key.recipient in epochs.values()}
        unread = set(sessions) - {key.id for key in readable.values()} - self._erased_sessions()
        if unread or newest not in {key.id for key in readable.values()} or not roots:
            raise KeyMissingError(
                "the vault has not every key object that its packs need",
                "fetch the key objects from a peer; a point without them could never be recovered",
            )
        others = {
            name for name, key in self._keys.items()
            if key.role is KeyRole.RECORD or (key.role is KeyRole.KEPT and key.recipient in epochs.values())
        }
        return readable.keys() | epochs.keys() | roots | others

    def of_epoch(self, epoch: bytes) -> set[ObjectName]:
        """Return the key objects that hold an epoch's private key."""
        return {name for name, key in self._keys.items() if key.role is KeyRole.EPOCH and _epoch_of(key) == epoch}

    def kept(self) -> set[ObjectName]:
        """Return the key objects that hold kept keys."""
        return {name for name, key in self._keys.items() if key.role is KeyRole.KEPT}

    def sessions_open(self, recovery: bytes, *, but: bytes) -> set[bytes]:
        """Return the sessions whose epoch a recovery key opens.

        Args:
            recovery: Its fingerprint.
            but: Fingerprint of an epoch to leave out.
        """
        epochs = {
            _epoch_of(key) for key in self._keys.values()
            if key.role is KeyRole.EPOCH and key.recipient == recovery and _epoch_of(key) != but
        }
        return {key.id for key in self._keys.values() if key.role is KeyRole.SESSION and key.recipient in epochs}

    def _recipients_of(self, epochs: Collection[bytes]) -> set[bytes]:
        """Return the recovery keys that epochs are sealed to."""
        return {
            key.recipient for key in self._keys.values() if key.role is KeyRole.EPOCH and _epoch_of(key) in epochs
        }

    def _erased_sessions(self) -> set[bytes]:
        """Return the sessions of erased epochs; what is still needed of theirs is among the kept keys."""
        erased = {erasure(record).epoch for record in erasures(self._keys.values())}
        return {key.id for key in self._keys.values() if key.role is KeyRole.SESSION and key.recipient in erased}

    def sessions_of_indexes(self, indexes: Collection[ObjectName]) -> set[bytes]:
        """Return the sessions that sealed these indexes."""
        return {
            decode_index_head(self._store.read(ObjectRef(ObjectKind.INDEX, name), 0, PACK_HEAD_BYTES)).session_id
            for name in indexes
        }


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """What key objects a store has of one epoch.

    Attributes:
        name: Of its key objects, else of the record of its erasure.
        key: Fingerprint of its public key.
        recipients: Fingerprints of the recovery keys that open it, sorted.
        sessions: Ids of its sessions.
        erased: The record that it was erased; its signature is not checked.
    """

    name: str
    key: bytes
    recipients: tuple[bytes, ...]
    sessions: frozenset[bytes]
    erased: KeyRecord | None


@dataclass(frozen=True, slots=True)
class KeySurvey:
    """What key objects a store has, to show to people.

    Attributes:
        recovery_key: Fingerprint of the newest recovery key that has a key object, 32 hex digits; else empty.
        recoveries: Records of later recovery keys, oldest first; signatures are not checked.
        epochs: By name.
        sessions: How many session keys there are.
        damaged: Why key objects could not be read.
    """

    recovery_key: str
    recoveries: tuple[KeyRecord, ...]
    epochs: tuple[EpochKeys, ...]
    sessions: int
    damaged: tuple[JbackupdError, ...]

    @classmethod
    def of(cls, store: ObjectStore) -> KeySurvey:
        """Look through a store; opens nothing."""
        found: list[KeyObject] = []
        damaged: list[JbackupdError] = []
        for name in store.names(ObjectKind.KEY):
            try:
                found.append(decode_key(store.read_checked(ObjectRef(ObjectKind.KEY, name))))
            except DamageError as error:
                damaged.append(error)
        roots = {key.recipient for key in found if key.role is KeyRole.TENANT}
        changes = recoveries(found)
        newest = next((c.recovery for c in map(recovery_change, reversed(changes)) if c.recovery in roots), None)
        sessions = len({key.id for key in found if key.role is KeyRole.SESSION})
        recovery = newest or min(roots, default=b"")
        return cls(recovery.hex(), tuple(changes), tuple(_epochs(found)), sessions, tuple(damaged))


def _epochs(found: Collection[KeyObject]) -> list[EpochKeys]:
    names: dict[bytes, str] = {}
    recipients: dict[bytes, set[bytes]] = {}
    sessions: dict[bytes, set[bytes]] = {}
    erased = {erasure(record).epoch: record for record in erasures(found)}
    for epoch, record in erased.items():
        names[epoch] = erasure(record).label
    for key in found:
        if key.role is KeyRole.EPOCH:
            names[_epoch_of(key)] = key.label
            recipients.setdefault(_epoch_of(key), set()).add(key.recipient)
        elif key.role is KeyRole.SESSION:
            sessions.setdefault(key.recipient, set()).add(key.id)
    return sorted(
        (
            EpochKeys(
                name, epoch, tuple(sorted(recipients.get(epoch, ()))), frozenset(sessions.get(epoch, ())),
                erased.get(epoch),
            )
            for epoch, name in names.items()
        ),
        key=lambda epoch: (year_of(epoch.name), len(epoch.name), epoch.name),
    )


def _epoch_of(key: KeyObject) -> bytes:
    return RecipientPublic(key.public).fingerprint
