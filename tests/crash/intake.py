"""Scenario: a clerk takes forms in at a desk; what got a number is there for ever, under that number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.desk.audit import open_audit
from jbackupd.desk.intake import Book, Clerk
from jbackupd.format.intakekinds import Kind
from jbackupd.model.clock import ManualClock
from jbackupd.storage.sealedjournal import SealedJournal
from tests.crash.local_backup import LOCAL_KEY, TENANT
from tests.crash.memory import MemoryFiles
from tests.crash.states import Key
from tests.support.intakes import AS_OF, AT, HANAKO, fields_of, nonce

FOLDER = "intake/imari/desks/desk"
CLERK = Clerk("kubo", "127.0.0.1")
FORMS = (Kind.DEATH, Kind.DAMAGE, Kind.DEATH)


@dataclass(frozen=True)
class Shown:
    """A clerk was shown a number."""

    nonce: str
    number: str


def book_on(files: MemoryFiles) -> Book:
    """Open the desk's book."""
    clock = ManualClock(AT)
    return Book(
        functools.partial(SealedJournal.open, files, FOLDER, LOCAL_KEY, purpose=b"intake imari desk"), tenant=TENANT,
        desk="desk", label="伊万里", clock=clock, audit=open_audit(files, "audit/imari", clock),
    )


class TakeIn:
    """Three forms are sent, and the first is corrected; every form is sent again after a restart."""

    name = "intake"
    uses_catalog = False
    in_order = False

    def prepare(self) -> Key:
        return ()

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files)

    def _work(self, files: MemoryFiles) -> None:
        book = book_on(files)
        numbers = []
        for count, kind in enumerate(FORMS):
            item = book.receive(kind, (HANAKO,), fields_of(kind), clerk=CLERK, nonce=nonce(count), as_of=AS_OF)
            files.mark(Shown(nonce(count), item.number))
            numbers.append(item.number)
        fields = fields_of(Kind.DEATH, place="病院")
        book.correct(numbers[0], (HANAKO,), fields, clerk=CLERK, nonce=nonce(9), reason="誤記")
        files.mark(Shown(nonce(9), "2026-伊万里-訂正-0001"))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        book = book_on(files)
        for fact in facts:
            if isinstance(fact, Shown):
                assert book.number_of(fact.nonce) == fact.number, f"{fact.number} was shown, and is not there"
        book.close()
        self._work(files)
        assert [item.number for item in book_on(files).items()] == [
            "2026-伊万里-死亡-0001", "2026-伊万里-罹災-0001", "2026-伊万里-死亡-0002",
        ]

    def essence(self, key: Key) -> object:
        return key
