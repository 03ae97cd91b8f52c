"""Where the journals of desks lie in the state folder. Everything here blocks.

    STATE/intake/TENANT/desks/DESK/       the journals of this site's desks
    STATE/intake/TENANT/received/ID/      those of other sites and laptops, brought here as files
    STATE/intake/TENANT/queue/            the failback queue's

Each is a sealed journal (storage.sealedjournal) under this site's local key. They lie apart from the folders of
recovery runs: removing a run never removes what clerks have taken in. Where a journal was erased a note stays,
erased-ID8: JSON with at, journal (id, hex), label, entries.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from datetime import datetime

import msgspec

from jbackupd.model.errors import FormatError
from jbackupd.model.ids import TenantId, is_word
from jbackupd.storage.files import Files
from jbackupd.storage.sealedjournal import JOURNAL_NAME, KEY_NAME

FOLDER = "intake"
DESKS, RECEIVED = "desks", "received"
ERASED = "erased-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal lies.

    Attributes:
        received: It was brought here as a file: nobody writes it.
        name: The desk's word, or the journal's id in hex.
    """

    tenant: TenantId
    received: bool
    name: str

    @property
    def folder(self) -> str:
        """Its folder in the state folder."""
        return posixpath.join(FOLDER, self.tenant, RECEIVED if self.received else DESKS, self.name)


class Erased(msgspec.Struct, frozen=True):
    """What is left of a journal."""

    at: datetime
    journal: str
    label: str
    entries: int


def erased(files: Files, place: Place) -> list[Erased]:
    """Return what was erased at a place.

    Raises:
        FormatError: A note is damaged: labels might be given twice.
    """
    names = files.names(place.folder) if files.exists(place.folder) else []
    try:
        return [
            msgspec.json.decode(files.read(posixpath.join(place.folder, name)), type=Erased)
            for name in names if name.startswith(ERASED) and not name.endswith(".new")
        ]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("a note of an erased journal in {folder} is damaged", folder=place.folder) from error


def purpose_of(tenant: str) -> bytes:
    """Return what the key of a tenant's intake journals is sealed for."""
    return b"intake " + tenant.encode()


def places(files: Files, tenant: TenantId) -> list[Place]:
    """Return all journals of a tenant at this site."""
    found: list[Place] = []
    for received, kind in ((False, DESKS), (True, RECEIVED)):
        folder = posixpath.join(FOLDER, tenant, kind)
        names = files.names(folder) if files.exists(folder) else []
        found += [
            place for name in names if _holds_journal(files, place := Place(tenant, received, name))
        ]
    return found


def tenants_with_intake(files: Files) -> list[TenantId]:
    """Return the tenants that have journals here."""
    names = files.names(FOLDER) if files.exists(FOLDER) else []
    return [TenantId(name) for name in names if is_word(name) and places(files, TenantId(name))]


def erased_at(files: Files, tenant: TenantId) -> list[Erased]:
    """Return what was erased of a tenant's desks at this site."""
    folder = posixpath.join(FOLDER, tenant, DESKS)
    names = files.names(folder) if files.exists(folder) else []
    return [note for name in names for note in erased(files, Place(tenant, False, name))]


def _holds_journal(files: Files, place: Place) -> bool:
    """Tell whether there is a journal, and not only what an erasure that was cut short has left of it."""
    journal, key = (posixpath.join(place.folder, name) for name in (JOURNAL_NAME, KEY_NAME))
    return files.exists(journal) and (files.exists(key) or not erased(files, place))
