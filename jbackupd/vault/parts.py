"""Packs of which only parts are here: what was read on demand stays, and the rest is filled in around it.

    vaults/TENANT/parts/NAME         sparse: the bytes that are here, at their places
    vaults/TENANT/parts/NAME.map     which bytes those are:

    map:  offset  size  field
          0       n     msgpack: [1, size of the pack, [[begin, end], ...]]
          n       32    BLAKE3-256 of it

A map speaks only of bytes that were synced before it was written; what a crash loses of the newest is fetched again.
What the bytes are worth is decided elsewhere: a frame by its seal whenever it is read, the whole pack by its name
before it becomes an object of the vault.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
from collections.abc import Callable, Iterator

import msgspec

from jbackupd.codec.hashing import name_hasher, name_of
from jbackupd.format.header import HEADER_BYTES, check_header
from jbackupd.model.errors import DamageError, FormatError, JbackupdError, MissingObjectError, NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, object_name
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.sparse import SparseFile
from jbackupd.vault.ranges import Range, Ranges
from jbackupd.vault.store import ObjectStore

FOLDER = "parts"
_VERSION = 1
_HASH_BYTES = 4 * 1024 * 1024
_DIGEST_BYTES = 32
_decoder = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[int, int]]])


def encode_map(size: int, here: Ranges) -> bytes:
    """Return the bytes of a map."""
    body = msgspec.msgpack.encode((_VERSION, size, list(here)))
    return body + name_of(body)


def decode_map(data: bytes, size: int) -> Ranges:
    """Return what a map says.

    Args:
        size: Of the pack; a map of another size is of no use.

    Raises:
        FormatError: It is damaged, or not of such a pack.
    """
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if name_of(body) != digest:
        raise FormatError("the map of a part is damaged")
    try:
        version, written, ranges = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the map of a part is malformed") from error
    last = 0
    for begin, end in ranges:
        if not last <= begin < end <= size:
            raise FormatError("the map of a part is out of range")
        last = end
    if version != _VERSION or written != size:
        raise FormatError("the map of a part is of another pack")
    return Ranges(ranges)


class Part:
    """What is here of one pack. Safe for several threads. Made by `Parts.of`."""

    def __init__(self, parts: Parts, name: ObjectName, size: int) -> None:
        self.name = name
        self.size = size
        self._parts = parts
        self._lock = threading.Lock()
        self._here = parts.load(name, size)
        self._is_saved = True
        self.is_whole = False
        """It is an object of the vault now."""

    @property
    def here_bytes(self) -> int:
        """How many of its bytes are here."""
        with self._lock:
            return self.size if self.is_whole else self._here.total

    def covers(self, begin: int, end: int) -> bool:
        """Tell whether a range is here."""
        with self._lock:
            return self.is_whole or self._here.covers(begin, end)

    def holes(self, begin: int, end: int) -> list[Range]:
        """Return what of a range is not here."""
        with self._lock:
            return [] if self.is_whole else self._here.holes(begin, end)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that are here, unchecked; anything, also less, for what is not."""
        with self._lock:
            if self.is_whole:
                return self._parts.read_whole(self.name, offset, length)
            with self._parts.opened(self.name) as file:
                return file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Keep bytes that came; durable after `save`."""
        with self._lock:
            if self.is_whole:
                return
            with self._parts.opened(self.name) as file:
                file.write(offset, data)
            self._here.add(offset, offset + len(data))
            self._is_saved = False

    def forget(self, begin: int, end: int) -> None:
        """Let a range count as not here: its bytes are not what they must be."""
        with self._lock:
            self._here.remove(begin, end)
            self._is_saved = False

    def save(self) -> None:
        """Make what is here durable, and then the map that says so."""
        with self._lock:
            if self._is_saved or self.is_whole:
                return
            with self._parts.opened(self.name) as file:
                file.sync()
            self._parts.save_map(self.name, encode_map(self.size, self._here))
            self._is_saved = True

    def finish(self) -> None:
        """Make a pack that is here whole an object of the vault.

        Raises:
            DamageError: Its bytes do not hash to its name; all of them were thrown away.
        """
        with self._lock:
            if self.is_whole:
                return
            with self._parts.opened(self.name) as file:
                file.sync()
                right = self._here.covers(0, self.size) and _is_right(file, self.name, self.size)
            if not right:
                self._here = Ranges()
                self._parts.remove(self.name)
                raise DamageError(
                    "unable to take {object}: the bytes that came do not hash to its name",
                    "they were thrown away; check the disk and memory of the site that sent them",
                    object=ObjectRef(ObjectKind.PACK, self.name),
                )
            self._parts.adopt(self.name)
            self.is_whole = True


class Parts:
    """The packs of one tenant that are here in parts. One process uses them at a time. Close it after use.

    Args:
        files: The state folder.
        store: The tenant's objects; whole packs move there.

    Raises:
        BusyError: Another process fills the tenant's packs just now.
    """

    def __init__(self, files: PosixFiles, store: ObjectStore) -> None:
        self._files = files
        self._store = store
        self._sizes: list[Callable[[ObjectName], int | None]] = []
        self._folder = posixpath.join(store.folder, FOLDER)
        self._lock = threading.Lock()
        self._parts: dict[ObjectName, Part] = {}
        files.make_folder(self._folder)
        self._guard = SparseFile(os.path.join(files.root, self._folder, "lock"), alone=True)
        self._clear()

    @contextlib.contextmanager
    def sizes_from(self, size_of: Callable[[ObjectName], int | None]) -> Iterator[None]:
        """Let somebody tell how long packs are that are not in the store; None from who does not know one."""
        with self._lock:
            self._sizes.append(size_of)
        try:
            yield
        finally:
            with self._lock:
                self._sizes.remove(size_of)

    def of(self, name: ObjectName) -> Part:
        """Return what is here of a pack.

        Raises:
            MissingObjectError: Nothing says how long it is.
        """
        with self._lock:
            part = self._parts.get(name)
            if part is None:
                size = next((size for told in self._sizes if (size := told(name)) is not None), None)
                if size is None:
                    raise MissingObjectError(
                        "{object} is missing from the vault, and no index lists it", "fetch the whole dataset",
                        object=ObjectRef(ObjectKind.PACK, name),
                    )
                part = self._parts[name] = Part(self, name, size)
            return part

    def save(self) -> None:
        """Make what has come durable, with its maps."""
        with self._lock:
            parts = list(self._parts.values())
        for part in parts:
            part.save()

    def close(self) -> None:
        """Save and let go; harmless twice."""
        try:
            self.save()
        finally:
            self._guard.close()

    # What a part asks for.

    def load(self, name: ObjectName, size: int) -> Ranges:
        """Return what a map says is here; nothing where there is none that can be used."""
        try:
            return decode_map(self._files.read(self._path(name) + ".map"), size)
        except (NotFoundError, FormatError):
            return Ranges()

    def opened(self, name: ObjectName) -> contextlib.closing[SparseFile]:
        """Open a part's bytes: for each call anew, since a vault of terabytes has more packs than a process files."""
        return contextlib.closing(SparseFile(os.path.join(self._files.root, self._path(name))))

    def read_whole(self, name: ObjectName, offset: int, length: int) -> bytes:
        """Return bytes of a pack that is an object of the vault by now."""
        return self._store.read(ObjectRef(ObjectKind.PACK, name), offset, length)

    def save_map(self, name: ObjectName, data: bytes) -> None:
        """Write a map."""
        write_durably(self._files, self._path(name) + ".map", data, temporary=self._path(name) + ".map.new")

    def adopt(self, name: ObjectName) -> None:
        """Let a whole pack be an object of the vault."""
        self._store.adopt(ObjectRef(ObjectKind.PACK, name), self._path(name))
        self.remove(name)

    def remove(self, name: ObjectName) -> None:
        """Remove what there is of a part."""
        for path in (self._path(name) + ".map", self._path(name)):
            if self._files.exists(path):
                self._files.remove(path)

    def _path(self, name: ObjectName) -> str:
        return posixpath.join(self._folder, name.hex())

    def _clear(self) -> None:
        """Remove the parts of packs that have come whole in another way, and what a crash left."""
        for name in self._files.names(self._folder):
            hexes, _, ending = name.partition(".")
            with contextlib.suppress(FormatError):
                ref = ObjectRef(ObjectKind.PACK, object_name(hexes))
                if self._store.has(ref) or ending == "map.new":
                    self._files.remove(posixpath.join(self._folder, name))


def _is_right(file: SparseFile, name: ObjectName, size: int) -> bool:
    hasher = name_hasher()
    for position in range(0, size, _HASH_BYTES):
        block = file.read(position, min(_HASH_BYTES, size - position))
        if position == 0:
            try:
                check_header(block[:HEADER_BYTES], ObjectKind.PACK)
            except JbackupdError:
                return False
        hasher.update(block)
    return hasher.digest() == name
