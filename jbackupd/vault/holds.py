"""What people have said must stay: held points, and a freeze that stops all removal; in the folder `retention`.

One file each, made and removed by rename and sync: a hold that was answered survives a power cut, and so does its end.
A hold that cannot be read holds: of two mistakes that is the one that loses nothing.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Iterator
from datetime import datetime

import msgspec

from jbackupd.model.errors import FormatError
from jbackupd.model.ids import ObjectName, object_name
from jbackupd.storage.durable import write_durably
from jbackupd.vault.store import ObjectStore

FOLDER = "retention"
_HOLD = "hold-"
_FREEZE = "frozen"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder says to damaged bytes: msgspec lets broken UTF-8 and deep nesting through as what they are."""


class Hold(msgspec.Struct, frozen=True):
    """A point stays until somebody says otherwise."""

    reason: str
    since: datetime | None


class Freeze(msgspec.Struct, frozen=True):
    """Nothing is removed until somebody says otherwise."""

    reason: str
    since: datetime | None


class Holds:
    """The holds of one store.

    Args:
        store: Where they lie; nothing is written before the first one.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def all(self) -> dict[ObjectName, Hold]:
        """Return the held points."""
        return dict(self._held())

    def hold(self, point: ObjectName, hold: Hold) -> None:
        """Hold a point; durable when this returns. A point that is held already gets the new reason."""
        self._write(_HOLD + point.hex(), msgspec.json.encode(hold))

    def unhold(self, point: ObjectName) -> None:
        """End a hold; durable when this returns.

        Raises:
            NotFoundError: The point is not held.
        """
        self._remove(_HOLD + point.hex())

    def frozen(self) -> Freeze | None:
        """Return the freeze that is in force."""
        path = self._path(_FREEZE)
        if not self._store.files.exists(path):
            return None
        try:
            return msgspec.json.decode(self._store.files.read(path), type=Freeze)
        except _UNREADABLE:
            return Freeze("?", None)

    def freeze(self, freeze: Freeze) -> None:
        """Stop all removal; durable when this returns."""
        self._write(_FREEZE, msgspec.json.encode(freeze))

    def unfreeze(self) -> None:
        """Let things be removed again; durable when this returns.

        Raises:
            NotFoundError: There is no freeze.
        """
        self._remove(_FREEZE)

    def _held(self) -> Iterator[tuple[ObjectName, Hold]]:
        folder = self._path("")
        if not self._store.files.exists(folder):
            return
        for name in self._store.files.names(folder):
            if not name.startswith(_HOLD):
                continue
            try:
                point = object_name(name.removeprefix(_HOLD))
            except FormatError:
                continue
            try:
                hold = msgspec.json.decode(self._store.files.read(self._path(name)), type=Hold)
            except _UNREADABLE:
                hold = Hold("?", None)
            yield point, hold

    def _path(self, name: str) -> str:
        return posixpath.join(self._store.folder, FOLDER, name).rstrip("/")

    def _write(self, name: str, data: bytes) -> None:
        files = self._store.files
        files.make_folder(self._path(""))
        temporary = posixpath.join(self._store.folder, "tmp", f"{name}.{secrets.token_hex(4)}")
        write_durably(files, self._path(name), data, temporary=temporary)

    def _remove(self, name: str) -> None:
        self._store.files.remove(self._path(name))
        self._store.files.sync_folder(self._path(""))
