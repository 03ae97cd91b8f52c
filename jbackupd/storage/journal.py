"""An append-only journal in a file: what was appended survives a power cut, in order, or is damage."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator

from jbackupd.format.journal import encode_record, scan
from jbackupd.model.errors import FormatError, JbackupdError, NoSpaceError, StorageError
from jbackupd.storage.files import Files, Handle


class Journal:
    """Records of one file, read when it was opened and appended since; open with `Journal.open`.

    One writer: whoever opens a journal holds the lock of the state folder. After a failed
    append the journal is closed for good, since a disk that failed a sync may report success
    the next time without having written anything: open it again and look what is there.
    """

    def __init__(self, files: Files, path: str, records: list[bytes], *, check: bytes, length: int, torn: int) -> None:
        self.path = path
        self.records = records
        """All committed records, oldest first; for reading only."""
        self.torn = torn
        """Bytes of an interrupted append behind the records; the first append cuts them off. 0 after a clean stop."""
        self._files = files
        self._check = check
        self._length = length
        self._handle: Handle | None = files.append(path)
        self._failure: JbackupdError | None = None

    @classmethod
    def open(cls, files: Files, path: str) -> Journal:
        """Return a journal with all its committed records; creates it if it is missing.

        Every record that is returned is durable, also one whose append was interrupted
        between its write and its sync. The folder must exist. Nothing of the file is changed, so
        that a journal may also be opened for reading while another process appends to it.

        Raises:
            DamageError: The file holds something else than whole records and a torn tail; it is left
                as it is.
            StorageError: The file system failed.
        """
        found = b""
        if files.exists(path):
            found = files.read(path)
        try:
            whole = scan(found)
        except FormatError as error:
            raise FormatError("unable to read journal {path}: {why}", error.hint, path=path, why=str(error)) from error
        journal = cls(files, path, list(whole.records), check=whole.check, length=whole.length, torn=whole.torn)
        with journal._closing_on_failure() as handle:
            handle.sync()
            files.sync_folder(posixpath.dirname(path))
        return journal

    def append(self, record: bytes) -> None:
        """Add a record; it is durable when this returns.

        Raises:
            UsageError: The record is too long; nothing happened.
            NoSpaceError: The disk is full; the journal is closed, the record is not in it.
            StorageError: The file system failed; the journal is closed, and whether the record is in it is
                known when it is opened again. Once closed, every append says why.
        """
        data = encode_record(len(self.records), record, self._check)
        with self._closing_on_failure() as handle:
            if self.torn:
                self._files.truncate(self.path, self._length)
                self.torn = 0
            handle.write(data)
            handle.sync()
        self.records.append(bytes(record))
        self._check = data[-len(self._check) :]
        self._length += len(data)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.close()

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[Handle]:
        """Hand the file out; if what is done with it fails, close, and take back what was not acknowledged."""
        if self._handle is None:
            if isinstance(self._failure, NoSpaceError):
                raise NoSpaceError(
                    "unable to write journal {path}: it is closed since the disk was full",
                    "free space on this file system, then run the same command again; what was committed is safe",
                    path=self.path,
                )
            raise StorageError(
                "unable to write journal {path}: it is closed since an earlier failure",
                "look at the first error, see to the disk, then start again",
                path=self.path,
            )
        try:
            yield self._handle
        except JbackupdError as error:
            self._failure = error
            self.close()
            # What a failed sync left in the page cache would be read back and counted as durable.
            with contextlib.suppress(JbackupdError):
                self._files.truncate(self.path, self._length)
            raise
