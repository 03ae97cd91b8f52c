"""The failback queue of a tenant at this site: its receptions, its journal, and the rebuilt register. Blocks."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from jbackupd.continuity.failback import (
    ItemEvent,
    Note,
    Queue,
    QueueBegin,
    Task,
    decode_note,
    encode_note,
    next_note,
    queue_of,
)
from jbackupd.continuity.intake import Ledger, merged, same_labels
from jbackupd.continuity.reconcile import Proposal, Register, Registered, propose
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.folding import fold_name
from jbackupd.desk.query import Kind, Meaning, Query
from jbackupd.desk.residents import Resident, Residents
from jbackupd.format.intake import Person
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import TenantId
from jbackupd.service.intake import read_ledgers
from jbackupd.service.intakeplaces import FOLDER, purpose_of
from jbackupd.service.lock import state_lock
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.sealedjournal import SealedJournal

LIKE_MAX = 20
"""Persons of one name who are proposed for one reception."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the queue is made of.

    Attributes:
        labels: That two journals bear.
    """

    ledgers: Sequence[Ledger]
    labels: Sequence[str]


class Failback:
    """A tenant's queue, as it stands; one writer, see `opened`."""

    def __init__(self, tenant: TenantId, ledgers: Sequence[Ledger], journal: SealedJournal) -> None:
        self.tenant = tenant
        self.facts = Facts(ledgers, same_labels(ledgers))
        self._items = merged(ledgers)
        self._journal = journal
        self._notes = _notes(journal.records, tenant)
        self.queue: Queue = queue_of(self._items, self._notes)

    def note(self, name: str, do: ItemEvent, by: str, reason: str, at: datetime) -> Task:
        """Note what somebody does with an item; durable before this returns, and only then true.

        Args:
            name: The item's number, or JOURNAL:NUMBER.

        Raises:
            NotFoundError: There is no such item.
            UsageError: The name is not clear, or something is missing.
            RefusedError: It cannot be done now, or not by the same person.
        """
        task = self.queue.find(name)
        note = next_note(task, do, by, reason, at)
        if not self._journal.records:
            self._journal.append(encode_note(QueueBegin(at, self.tenant)))
        self._journal.append(encode_note(note))
        self._notes.append(note)
        self.queue = queue_of(self._items, self._notes)
        return self.queue.find(f"{note.journal}:{note.number}")


def queue_folder(tenant: TenantId) -> str:
    """Return the folder of a tenant's queue in the state folder."""
    return posixpath.join(FOLDER, tenant, "queue")


@contextlib.contextmanager
def opened(files: PosixFiles, tenant: TenantId, site_key: bytes) -> Iterator[Failback]:
    """Open a tenant's queue for one command; its lock is held meanwhile.

    Raises:
        BusyError: Another command works with it.
        DamageError, KeyringError: A journal cannot be read: a queue that is not whole is not shown.
    """
    folder = queue_folder(tenant)
    files.make_folder(folder)
    with state_lock(os.path.join(files.root, folder)):
        ledgers = read_ledgers(files, tenant, site_key)
        journal = SealedJournal.open(files, folder, site_key, purpose=b"failback " + purpose_of(tenant))
        try:
            yield Failback(tenant, ledgers, journal)
        finally:
            journal.close()


def reconcile(queue: Queue, extract: BinaryIO, mapping: ColumnMap, as_of: datetime, *, folder: str) -> list[Proposal]:
    """Compare what is open with a fresh extract of the rebuilt system.

    Args:
        folder: Where the extract may lie as a database meanwhile; nothing of it stays.

    Raises:
        RefusedError, ConfigError, FormatError, DamageError: The extract is not usable; see `load_extract`.
    """
    database = os.path.join(folder, "register.sqlite")
    try:
        load_extract(extract, mapping=mapping, database=database, as_of=as_of, loaded_from="failback")
        residents = Residents(database)
        try:
            register = _register(residents)
            return [propose(task.item, register) for task in queue.open]
        finally:
            residents.close()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(database)


def _register(residents: Residents) -> Register:
    def find(number: str) -> Registered | None:
        found = residents.by_number(number)
        return _registered(found) if found else None

    def like(person: Person) -> list[Registered]:
        meanings = [Meaning(Kind.NAME, fold_name(person.name))]
        if person.birth:
            meanings.append(Meaning(Kind.BIRTH, person.birth))
        found = residents.search(_query(*meanings), limit=LIKE_MAX).residents
        return [_registered(one) for one in found if fold_name(one.name) == fold_name(person.name)]

    return Register(find, like)


def _query(*meanings: Meaning) -> Query:
    return Query("", tuple((meaning,) for meaning in meanings))


def _registered(resident: Resident) -> Registered:
    birth = resident.birthday.isoformat() if resident.birthday else resident.birth
    address = resident.address + resident.town + resident.lot + resident.building
    return Registered(resident.number, resident.name, resident.kana, birth, resident.state, address)


def _notes(records: Sequence[bytes], tenant: TenantId) -> list[Note]:
    found = [decode_note(record) for record in records]
    first, rest = found[:1], found[1:]
    notes = [one for one in rest if isinstance(one, Note)]
    sound = all(isinstance(one, QueueBegin) and one.tenant == tenant for one in first) and len(notes) == len(rest)
    if not sound:
        raise FormatError("the failback queue of {tenant} does not begin as one", tenant=tenant)
    return notes
