"""When each object of a vault was last read whole, and whether its bytes were those that its name says.

    vaults/TENANT/verify/looks      msgpack: of every object that was ever looked at, when, how long, sound or not

It is a cache: without it every object counts as never read, and verifying begins anew. Two processes may write it: what
is older gives way, object by object.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.storage.durable import write_durably
from jbackupd.vault.store import ObjectStore

FOLDER = "verify"
_LOOKS = "looks"
_NEVER = 0.0


class Look(msgspec.Struct, frozen=True, array_like=True):
    """One look at an object.

    Attributes:
        at: Seconds since 1970.
        size: Bytes that were read.
    """

    at: float
    size: int
    sound: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a vault has been looked at lately.

    Attributes:
        objects: All that are there.
        recent: Those that were read whole and found sound within the span.
        unsound: Those that the last look found damaged or missing.
        never: Those that were never read.
        oldest: When the one that waits longest was last read; None while there are some that never were.
    """

    objects: int = 0
    recent: int = 0
    unsound: int = 0
    never: int = 0
    oldest: datetime | None = None

    def joined(self, other: Coverage) -> Coverage:
        """Return the coverage of two vaults together."""
        known = [oldest for oldest in (self.oldest, other.oldest) if oldest is not None]
        return Coverage(
            self.objects + other.objects, self.recent + other.recent, self.unsound + other.unsound,
            self.never + other.never, None if self.never or other.never else min(known, default=None),
        )

    @property
    def ratio(self) -> float:
        """The part that was read and sound; 1 for an empty vault."""
        return self.recent / self.objects if self.objects else 1.0


class Soundness:
    """The looks of one vault; used by one thread."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._looks = _load(store)

    def unsound(self, kind: ObjectKind | None = None) -> set[ObjectRef]:
        """Return what the last look found damaged or missing; of one kind, or all."""
        return {
            ref for ref, look in self._looks.items() if not look.sound and (kind is None or ref.kind is kind)
        }

    @property
    def newest(self) -> datetime | None:
        """When an object was last looked at."""
        newest = max((look.at for look in self._looks.values()), default=None)
        return None if newest is None else datetime.fromtimestamp(newest, UTC)

    def known(self, kind: ObjectKind) -> set[ObjectRef]:
        """Return the objects of a kind that were ever looked at."""
        return {ref for ref in self._looks if ref.kind is kind}

    def is_sound(self, ref: ObjectRef) -> bool:
        """Tell whether an object was read whole and found to be what its name says."""
        look = self._looks.get(ref)
        return look is not None and look.sound

    def oldest_first(self, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return objects in the order in which they should be looked at: never read ones, then by age."""
        return sorted(refs, key=lambda ref: (self._looks[ref].at if ref in self._looks else _NEVER, ref))

    def note(self, ref: ObjectRef, at: datetime, size: int, *, sound: bool) -> None:
        """Remember a look, until `save`."""
        self._looks[ref] = Look(at.timestamp(), size, sound)

    def coverage(self, refs: Collection[ObjectRef], since: datetime) -> Coverage:
        """Return how well objects are covered by looks since a moment."""
        looks = [look for ref in refs if (look := self._looks.get(ref)) is not None]
        never = len(refs) - len(looks)
        oldest = min((look.at for look in looks), default=None)
        return Coverage(
            len(refs), sum(look.sound and look.at >= since.timestamp() for look in looks),
            sum(not look.sound for look in looks), never,
            datetime.fromtimestamp(oldest, UTC) if oldest is not None and not never else None,
        )

    def save(self, there: Collection[ObjectRef] | None = None) -> None:
        """Write what was remembered; durable when this returns.

        Args:
            there: All objects that a look may be about: others are forgotten.

        Raises:
            StorageError: The folder cannot be written.
        """
        for ref, look in _load(self._store).items():
            if ref not in self._looks or self._looks[ref].at < look.at:
                self._looks[ref] = look
        if there is not None:
            self._looks = {ref: look for ref, look in self._looks.items() if ref in there}
        kinds: dict[int, dict[bytes, Look]] = {}
        for ref, look in self._looks.items():
            kinds.setdefault(ref.kind.value, {})[ref.name] = look
        path = posixpath.join(self._store.folder, FOLDER, _LOOKS)
        self._store.files.make_folder(posixpath.dirname(path))
        temporary = posixpath.join(self._store.folder, "tmp", f"{_LOOKS}.{secrets.token_hex(4)}")
        write_durably(self._store.files, path, msgspec.msgpack.encode(kinds), temporary=temporary)


def _load(store: ObjectStore) -> dict[ObjectRef, Look]:
    path = posixpath.join(store.folder, FOLDER, _LOOKS)
    if not store.files.exists(path):
        return {}
    try:
        kinds = msgspec.msgpack.decode(store.files.read(path), type=dict[int, dict[bytes, Look]])
        return {
            ObjectRef(ObjectKind(kind), ObjectName(name)): look
            for kind, looks in kinds.items() for name, look in looks.items()
        }
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
