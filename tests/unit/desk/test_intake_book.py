"""What a book of receptions promises on a disk that fails, and to several clerks at once."""

import functools
import threading

import pytest

from jbackupd.desk.audit import open_audit
from jbackupd.desk.intake import Book, Clerk, address_of
from jbackupd.format.intakekinds import Kind
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import DamageError, NoSpaceError, NotFoundError, StorageError, TryLaterError
from jbackupd.model.ids import TenantId
from jbackupd.service.intake import Books, label_of
from jbackupd.storage.chain import read_chain
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.sealedjournal import SealedJournal
from tests.support.intakes import AS_OF, AT, HANAKO, fields_of, nonce

KEY, CLERK, TENANT = b"l" * 32, Clerk("kubo", "::1"), TenantId("imari")


class FailingHandle:
    """A handle whose writes stop halfway, or whose syncs fail, when told to."""

    def __init__(self, inner, files):
        self.inner, self.files = inner, files

    def write(self, data):
        if self.files.full:
            self.inner.write(data[: len(data) // 2])
            raise NoSpaceError("full")
        self.inner.write(data)

    def sync(self):
        if self.files.broken:
            raise StorageError("sync failed")
        self.inner.sync()

    def close(self):
        self.inner.close()


class FailingFiles(PosixFiles):
    full = broken = stubborn = False

    def append(self, path):
        return FailingHandle(super().append(path), self)

    def truncate(self, path, length):
        if self.stubborn:
            raise StorageError("truncate failed")
        super().truncate(path, length)


@pytest.fixture
def files(tmp_path):
    return FailingFiles(str(tmp_path / "desk"))


@pytest.fixture
def audit(tmp_path):
    return open_audit(PosixFiles(str(tmp_path / "audit")), "a", ManualClock(AT))


@pytest.fixture
def book(files, audit):
    journal = functools.partial(SealedJournal.open, files, "intake", KEY, purpose=b"intake imari")
    return Book(journal, tenant=TENANT, desk="desk", label="伊万里", clock=ManualClock(AT), audit=audit)


def receive(book, form, kind=Kind.DEATH):
    return book.receive(kind, (HANAKO,), fields_of(kind), clerk=CLERK, nonce=nonce(form), as_of=AS_OF).number


@pytest.mark.parametrize("fault", ["full", "broken"])
def test_what_is_not_durable_has_no_number_and_the_next_number_is_the_same(book, files, fault):
    assert receive(book, 1) == "2026-伊万里-死亡-0001"
    setattr(files, fault, True)
    for _ in range(2):
        with pytest.raises(TryLaterError):
            receive(book, 2)
    assert len(book.items()) == 1
    setattr(files, fault, False)
    assert receive(book, 2) == "2026-伊万里-死亡-0002"
    assert receive(book, 1) == "2026-伊万里-死亡-0001"


def test_what_could_not_be_taken_back_is_the_same_forms_reception_later(book, files):
    files.broken = files.stubborn = True
    with pytest.raises(TryLaterError):
        receive(book, 1)
    files.broken = files.stubborn = False
    # The record stands in the file after all: another form must not get its number.
    assert receive(book, 2) == "2026-伊万里-死亡-0002"
    assert receive(book, 1) == "2026-伊万里-死亡-0001"


def test_many_clerks_get_many_numbers_and_the_audit_log_has_each_before_it_is_shown(book, audit, tmp_path):
    numbers, barrier = [], threading.Barrier(8)

    def clerk(first):
        barrier.wait()
        for form in range(first, first + 5):
            numbers.append(receive(book, form))
            numbers.append(receive(book, form))

    threads = [threading.Thread(target=clerk, args=(100 * count,)) for count in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(numbers)) == [f"2026-伊万里-死亡-{count:04d}" for count in range(1, 41)]
    assert all(numbers.count(number) == 2 for number in numbers)
    entries = [entry.fields for entry in read_chain(PosixFiles(str(tmp_path / "audit")), "a/desk.chain")]
    assert [(one["number"], one["record"]) for one in entries if one["what"] == "intake"] == [
        (number, count) for count, number in enumerate(sorted(set(numbers)), start=1)
    ]


def test_a_form_of_one_kind_sent_as_another_gives_what_it_was(book):
    number = receive(book, 1)
    assert receive(book, 1, Kind.DAMAGE) == number
    book.correct(number, (HANAKO,), fields_of(Kind.DEATH), clerk=CLERK, nonce=nonce(2), reason="x")
    assert receive(book, 2) == number, "the form of a correction is no new reception"
    with pytest.raises(NotFoundError):
        book.cancel("2026-北-死亡-0001", clerk=CLERK, nonce=nonce(3), reason="x")


def test_a_page_is_found_by_an_address_that_tells_nothing(book):
    receive(book, 1)
    (item,) = book.items()
    assert book.find(address_of(item)) == item and "死亡" not in address_of(item)
    for wrong in ("", "-", "00000000-1", address_of(item) + "0"):
        assert book.find(wrong) is None


def test_a_damaged_journal_of_another_desk_is_told_and_keeps_no_desk_from_working(files, audit):
    told = []
    books = Books(files, lambda: KEY, ManualClock(AT), lambda folder, error: told.append((folder, error)))
    receive(books.of(TENANT, "north", "伊万里市", audit), 1)
    path = "intake/imari/desks/north/journal"
    data = bytearray(files.read(path))
    data[40] ^= 1
    (place,) = [f"{files.root}/{path}"]
    with open(place, "wb") as file:
        file.write(bytes(data))
    again = Books(files, lambda: KEY, ManualClock(AT), lambda folder, error: told.append((folder, error)))
    south = again.of(TENANT, "south", "伊万里市", audit)
    receive(south, 2)
    assert len(south.items()) == 1 and told and isinstance(told[0][1], DamageError)
    with pytest.raises(DamageError):
        again.of(TENANT, "north", "伊万里市", audit)


def test_a_desks_label_is_its_towns_name():
    assert [label_of(title) for title in ("伊万里市", "四日市市", "大町町", "市", "佐賀 広域", "", "★")] == [
        "伊万里", "四日市", "大町", "市", "佐賀広域", "窓口", "窓口",
    ]
