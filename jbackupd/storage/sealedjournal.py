"""A journal whose records are sealed: what lies on the disk tells nobody anything but how many there are.

    FOLDER/key        journal's id (16) and key (32), sealed under a key of this site (codec.seal, seal_blob),
                      context "jbackupd 1 journal key " ‖ purpose
    FOLDER/journal    a journal (format.journal); each body is a record sealed under the journal's key (seal_blob),
                      context "jbackupd 1 journal record " ‖ id ‖ number of the record as u32, little endian

Nonces are random and never the record's number: an append that failed is done again under the same number, perhaps
with other content, and the disk may keep both. Whoever destroys the key destroys what every copy of the journal says.
"""

from __future__ import annotations

import posixpath
import secrets
import struct
from dataclasses import dataclass, field

from jbackupd.codec.seal import SESSION_KEY_BYTES, open_blob, seal_blob
from jbackupd.model.errors import BusyError, DamageError, KeyMissingError, KeyringError
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

ID_BYTES = 16
KEY_NAME = "key"
JOURNAL_NAME = "journal"


@dataclass(frozen=True, slots=True)
class JournalKey:
    """A journal's id, and the key of its records."""

    id: bytes
    key: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> JournalKey:
        """Return a new one."""
        return cls(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SESSION_KEY_BYTES))

    def seal(self, number: int, record: bytes) -> bytes:
        """Return the body of a record."""
        return seal_blob(self.key, record, context=self._context(number))

    def open(self, number: int, body: bytes) -> bytes:
        """Return what a body holds.

        Raises:
            DamageError: It was not sealed with this key, or for another place.
        """
        try:
            return open_blob(self.key, body, context=self._context(number))
        except KeyringError as error:
            raise DamageError(
                "record {number} of a sealed journal does not open", "keep the file as it is and look into it",
                number=number,
            ) from error

    def _context(self, number: int) -> bytes:
        return b"jbackupd 1 journal record " + self.id + struct.pack("<I", number)


class SealedJournal:
    """A sealed journal, opened; one writer. Use `open`."""

    def __init__(self, files: Files, journal: Journal, key: JournalKey, records: list[bytes]) -> None:
        self.key = key
        self.records = records
        """All committed records, opened, oldest first; for reading only."""
        self._files = files
        self._journal = journal
        self._size = files.size(journal.path)

    @classmethod
    def open(cls, files: Files, folder: str, site_key: bytes, *, purpose: bytes) -> SealedJournal:
        """Return a journal with all its committed records; folder, key and journal are made when they are missing.

        Args:
            site_key: 32 bytes; seals the journal's key.
            purpose: What the journal is for, and whose.

        Raises:
            KeyMissingError: There are records, and their key is gone.
            KeyringError: The key does not open with this site's key.
            DamageError: The journal is damaged; it is left as it is.
            StorageError, NoSpaceError: The file system failed.
        """
        files.make_folder(folder)
        key = _load_or_make(files, folder, site_key, purpose)
        journal = Journal.open(files, posixpath.join(folder, JOURNAL_NAME))
        try:
            records = [key.open(number, body) for number, body in enumerate(journal.records)]
        except DamageError:
            journal.close()
            raise
        return cls(files, journal, key, records)

    def append(self, record: bytes) -> None:
        """Add a record; it is durable when this returns.

        Raises:
            BusyError: Somebody else has written to this journal; nothing happened.
            NoSpaceError, StorageError: It is not written, or nobody knows; the journal is closed, open it again.
        """
        if self._files.size(self._journal.path) != self._size:
            raise BusyError(
                "unable to write journal {path}: somebody else changed it",
                "make sure that one desk only uses this folder", path=self._journal.path,
            )
        self._journal.append(self.key.seal(len(self.records), record))
        self.records.append(record)
        self._size = self._files.size(self._journal.path)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._journal.close()


def save_key(files: Files, folder: str, key: JournalKey, site_key: bytes, *, purpose: bytes) -> None:
    """Write a journal's key durably; an older one is replaced."""
    path = posixpath.join(folder, KEY_NAME)
    sealed = seal_blob(site_key, key.id + key.key, context=_context(purpose))
    write_durably(files, path, sealed, temporary=path + ".new")


def load_key(files: Files, folder: str, site_key: bytes, *, purpose: bytes) -> JournalKey:
    """Return a journal's key.

    Raises:
        KeyMissingError: There is none.
        KeyringError: It does not open with this site's key, or is of another journal.
    """
    path = posixpath.join(folder, KEY_NAME)
    if not files.exists(path):
        raise KeyMissingError(
            "the key of the journal in {folder} is gone: nobody can read what it says",
            "bring {folder}/key back from a copy of the state folder", folder=folder,
        )
    try:
        plain = open_blob(site_key, files.read(path), context=_context(purpose))
    except KeyringError as error:
        raise KeyringError(
            "the key of the journal in {folder} does not open: it is damaged, or of another site",
            "bring {folder}/key back from a copy of this site's state folder", folder=folder,
        ) from error
    if len(plain) != ID_BYTES + SESSION_KEY_BYTES:
        raise KeyringError("the key of the journal in {folder} has the wrong length", folder=folder)
    return JournalKey(plain[:ID_BYTES], plain[ID_BYTES:])


def _load_or_make(files: Files, folder: str, site_key: bytes, purpose: bytes) -> JournalKey:
    journal = posixpath.join(folder, JOURNAL_NAME)
    if files.exists(posixpath.join(folder, KEY_NAME)) or (files.exists(journal) and files.size(journal)):
        return load_key(files, folder, site_key, purpose=purpose)
    key = JournalKey.draw()
    save_key(files, folder, key, site_key, purpose=purpose)
    return key


def _context(purpose: bytes) -> bytes:
    return b"jbackupd 1 journal key " + purpose
