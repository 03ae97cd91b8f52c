"""What a sealed journal promises: nothing readable on the disk, no record in another's place, no key made anew."""

import pytest

from jbackupd.model.errors import BusyError, DamageError, KeyMissingError, KeyringError
from jbackupd.storage.journal import Journal
from jbackupd.storage.sealedjournal import SealedJournal, load_key
from tests.crash.memory import MemoryFiles

KEY, PURPOSE = b"l" * 32, b"intake imari desk"
SECRET = "佐藤 花子".encode()


def opened(files, key=KEY, purpose=PURPOSE):
    return SealedJournal.open(files, "intake", key, purpose=purpose)


@pytest.fixture
def files():
    files = MemoryFiles()
    journal = opened(files)
    for number in range(3):
        journal.append(SECRET + bytes([number]))
    journal.close()
    return files


def test_records_come_back_and_nothing_of_them_is_readable(files):
    assert opened(files).records == [SECRET + bytes([number]) for number in range(3)]
    for name in files.names("intake"):
        assert SECRET not in files.read(f"intake/{name}")


def test_another_key_or_purpose_opens_nothing(files):
    for wrong in ({"key": b"x" * 32}, {"purpose": b"intake arita desk"}):
        with pytest.raises(KeyringError):
            opened(files, **wrong)


def test_without_its_key_a_journal_is_not_begun_anew(files):
    files.remove("intake/key")
    with pytest.raises(KeyMissingError):
        opened(files)
    assert "key" not in files.names("intake")


def test_a_record_in_another_place_does_not_open(files):
    key = load_key(files, "intake", KEY, purpose=PURPOSE)
    bodies = Journal.open(files, "intake/journal").records
    with pytest.raises(DamageError):
        key.open(0, bodies[1])
    files.remove("intake/journal")
    exchanged = Journal.open(files, "intake/journal")
    for body in (bodies[1], bodies[0]):
        exchanged.append(body)
    with pytest.raises(DamageError):
        opened(files)


def test_a_journal_that_somebody_else_wrote_to_is_not_written(files):
    one, other = opened(files), opened(files)
    other.append(b"theirs")
    with pytest.raises(BusyError):
        one.append(b"ours")
    assert opened(files).records[-1] == b"theirs"
