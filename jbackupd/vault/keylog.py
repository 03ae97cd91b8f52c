"""What was done with a tenant's shares at this site: sets that were made, rehearsals. Nothing secret.

STATE/keylog/TENANT/MOMENT-EVENT-XXXX.json, one file each, durable, never changed: made without the lock of the
state folder, also at a site that only holds the vault.
"""

from __future__ import annotations

import posixpath
import secrets
from datetime import UTC, datetime
from typing import Literal

import msgspec

from jbackupd.model.errors import FormatError
from jbackupd.model.ids import TenantId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "keylog"
_ENDING = ".json"


class ShareEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of shares was made, or given for a rehearsal.

    Attributes:
        at: Aware UTC.
        recovery_key: Fingerprint of the recovery key, 32 hex digits; empty if the shares opened none.
        set: The set's id, 16 hex digits; empty if the shares were of several sets.
        shares: The numbers of the shares that were given.
        result: Of a rehearsal: "opened", or the stable code of what went wrong.
        sessions: Of a rehearsal: how many session keys the shares opened.
    """

    at: datetime
    event: Literal["made", "rehearsed"]
    recovery_key: str
    set: str
    threshold: int
    count: int
    shares: tuple[int, ...] = ()
    result: str = ""
    sessions: int = 0


def note(files: Files, tenant: TenantId, event: ShareEvent) -> None:
    """Write an event down; durable when this returns."""
    folder = posixpath.join(FOLDER, tenant)
    files.make_folder(folder)
    moment = event.at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = posixpath.join(folder, f"{moment}-{event.event}-{secrets.token_hex(4)}{_ENDING}")
    write_durably(files, path, msgspec.json.encode(event), temporary=path + ".new")


def events(files: Files, tenant: TenantId) -> list[ShareEvent]:
    """Return all events of a tenant, oldest first.

    Raises:
        FormatError: One of them is malformed.
    """
    folder = posixpath.join(FOLDER, tenant)
    names = [name for name in files.names(folder) if name.endswith(_ENDING)] if files.exists(folder) else []
    return sorted((_read(files, posixpath.join(folder, name)) for name in names), key=lambda event: event.at)


def _read(files: Files, path: str) -> ShareEvent:
    try:
        return msgspec.json.decode(files.read(path), type=ShareEvent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("{path} is not a note about shares", "remove the file", path=path) from error
