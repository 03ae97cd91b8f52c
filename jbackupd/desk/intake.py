"""The desk's book of receptions: one journal that it writes, and those of other desks that were brought here.

Every write blocks until it is durable. An entry stands in the audit log before it stands in the journal, so the log
may speak of an entry that then failed (`intake-failed` follows it), never the other way round.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from jbackupd.continuity.intake import Item, Ledger, Marks, View
from jbackupd.desk.audit import Clerk, DeskAudit
from jbackupd.format.intake import (
    Begin,
    Cancellation,
    Correction,
    Entry,
    Person,
    Reception,
    decode_record,
    encode_record,
)
from jbackupd.format.intakekinds import CANCELLATION_PREFIX, CORRECTION_PREFIX, SPECS, Kind
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.ids import TenantId
from jbackupd.storage.sealedjournal import SealedJournal


class Shelf:
    """The journals of other desks."""

    def fingerprint(self) -> object:
        """Return something that differs when a journal has come or grown; cheap."""
        return None

    def ledgers(self) -> Sequence[Ledger]:
        """Return what they hold; one that is there twice counts once."""
        return ()


class Book:
    """The receptions of a desk; may be used from several threads.

    Args:
        open_journal: Opens this desk's own journal; called again after a write failed.
        tenant: Whose residents they are.
        desk: A word that names the desk at this site.
        label: Names it in numbers: 伊万里.
        shelf: What other desks have taken in.
        lock: Shared by the books of a tenant, which look into each other.

    Raises:
        DamageError, KeyringError: The journal cannot be used.
        NoSpaceError, StorageError: It cannot be written.
    """

    def __init__(
        self, open_journal: Callable[[], SealedJournal], *, tenant: TenantId, desk: str, label: str, clock: Clock,
        audit: DeskAudit, shelf: Shelf | None = None, lock: threading.RLock | None = None,
    ) -> None:
        self._open_journal = open_journal
        self._names = (tenant, desk, label)
        self._clock = clock
        self._audit = audit
        self._shelf = shelf or Shelf()
        self._lock = lock or threading.RLock()
        self._journal: SealedJournal | None = None
        self._ledger = Ledger(b"")
        self._known: object = None
        self._view = View()
        with self._lock:
            self._opened()
            self._look_again()

    @property
    def ledger(self) -> Ledger:
        """What this desk has taken in; only for who holds the lock."""
        return self._ledger

    def close(self) -> None:
        """Close the journal; the next write opens it again."""
        with self._lock:
            self._drop()

    def items(self) -> tuple[Item, ...]:
        """Return all receptions of all desks, oldest first."""
        with self._lock:
            self._look_again()
            return self._view.items

    def marks(self) -> Mapping[str, Marks]:
        """Return what was received about residents, by 宛名番号."""
        with self._lock:
            self._look_again()
            return self._view.marks

    def find(self, address: str) -> Item | None:
        """Return a reception of any desk by the address of its page."""
        journal, _, position = address.partition("-")
        return next(
            (item for item in self.items() if item.journal.hex()[:8] == journal and str(item.position) == position),
            None,
        )

    def is_own(self, item: Item) -> bool:
        """Tell whether this desk took it in, and so may change it."""
        return item.journal == self._ledger.journal

    def number_of(self, nonce: str) -> str | None:
        """Return the number of what was taken in with a form before; None if it was not."""
        with self._lock:
            return self._ledger.number_of(nonce)

    def receive(
        self, kind: Kind, persons: tuple[Person, ...], fields: Mapping[str, str], *, clerk: Clerk, nonce: str,
        as_of: datetime,
    ) -> Item:
        """Take something in and return it with its number; the same form again gives the same reception.

        Raises:
            TryLaterError: It is not recorded, and no number was given.
        """

        def make(at: datetime) -> Entry:
            number = self._ledger.next_number(SPECS[kind].prefix, at)
            return Reception(at, number, clerk.account, nonce, kind, as_of, persons, dict(fields))

        return self._write(make, clerk, nonce, kind, persons)

    def correct(
        self, number: str, persons: tuple[Person, ...], fields: Mapping[str, str], *, clerk: Clerk, nonce: str,
        reason: str,
    ) -> Item:
        """Say anew what a reception of this desk holds; what it said before stays in the journal.

        Raises:
            NotFoundError, RefusedError: It is not this desk's, or cancelled.
            TryLaterError: It is not recorded.
        """

        def make(at: datetime) -> Entry:
            self._ledger.changeable(number)
            own = self._ledger.next_number(CORRECTION_PREFIX, at)
            return Correction(at, own, clerk.account, nonce, number, reason, persons, dict(fields))

        return self._write(make, clerk, nonce, self._kind_of(number), persons)

    def cancel(self, number: str, *, clerk: Clerk, nonce: str, reason: str) -> Item:
        """Say that a reception of this desk no longer holds; raises as `correct`."""

        def make(at: datetime) -> Entry:
            self._ledger.changeable(number)
            own = self._ledger.next_number(CANCELLATION_PREFIX, at)
            return Cancellation(at, own, clerk.account, nonce, number, reason)

        with self._lock:
            item = self._ledger.items.get(number)
        return self._write(make, clerk, nonce, self._kind_of(number), item.persons if item else ())

    def _kind_of(self, number: str) -> Kind | None:
        item = self._ledger.items.get(number)
        return item.first.kind if item else None

    def _write(
        self, make: Callable[[datetime], Entry], clerk: Clerk, nonce: str, kind: Kind | None, persons: Sequence[Person],
    ) -> Item:
        """Write an entry: audit log, journal, then it counts; return the reception, or that of the same form before."""
        with self._lock:
            try:
                journal = self._opened()
            except JbackupdError as error:
                raise not_recorded() from error
            before = self._ledger.number_of(nonce)
            if before is not None:
                return self._ledger.item_of(before)
            record = encode_record(make(self._clock.now()))
            # Read before it is written: a record that cannot be read again would close the desk for good.
            entry = decode_record(record)
            assert not isinstance(entry, Begin)
            self._ledger.check(entry)
            self._note(entry, clerk, kind, persons, len(journal.records))
            try:
                journal.append(record)
            except JbackupdError as error:
                self._drop()
                with contextlib.suppress(JbackupdError):
                    self._audit.failed_to_take_in(clerk, number=entry.number)
                raise not_recorded() from error
            self._ledger.add(entry)
            self._known = None
            return self._ledger.item_of(entry.number)

    def _note(self, entry: Entry, clerk: Clerk, kind: Kind | None, persons: Sequence[Person], record: int) -> None:
        first = {"first": entry.first} if isinstance(entry, Correction | Cancellation) else {}
        numbers = [person.number for person in persons if person.number]
        try:
            self._audit.took_in(
                clerk, persons=numbers, number=entry.number, record=record,
                kind=kind.value if kind else "?", **first,
            )
        except JbackupdError as error:
            raise not_recorded() from error

    def _opened(self) -> SealedJournal:
        """Return the journal, opened and folded; begun if it is new."""
        if self._journal is not None:
            return self._journal
        journal = self._open_journal()
        if not journal.records:
            tenant, desk, label = self._names
            journal.append(encode_record(Begin(self._clock.now(), tenant, desk, label)))
        self._ledger = Ledger.of(journal.key.id, map(decode_record, journal.records))
        self._journal, self._known = journal, None
        return journal

    def _drop(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            with contextlib.suppress(JbackupdError):
                journal.close()

    def _look_again(self) -> None:
        known = (len(self._ledger.entries), self._shelf.fingerprint())
        if known != self._known:
            others = [ledger for ledger in self._shelf.ledgers() if ledger.journal != self._ledger.journal]
            self._view = self._view.after([self._ledger, *others])
            self._known = known


def address_of(item: Item) -> str:
    """Return what names a reception in the address of its page; tells nothing of it."""
    return f"{item.journal.hex()[:8]}-{item.position}"


def not_recorded() -> TryLaterError:
    """Return what a clerk is told when nothing was written down."""
    return TryLaterError(
        "this was not recorded, and there is no number for it",
        "write it down on paper and tell the operator: the disk may be full; then send the same form again",
    )
