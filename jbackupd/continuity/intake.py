"""What a desk has taken in: the fold of its journal, and the union of several desks'. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from jbackupd.format.intake import (
    Begin,
    Cancellation,
    Correction,
    Entry,
    Number,
    Person,
    Reception,
    Record,
    are_persons,
    are_values,
)
from jbackupd.format.intakekinds import CANCELLATION_PREFIX, CORRECTION_PREFIX, SPECS, Kind, KindSpec
from jbackupd.model.errors import FormatError, NotFoundError, RefusedError
from jbackupd.model.wareki import JST


@dataclass(frozen=True, slots=True)
class Item:
    """A reception as it stands: with what later entries have made of it.

    Attributes:
        journal: Id of its journal, 16 bytes.
        desk: The desk's word.
        position: Of the first record in its journal.
        later: Corrections and the cancellation, oldest first.
    """

    journal: bytes
    desk: str
    position: int
    first: Reception
    later: tuple[Correction | Cancellation, ...] = ()

    @property
    def number(self) -> str:
        """Its number, for people."""
        return self.first.number

    @property
    def spec(self) -> KindSpec:
        """What kind of reception it is."""
        return SPECS[self.first.kind]

    @property
    def revision(self) -> int:
        """How often it was changed."""
        return len(self.later)

    @property
    def cancelled(self) -> Cancellation | None:
        """Its cancellation, if it no longer holds."""
        last = self.later[-1] if self.later else None
        return last if isinstance(last, Cancellation) else None

    @property
    def persons(self) -> tuple[Person, ...]:
        """Whom it is about, as it stands now."""
        return self._stands.persons

    @property
    def fields(self) -> Mapping[str, str]:
        """What it says, as it stands now."""
        return self._stands.fields

    @property
    def _stands(self) -> Reception | Correction:
        return next((one for one in reversed(self.later) if isinstance(one, Correction)), self.first)


@dataclass(slots=True)
class Ledger:
    """One journal's state: the fold of its records, and nothing else.

    Attributes:
        journal: Its id, 16 bytes.
        items: By number, in the order of reception.
        entries: All records but the first, oldest first.
    """

    journal: bytes
    begin: Begin | None = None
    items: dict[str, Item] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    _serials: Counter[tuple[int, str]] = field(default_factory=Counter)
    _nonces: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, journal: bytes, records: Iterable[Record]) -> Ledger:
        """Fold the records of a journal.

        Raises:
            FormatError: A record does not fit the ones before.
        """
        ledger = cls(journal)
        for record in records:
            ledger.add(record)
        return ledger

    def next_number(self, prefix: str, at: datetime) -> str:
        """Return the number that the next entry with a prefix gets."""
        assert self.begin is not None
        year = at.astimezone(JST).year
        return str(Number(year, self.begin.label, prefix, self._serials[year, prefix] + 1))

    def number_of(self, nonce: str) -> str | None:
        """Return the number of the entry that was made of a form; None if there is none."""
        return self._nonces.get(nonce)

    def item_of(self, number: str) -> Item:
        """Return the reception that an entry of this journal is, or changes."""
        changed = (one.first for one in self.entries if one.number == number and not isinstance(one, Reception))
        first = next(changed, number)
        return self.items[first]

    def changeable(self, number: str) -> Item:
        """Return a reception that may be corrected or cancelled.

        Raises:
            NotFoundError: This journal has none of this number.
            RefusedError: It is cancelled.
        """
        item = self.items.get(number)
        if item is None:
            raise NotFoundError(
                "this desk has no reception {number}", "only the desk that took it in can change it", number=number
            )
        if item.cancelled is not None:
            raise RefusedError(
                "the reception {number} is cancelled by {by}", "take it in anew", number=number,
                by=item.cancelled.number,
            )
        return item

    def add(self, record: Record) -> None:
        """Take a record in.

        Raises:
            FormatError: It does not fit the ones before.
        """
        if isinstance(record, Begin):
            if self.begin is not None:
                raise _misfit()
            self.begin = record
            return
        number = self.check(record)
        assert self.begin is not None
        position = len(self.entries) + 1
        if isinstance(record, Reception):
            self.items[record.number] = Item(self.journal, self.begin.desk, position, record)
        else:
            item = self.items[record.first]
            self.items[record.first] = replace(item, later=(*item.later, record))
        self.entries.append(record)
        self._serials[number.year, number.prefix] = number.serial
        self._nonces[record.nonce] = record.number

    def check(self, record: Entry) -> Number:
        """Return the number of an entry that may be added now.

        Raises:
            FormatError: It does not fit the ones before.
        """
        number = Number.parse(record.number)
        if self.begin is None or number is None or not self._follows(number, record) or record.nonce in self._nonces:
            raise _misfit()
        if not isinstance(record, Reception):
            self._check_change(record)
        return number

    def _follows(self, number: Number, record: Entry) -> bool:
        assert self.begin is not None
        prefix = {Correction: CORRECTION_PREFIX, Cancellation: CANCELLATION_PREFIX}.get(type(record))
        if isinstance(record, Reception):
            prefix = SPECS[record.kind].prefix
        return (
            number.label == self.begin.label and number.prefix == prefix
            and number.year == record.at.astimezone(JST).year
            and number.serial == self._serials[number.year, number.prefix] + 1
        )

    def _check_change(self, record: Correction | Cancellation) -> None:
        item = self.items.get(record.first)
        if item is None or item.cancelled is not None:
            raise _misfit()
        if isinstance(record, Correction) and not (
            are_values(item.first.kind, record.fields) and are_persons(item.first.kind, record.persons)
        ):
            raise _misfit()


def merged(ledgers: Iterable[Ledger]) -> list[Item]:
    """Return all receptions of several desks, by time, desk and place in the journal."""
    return _in_order(item for ledger in ledgers for item in ledger.items.values())


def _in_order(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.first.at, item.desk, item.journal, item.position))


def twins(items: Iterable[Item]) -> dict[str, tuple[Item, ...]]:
    """Return the residents, by 宛名番号, about whom several receptions hold that would change the register."""
    by_number: dict[str, list[Item]] = {}
    for item in items:
        if item.spec.changes_register and item.cancelled is None:
            for person in item.persons:
                if person.number:
                    by_number.setdefault(person.number, []).append(item)
    return {number: tuple(found) for number, found in by_number.items() if len(found) > 1}


def same_labels(ledgers: Iterable[Ledger]) -> list[str]:
    """Return the labels that several journals bear: their numbers do not say which desk they are of."""
    counts = Counter(ledger.begin.label for ledger in ledgers if ledger.begin is not None)
    return sorted(label for label, count in counts.items() if count > 1)


@dataclass(frozen=True, slots=True)
class Marks:
    """What was received about a resident, for the pages that show this person.

    Attributes:
        pending: Receptions that will change the register (異動受付済).
        damage: Applications for a disaster certificate.
        safety: The newest safety mark.
        evacuation: The newest registration at a shelter.
    """

    pending: tuple[Item, ...] = ()
    damage: tuple[Item, ...] = ()
    safety: Item | None = None
    evacuation: Item | None = None
    all: tuple[Item, ...] = ()
    """Everything that holds, oldest first."""


NO_MARKS = Marks()


def marks_of(items: Sequence[Item]) -> dict[str, Marks]:
    """Return the marks of every resident with a number about whom something was received.

    Args:
        items: As `merged` returns them: a later mark of safety takes the place of an earlier one.
    """
    marks: dict[str, Marks] = {}
    for item in items:
        if item.cancelled is None:
            for person in item.persons:
                if person.number:
                    marks[person.number] = with_item(marks.get(person.number, NO_MARKS), item)
    return marks


def with_item(marks: Marks, item: Item) -> Marks:
    """Return marks with one more reception, which is later than those before."""
    marks = replace(marks, all=(*marks.all, item))
    if item.spec.changes_register:
        return replace(marks, pending=(*marks.pending, item))
    match item.first.kind:
        case Kind.DAMAGE:
            return replace(marks, damage=(*marks.damage, item))
        case Kind.SAFETY:
            return replace(marks, safety=item)
        case Kind.EVACUATION:
            return replace(marks, evacuation=item)
    return marks


@dataclass(frozen=True, slots=True)
class View:
    """All receptions of several desks with the marks of residents, kept up to date.

    Attributes:
        items: As `merged` returns them.
        seen: How many entries of each journal are in it.
    """

    items: tuple[Item, ...] = ()
    marks: Mapping[str, Marks] = field(default_factory=dict)
    seen: Mapping[bytes, int] = field(default_factory=dict)

    def after(self, ledgers: Sequence[Ledger]) -> View:
        """Return the view of journals as they are now.

        New receptions are put behind the others, a hundredth of the work of doing all anew: every search waits for
        this after every write. Anything else (a correction, a journal that is gone, a clock that went back) is
        done anew.
        """
        seen = {ledger.journal: len(ledger.entries) for ledger in ledgers}
        fresh = [one for ledger in ledgers for one in ledger.entries[self.seen.get(ledger.journal, 0) :]]
        latest = self.items[-1].first.at if self.items else None
        simple = all(seen.get(journal, -1) >= count for journal, count in self.seen.items()) and all(
            isinstance(one, Reception) and (latest is None or one.at > latest) for one in fresh
        )
        if not simple or latest is None:
            items = tuple(merged(ledgers))
            return View(items, marks_of(items), seen)
        new = _in_order(
            ledger.items[one.number] for ledger in ledgers
            for one in ledger.entries[self.seen.get(ledger.journal, 0) :]
        )
        marks = dict(self.marks)
        for item in new:
            for person in item.persons:
                if person.number:
                    marks[person.number] = with_item(marks.get(person.number, NO_MARKS), item)
        return View((*self.items, *new), marks, seen)


def _misfit() -> FormatError:
    return FormatError(
        "an intake journal holds a record that does not fit the ones before", "keep the file as it is and look into it"
    )
