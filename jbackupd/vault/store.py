"""The objects of one tenant at one site: immutable files named by the hash of their bytes."""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Iterable

from jbackupd.codec.hashing import name_of
from jbackupd.format.header import HEADER_BYTES, check_header
from jbackupd.model.errors import (
    DamageError,
    FormatError,
    JbackupdError,
    MissingObjectError,
    NotFoundError,
    StorageError,
)
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, object_name
from jbackupd.storage.durable import rename_durably, write_durably
from jbackupd.storage.files import Files

QUARANTINE = "quarantine"
"""Where repair keeps damaged files; nothing reads them, and they may be removed."""
FOLDERS = ("packs", "indexes", "points", "keys", "receipts", "incoming", "tmp")


class ObjectStore:
    """Own and held tenants alike; needs no keys.

    Args:
        files: Where the state folder is.
        folder: The tenant's folder, for example "vaults/imari".
    """

    def __init__(self, files: Files, folder: str) -> None:
        self.files = files
        self.folder = folder

    def create(self) -> None:
        """Make the folders; harmless if they are there."""
        for name in FOLDERS:
            self.files.make_folder(posixpath.join(self.folder, name))

    def exists(self) -> bool:
        """Tell whether the folders have been made."""
        return all(self.files.exists(posixpath.join(self.folder, name)) for name in FOLDERS)

    def path(self, ref: ObjectRef) -> str:
        """Return an object's path: packs spread over 256 folders, the others flat."""
        name = ref.name.hex()
        spread = (name[:2],) if ref.kind is ObjectKind.PACK else ()
        return posixpath.join(self.folder, ref.kind.folder, *spread, name)

    def put(self, kind: ObjectKind, data: bytes) -> ObjectName:
        """Store an object; it is durable when this returns. May be called twice.

        Raises:
            NoSpaceError: The disk is full; the vault is as it was.
        """
        ref = ObjectRef(kind, name_of(data))
        if self.has(ref):
            # An earlier run may have been killed between its rename and its sync of the folder.
            self.files.sync_folder(posixpath.dirname(self.path(ref)))
        else:
            self._make_spread_folder(ref)
            write_durably(self.files, self.path(ref), data, temporary=self._temporary(ref))
        return ref.name

    def adopt(self, ref: ObjectRef, synced_path: str) -> None:
        """Give a file whose bytes are synced and were checked against the name its place; durable."""
        self._make_spread_folder(ref)
        rename_durably(self.files, synced_path, self.path(ref))

    def replace(self, ref: ObjectRef, data: bytes) -> None:
        """Put an object that is missing or damaged in its place again; durable when this returns.

        The damaged bytes, as far as they can be read, are kept in the folder `quarantine`: they may tell what happened.
        At no instant is its place empty: of a newest point, nobody else would know that it is missing.

        Args:
            data: Its bytes.

        Raises:
            DamageError: They do not hash to its name; nothing was touched.
            NoSpaceError: The disk is full; the damaged file is where it was.
        """
        if name_of(data) != ref.name:
            raise DamageError("{object} is damaged: its bytes do not hash to its name", _REPAIR, object=ref)
        check_header(data[:HEADER_BYTES], ref.kind)
        if self.has(ref):
            self._keep_damaged(ref)
        self._make_spread_folder(ref)
        write_durably(self.files, self.path(ref), data, temporary=self._temporary(ref))

    def remove(self, refs: Iterable[ObjectRef]) -> None:
        """Remove objects that nobody needs; durable when this returns. What is gone already is passed over."""
        folders = set()
        for ref in refs:
            if self.has(ref):
                self.files.remove(self.path(ref))
            folders.add(posixpath.dirname(self.path(ref)))
        for folder in sorted(folders):
            if self.files.exists(folder):
                self.files.sync_folder(folder)

    def has(self, ref: ObjectRef) -> bool:
        """Tell whether an object is there under its final name."""
        return self.files.exists(self.path(ref))

    def size(self, ref: ObjectRef) -> int:
        """Return an object's length in bytes.

        Raises:
            MissingObjectError: It is not there.
        """
        try:
            return self.files.size(self.path(ref))
        except NotFoundError as error:
            raise _missing(ref) from error

    def read(self, ref: ObjectRef, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object, unchecked; whole without a length.

        Raises:
            MissingObjectError: It is not there.
            DamageError: It is shorter than the asked range.
        """
        try:
            if length is None:
                return self.files.read(self.path(ref))[offset:]
            data = self.files.read_at(self.path(ref), offset, length)
        except NotFoundError as error:
            raise _missing(ref) from error
        if len(data) != length:
            raise DamageError("{object} is shorter than it must be", _REPAIR, object=ref)
        return data

    def read_checked(self, ref: ObjectRef) -> bytes:
        """Return a whole object whose bytes hash to its name.

        Raises:
            MissingObjectError: It is not there.
            DamageError: Its bytes have changed.
        """
        data = self.read(ref)
        if name_of(data) != ref.name:
            raise DamageError("{object} is damaged: its bytes do not hash to its name", _REPAIR, object=ref)
        return data

    def doubt(self, ref: ObjectRef, offset: int, length: int) -> bool:
        """Hear that bytes turned out wrong; return whether reading them again may help. Here it does not."""
        return False

    def names(self, kind: ObjectKind) -> list[ObjectName]:
        """Return the names of all objects of a kind, sorted.

        Raises:
            FormatError: The folder holds something that is no object.
            StorageError: The folder cannot be listed whole.
        """
        folder = posixpath.join(self.folder, kind.folder)
        found = self.files.names(folder)
        if kind is ObjectKind.PACK:
            found = [name for spread in found for name in self.files.names(posixpath.join(folder, spread))]
        try:
            return [object_name(name) for name in found]
        except FormatError as error:
            raise FormatError(
                "the folder {folder} holds something that is not an object", str(error), folder=folder
            ) from error

    def settle(self, refs: Iterable[ObjectRef]) -> None:
        """Make the names of objects that are there durable.

        A process that was killed between its rename and its sync of the folder leaves a name that
        others see and a power cut takes away again: nothing may be built on it before this.
        """
        for folder in sorted({posixpath.dirname(self.path(ref)) for ref in refs}):
            self.files.sync_folder(folder)

    def settle_all(self) -> None:
        """Make the name of everything that is there durable; a run does so before it builds on what it found."""
        self.create()
        packs = posixpath.join(self.folder, ObjectKind.PACK.folder)
        for spread in self.files.names(packs):
            self.files.sync_folder(posixpath.join(packs, spread))
        for kind in ObjectKind:
            self.files.sync_folder(posixpath.join(self.folder, kind.folder))

    def clear_temporary(self) -> int:
        """Remove what an interrupted write left behind; return how many files. Only the writer may call it."""
        folder = posixpath.join(self.folder, "tmp")
        left = self.files.names(folder)
        for name in left:
            self.files.remove(posixpath.join(folder, name))
        return len(left)

    def _keep_damaged(self, ref: ObjectRef) -> None:
        try:
            data = self.files.read(self.path(ref))
        except StorageError:
            return  # not a byte of it comes off the disk any more
        aside = posixpath.join(self.folder, QUARANTINE, f"{ref.kind.name.lower()}-{ref.name.hex()}")
        self.files.make_folder(posixpath.dirname(aside))
        write_durably(self.files, aside, data, temporary=self._temporary(ref))

    def _temporary(self, ref: ObjectRef) -> str:
        return posixpath.join(self.folder, "tmp", f"{ref.name.hex()}.{secrets.token_hex(4)}")

    def _make_spread_folder(self, ref: ObjectRef) -> None:
        if ref.kind is ObjectKind.PACK:
            self.files.make_folder(posixpath.dirname(self.path(ref)))


_REPAIR = "run 'jbackupd vault repair': it takes the object from a site that has it, or says what is affected"


def _missing(ref: ObjectRef) -> JbackupdError:
    return MissingObjectError("{object} is missing from the vault", _REPAIR, object=ref)
