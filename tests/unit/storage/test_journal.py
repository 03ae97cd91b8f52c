"""What a journal file promises: order, durability, and no acknowledgement after a failed sync."""

import pathlib

import pytest

from jbackupd.model.errors import DamageError, NoSpaceError, StorageError, UsageError
from jbackupd.storage.files import Files, Handle, PosixFiles
from jbackupd.storage.journal import Journal


class FailingHandle:
    """A handle whose writes stop halfway, or whose syncs fail, when told to."""

    def __init__(self, inner: Handle, files: "FailingFiles") -> None:
        self.inner, self.files = inner, files

    def write(self, data: bytes | memoryview) -> None:
        if self.files.full:
            self.inner.write(data[: len(data) // 2])
            raise NoSpaceError("full")
        self.inner.write(data)

    def sync(self) -> None:
        if self.files.broken:
            self.files.broken -= 1
            raise StorageError("sync failed")
        self.inner.sync()

    def close(self) -> None:
        self.inner.close()


class FailingFiles(PosixFiles):
    full = False
    broken = 0

    def append(self, path: str) -> Handle:
        return FailingHandle(super().append(path), self)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> FailingFiles:
    return FailingFiles(str(tmp_path))


def appended(files: Files, *records: bytes) -> None:
    journal = Journal.open(files, "journal")
    for record in records:
        journal.append(record)
    journal.close()


def test_a_missing_journal_is_created_empty(files: FailingFiles) -> None:
    journal = Journal.open(files, "journal")
    assert (journal.records, journal.torn) == ([], 0)
    assert files.size("journal") == 0


def test_appended_records_come_back_in_order(files: FailingFiles) -> None:
    appended(files, b"one", b"", b"three")
    appended(files, b"four")
    assert Journal.open(files, "journal").records == [b"one", b"", b"three", b"four"]


def test_a_torn_tail_is_reported_and_cut_by_the_first_append(files: FailingFiles) -> None:
    appended(files, b"one", b"two")
    whole = files.size("journal")
    appended(files, b"three")
    files.truncate("journal", whole + 7)
    journal = Journal.open(files, "journal")
    assert (journal.records, journal.torn) == ([b"one", b"two"], 7)
    assert files.size("journal") == whole + 7
    journal.append(b"instead")
    again = Journal.open(files, "journal")
    assert (again.records, again.torn) == ([b"one", b"two", b"instead"], 0)


def test_a_damaged_journal_is_refused_and_left_as_it_is(files: FailingFiles) -> None:
    appended(files, b"one", b"two")
    data = bytearray(files.read("journal"))
    data[20] ^= 4
    files.remove("journal")
    handle = files.create("journal")
    handle.write(bytes(data))
    handle.close()
    with pytest.raises(DamageError, match="journal: record 0"):
        Journal.open(files, "journal")
    assert files.read("journal") == bytes(data)


def test_after_a_failed_sync_nothing_is_acknowledged_until_it_is_opened_again(files: FailingFiles) -> None:
    journal = Journal.open(files, "journal")
    journal.append(b"one")
    files.broken = 1
    with pytest.raises(StorageError):
        journal.append(b"two")
    with pytest.raises(StorageError, match="closed"):
        journal.append(b"three")
    assert journal.records == [b"one"]
    again = Journal.open(files, "journal")
    assert again.records == [b"one"]
    again.append(b"three")
    assert Journal.open(files, "journal").records == [b"one", b"three"]


def test_a_full_disk_leaves_the_journal_whole(files: FailingFiles) -> None:
    journal = Journal.open(files, "journal")
    journal.append(b"one")
    files.full = True
    with pytest.raises(NoSpaceError):
        journal.append(b"two" * 100)
    files.full = False
    again = Journal.open(files, "journal")
    assert (again.records, again.torn) == ([b"one"], 0)


def test_a_journal_that_cannot_be_synced_cannot_be_opened(files: FailingFiles) -> None:
    appended(files, b"one")
    files.broken = 1
    with pytest.raises(StorageError):
        Journal.open(files, "journal")


def test_too_long_a_record_is_refused_and_the_journal_goes_on(files: FailingFiles) -> None:
    journal = Journal.open(files, "journal")
    with pytest.raises(UsageError):
        journal.append(bytes(2**20 + 1))
    journal.append(b"one")
    assert Journal.open(files, "journal").records == [b"one"]
