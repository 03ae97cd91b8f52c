"""Erasing an intake journal that has been handed over: its key first, so that no copy of it can be read any more.

    FOLDER/erased-ID8    JSON: at, journal (id, hex), label, entries; written before anything is destroyed

The note stays. It keeps the label: a desk that is opened here again gets another one, so no number is ever given twice.
Blocks.
"""

from __future__ import annotations

import posixpath
from datetime import datetime

import msgspec

from jbackupd.model.errors import NotFoundError, RefusedError
from jbackupd.service.intake import read_ledger
from jbackupd.service.intakeplaces import ERASED, Erased, Place, erased
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import Files
from jbackupd.storage.sealedjournal import JOURNAL_NAME, KEY_NAME


def erase_journal(files: Files, place: Place, site_key: bytes, *, entries: int, now: datetime) -> Erased:
    """Destroy a journal; may be called again after a kill. Nobody may be writing it.

    Args:
        entries: How many the site that it was handed over to has: proof that somebody looked.

    Raises:
        NotFoundError: There is no such journal.
        RefusedError: It holds another number of entries; nothing was changed.
    """
    journal, key = (posixpath.join(place.folder, name) for name in (JOURNAL_NAME, KEY_NAME))
    if not files.exists(journal):
        raise NotFoundError(
            "there is no intake journal {desk}", "see 'jbackupd desk journal list'", desk=place.name
        )
    notes = erased(files, place)
    if notes and not files.exists(key):
        # Killed after the key was destroyed.
        destroy_durably(files, journal)
        return notes[-1]
    ledger = read_ledger(files, place, site_key)
    if len(ledger.entries) != entries:
        raise RefusedError(
            "the journal {desk} holds {here} entries, not {given}",
            "bring it to the rebuilt site once more, and compare with 'jbackupd desk journal list' there",
            desk=place.name, here=len(ledger.entries), given=entries,
        )
    note = Erased(now, ledger.journal.hex(), ledger.begin.label if ledger.begin else "", entries)
    path = posixpath.join(place.folder, ERASED + note.journal[:8])
    write_durably(files, path, msgspec.json.encode(note), temporary=path + ".new")
    destroy_durably(files, key)
    destroy_durably(files, journal)
    return note
