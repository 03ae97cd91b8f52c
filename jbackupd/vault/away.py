"""A vault whose points are known and whose packs lie elsewhere: what is read is brought first.

Points that were fetched without all that they need are not listed in the vault, since a listed point is a promise:
they lie in `vaults/TENANT/expected/NAME`, and only this store shows them. Keys and indexes are objects of the vault at
once, as in any fetch that was interrupted.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterator

from jbackupd.codec.hashing import name_of
from jbackupd.model.errors import DamageError, FormatError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, object_name
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files
from jbackupd.vault.parts import Parts
from jbackupd.vault.store import ObjectStore

EXPECTED = "expected"

Bring = Callable[[ObjectRef, int, int], None]
"""Returns once a range of a pack is here in its part; blocks. Raises PeerError, MissingObjectError."""


class AwayStore(ObjectStore):
    """The objects of a tenant, of which packs may still be elsewhere. For reading, and for `engine.fetch.fetch`."""

    def __init__(self, files: Files, folder: str) -> None:
        super().__init__(files, folder)
        self._side = posixpath.join(folder, EXPECTED)
        self._parts: Parts | None = None
        self._bring: Bring | None = None
        self._doubted: Bring | None = None
        self.expected: frozenset[ObjectName] = frozenset()
        """Packs that some point names; they count as being there."""
        self._is_outlining = False

    def connect(self, parts: Parts, bring: Bring, doubted: Bring) -> None:
        """Let packs be brought from now on.

        Args:
            doubted: Told of ranges that turned out wrong; blocks.
        """
        self._parts, self._bring, self._doubted = parts, bring, doubted

    @contextlib.contextmanager
    def outlining(self) -> Iterator[None]:
        """Let every pack count as being there, so that a fetch brings points, keys and indexes alone."""
        self._is_outlining = True
        try:
            yield
        finally:
            self._is_outlining = False

    def is_here(self, ref: ObjectRef) -> bool:
        """Tell whether an object is here whole, as one of the vault."""
        return super().has(ref)

    def put(self, kind: ObjectKind, data: bytes) -> ObjectName:
        """Store an object; a point only aside."""
        ref = ObjectRef(kind, name_of(data))
        if kind is not ObjectKind.POINT or super().has(ref):
            return super().put(kind, data)
        self.files.make_folder(self._side)
        path = self._aside(ref.name)
        write_durably(self.files, path, data, temporary=path + ".new")
        return ref.name

    def has(self, ref: ObjectRef) -> bool:
        """Tell whether an object can be read, wherever it lies."""
        if super().has(ref):
            return True
        if ref.kind is ObjectKind.PACK:
            return self._is_outlining or ref.name in self.expected
        return ref.kind is ObjectKind.POINT and self.files.exists(self._aside(ref.name))

    def names(self, kind: ObjectKind) -> list[ObjectName]:
        """Return the names of all objects of a kind, wherever they lie, sorted."""
        found = set(super().names(kind))
        if kind is ObjectKind.PACK:
            found |= self.expected
        elif kind is ObjectKind.POINT and self.files.exists(self._side):
            found |= {object_name(name) for name in self.files.names(self._side) if not name.endswith(".new")}
        return sorted(found)

    def size(self, ref: ObjectRef) -> int:
        """Return an object's length in bytes."""
        if self._is_away(ref) and self._parts is not None:
            return self._parts.of(ref.name).size
        return super().size(ref)

    def read(self, ref: ObjectRef, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object, unchecked; those of a pack that is elsewhere are brought first. May block long."""
        if ref.kind is ObjectKind.POINT and not super().has(ref):
            data = self.files.read(self._aside(ref.name))[offset:]
            return data if length is None else data[:length]
        if not self._is_away(ref) or self._parts is None or self._bring is None:
            return super().read(ref, offset, length)
        part = self._parts.of(ref.name)
        length = part.size - offset if length is None else length
        if offset + length > part.size:
            raise FormatError("{object} is shorter than it must be", object=ref)
        if not part.covers(offset, offset + length):
            self._bring(ref, offset, length)
        data = part.read(offset, length)
        if len(data) != length:
            raise DamageError("{object} is shorter than it must be", object=ref)
        return data

    def doubt(self, ref: ObjectRef, offset: int, length: int) -> bool:
        """Throw away bytes of a part that turned out wrong; return whether reading them again may help."""
        if not self._is_away(ref) or self._parts is None or self._doubted is None:
            return False
        self._parts.of(ref.name).forget(offset, offset + length)
        self._doubted(ref, offset, length)
        return True

    def clear(self) -> None:
        """Remove the points aside that are objects of the vault by now."""
        if self.files.exists(self._side):
            for name in self.files.names(self._side):
                if name.endswith(".new") or super().has(ObjectRef(ObjectKind.POINT, object_name(name))):
                    self.files.remove(posixpath.join(self._side, name))

    def _is_away(self, ref: ObjectRef) -> bool:
        return ref.kind is ObjectKind.PACK and ref.name in self.expected and not super().has(ref)

    def _aside(self, name: ObjectName) -> str:
        return posixpath.join(self._side, name.hex())
