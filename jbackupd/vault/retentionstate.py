"""What the last reclaim of a vault knew: when it looked, what it saw, what has gone so far; and the room in reserve.

The time of a look that was believed bears witness against a clock that jumps later. The reserve is a file that is given
up when the disk is so full that not even a statement fits; the next run makes it again.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Callable
from datetime import datetime

import msgspec

from jbackupd.model.errors import NoSpaceError
from jbackupd.storage.durable import write_durably
from jbackupd.vault.holds import FOLDER
from jbackupd.vault.store import ObjectStore

RESERVE_BYTES = 256 * 1024
"""An expiry of a thousand points, its name, and the folder's new block."""
_STATE = "state"
_RESERVE = "reserve"


class ReclaimState(msgspec.Struct, frozen=True):
    """What is remembered of earlier runs.

    Attributes:
        believed_at: When the clock was last believed.
        sequences: The newest point of each dataset at that look.
        removed_points: So far.
        freed_bytes: So far.
        moved_bytes: Written anew so far.
    """

    believed_at: datetime | None = None
    sequences: dict[str, int] = {}
    removed_points: int = 0
    freed_bytes: int = 0
    moved_bytes: int = 0


def load_state(store: ObjectStore) -> ReclaimState:
    """Return what is remembered; nothing where there is none, or where it cannot be read."""
    path = _path(store, _STATE)
    if not store.files.exists(path):
        return ReclaimState()
    try:
        return msgspec.json.decode(store.files.read(path), type=ReclaimState)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ReclaimState()


def save_state(store: ObjectStore, state: ReclaimState) -> None:
    """Remember; durable when this returns."""
    _write(store, _STATE, msgspec.json.encode(state))


def keep_reserve(store: ObjectStore) -> bool:
    """Make the reserve if it is not there; tell whether it is."""
    path = _path(store, _RESERVE)
    if not store.files.exists(path):
        try:
            # Zeros would take no room on a file system that compresses.
            _write(store, _RESERVE, secrets.token_bytes(RESERVE_BYTES))
        except NoSpaceError:
            return False
    return True


def with_reserve(store: ObjectStore, deed: Callable[[], None]) -> None:
    """Do something small; on a full disk give the reserve up for it.

    Raises:
        NoSpaceError: There is no room even so.
    """
    try:
        deed()
    except NoSpaceError:
        path = _path(store, _RESERVE)
        if not store.files.exists(path):
            raise
        store.files.remove(path)
        store.files.sync_folder(posixpath.dirname(path))
        deed()


def _path(store: ObjectStore, name: str) -> str:
    return posixpath.join(store.folder, FOLDER, name)


def _write(store: ObjectStore, name: str, data: bytes) -> None:
    path = _path(store, name)
    store.files.make_folder(posixpath.dirname(path))
    temporary = posixpath.join(store.folder, "tmp", f"{name}.{secrets.token_hex(4)}")
    write_durably(store.files, path, data, temporary=temporary)
