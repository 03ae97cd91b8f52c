"""Receptions for tests: a journal of a desk in memory, and what a clerk would have typed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from jbackupd.continuity.intake import Ledger
from jbackupd.format.intake import Begin, Cancellation, Correction, Entry, Person, Reception
from jbackupd.format.intakekinds import CANCELLATION_PREFIX, CORRECTION_PREFIX, SPECS, FieldType, Kind

AT = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
AS_OF = datetime(2026, 11, 22, 19, 10, tzinfo=UTC)
HANAKO = Person("佐藤 花子", "20114007", "サトウ ハナコ", "1993-01-01")
SAMPLES = {FieldType.DAY: "2026-11-23", FieldType.TIME: "04:10", FieldType.COUNT: "3"}


def fields_of(kind: Kind, **said: str) -> dict[str, str]:
    """Return the least that a form of a kind holds."""
    found = {
        field.name: field.choices[0].code if field.choices else SAMPLES.get(field.type, "不詳")
        for field in SPECS[kind].fields if field.required
    }
    return {**found, **said}


def nonce(number: int) -> str:
    """Return a form's nonce."""
    return f"nonce-{number:010d}"


class Desk:
    """A journal that is written record by record, and its ledger."""

    def __init__(self, label: str = "伊万里", *, journal: bytes = b"j" * 16, desk: str = "desk") -> None:
        self.ledger = Ledger(journal)
        self.now = AT
        self.count = 0
        self.ledger.add(Begin(AT, "imari", desk, label))

    def receive(
        self, kind: Kind, persons: tuple[Person, ...] = (HANAKO,), fields: Mapping[str, str] | None = None
    ) -> str:
        """Take something in; return its number."""
        number = self.ledger.next_number(SPECS[kind].prefix, self._tick())
        said = dict(fields or fields_of(kind))
        self._add(Reception(self.now, number, "kubo", self._nonce(), kind, AS_OF, persons, said))
        return number

    def correct(self, first: str, persons: tuple[Person, ...] | None = None, **said: str) -> str:
        """Change what a reception says."""
        item = self.ledger.items[first]
        number = self.ledger.next_number(CORRECTION_PREFIX, self._tick())
        self._add(Correction(
            self.now, number, "kubo", self._nonce(), first, "誤記", persons or item.persons, {**item.fields, **said}
        ))
        return number

    def cancel(self, first: str) -> str:
        """Cancel a reception."""
        number = self.ledger.next_number(CANCELLATION_PREFIX, self._tick())
        self._add(Cancellation(self.now, number, "kubo", self._nonce(), first, "二重受付"))
        return number

    def _tick(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    def _nonce(self) -> str:
        self.count += 1
        return nonce(self.count)

    def _add(self, entry: Entry) -> None:
        self.ledger.add(entry)
