"""Which key objects does a set of sessions need?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jbackupd.codec.hpke import RecipientPublic
from jbackupd.format.index import decode_index_head
from jbackupd.format.key import KeyObject, KeyRole, decode_key
from jbackupd.format.pack import PACK_HEAD_BYTES
from jbackupd.model.errors import DamageError, JbackupdError, KeyMissingError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
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

    def needed_for(self, sessions: Collection[bytes]) -> set[ObjectName]:
        """Return the key objects from the recovery key down to these sessions.

        Raises:
            KeyMissingError: A session or its epoch has no key object in the store.
        """
        found = {name: key for name, key in self._keys.items() if key.role is KeyRole.SESSION and key.id in sessions}
        recipients = {key.recipient for key in found.values()}
        epochs = {
            name: RecipientPublic(key.public).fingerprint for name, key in self._keys.items()
            if key.role is KeyRole.EPOCH and RecipientPublic(key.public).fingerprint in recipients
        }
        roots = {name for name, key in self._keys.items() if key.role is KeyRole.TENANT}
        if len({key.id for key in found.values()}) != len(sessions) or set(epochs.values()) != recipients or not roots:
            raise KeyMissingError(
                "the vault has not every key object that its packs need",
                "fetch the key objects from a peer; a point without them could never be recovered",
            )
        return found.keys() | epochs.keys() | roots

    def sessions_of_indexes(self, indexes: Collection[ObjectName]) -> set[bytes]:
        """Return the sessions that sealed these indexes."""
        return {
            decode_index_head(self._store.read(ObjectRef(ObjectKind.INDEX, name), 0, PACK_HEAD_BYTES)).session_id
            for name in indexes
        }


@dataclass(frozen=True, slots=True)
class KeySurvey:
    """What key objects a store has, to show to people.

    Attributes:
        recovery_key: Fingerprint of the recovery key, 32 hex digits; empty if its key object is missing.
        epochs: Labels of the key epochs, sorted.
        sessions: How many session keys there are.
        damaged: Why key objects could not be read.
    """

    recovery_key: str
    epochs: tuple[str, ...]
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
        roots = [key.recipient.hex() for key in found if key.role is KeyRole.TENANT]
        epochs = sorted({key.label for key in found if key.role is KeyRole.EPOCH})
        sessions = len({key.id for key in found if key.role is KeyRole.SESSION})
        return cls(roots[0] if roots else "", tuple(epochs), sessions, tuple(damaged))
