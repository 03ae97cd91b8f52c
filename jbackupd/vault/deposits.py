"""Journals of other sites' desks, kept here sealed: a reception must outlive the site that took it in. Blocking.

    STATE/deposits/TENANT/SITE/ID/head       format.deposit; ID is the journal's id in hex
    STATE/deposits/TENANT/SITE/ID/journal    the journal as it is at the desk, whole records

A deposit only grows, by what its site sends. Only commands at this site read or remove it.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
from dataclasses import dataclass

from jbackupd.format.deposit import HEAD_BYTES_MAX, DepositHead, decode_head
from jbackupd.format.journal import scan
from jbackupd.model.errors import ChainError, FormatError, NotFoundError, RefusedError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import Files

FOLDER = "deposits"
JOURNAL_BYTES_MAX = 256 * 1024 * 1024
"""Some hundred thousand receptions."""
JOURNALS_MAX = 256
"""Of one tenant, for one site."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """A journal that lies here for another site.

    Attributes:
        bytes_here: Whole records of it.
    """

    head: DepositHead
    bytes_here: int

    @property
    def folder(self) -> str:
        """Its folder in the state folder."""
        return _folder(self.head.tenant, self.head.site, self.head.journal)


class Deposits:
    """The deposits of a state folder; may be used from several threads."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}

    def take(self, site: SiteId, tenant: TenantId, journal: bytes, head: bytes, offset: int, data: bytes) -> int:
        """Append to a deposit, durably; return how many bytes of the journal are here then.

        Bytes that are here already are compared. With an offset beyond what is here nothing is written.

        Args:
            site: Whose desk it is; it has proved that.
            head: Empty where the one that is here is meant.

        Raises:
            FormatError: The head is none, or of another journal.
            ChainError: The bytes are not those that are here: two histories of one desk.
            RefusedError: It is too much.
            NoSpaceError: The disk is full; what was here before is.
        """
        folder = _folder(tenant, site, journal)
        with self._lock:
            self._take_head(folder, site, tenant, journal, head)
            here = self._size(folder)
            if offset > here or not data:
                return here
            self._compare(folder, offset, data[: here - offset])
            self._append(folder, here, data[here - offset :])
            return self._sizes[folder]

    def all(self) -> list[Deposit]:
        """Return what lies here, by tenant, site and journal; heads that cannot be read are left out."""
        found: list[Deposit] = []
        for folder in self._folders():
            with contextlib.suppress(FormatError, NotFoundError):
                head = decode_head(self._files.read(posixpath.join(folder, "head")))
                with self._lock:
                    found.append(Deposit(head, self._size(folder)))
        return found

    def read(self, deposit: Deposit) -> bytes:
        """Return a journal's bytes: whole records."""
        path = posixpath.join(deposit.folder, "journal")
        return self._files.read(path)[: deposit.bytes_here] if self._files.exists(path) else b""

    def erase(self, deposit: Deposit) -> None:
        """Destroy a deposit: its head first, without which nobody can read the rest."""
        with self._lock:
            for name in ("head", "journal"):
                destroy_durably(self._files, posixpath.join(deposit.folder, name))
            self._sizes.pop(deposit.folder, None)

    def _folders(self) -> list[str]:
        found = [FOLDER]
        for _level in ("tenant", "site", "journal"):
            found = [
                posixpath.join(above, name) for above in found if self._files.exists(above)
                for name in sorted(self._files.names(above))
            ]
        return found

    def _take_head(self, folder: str, site: SiteId, tenant: TenantId, journal: bytes, data: bytes) -> None:
        path = posixpath.join(folder, "head")
        if not data:
            if not self._files.exists(path):
                raise FormatError("a deposit begins with its head")
            return
        if len(data) > HEAD_BYTES_MAX:
            raise FormatError("the head of a deposited journal is out of range")
        head = decode_head(data)
        if (head.site, head.tenant, head.journal) != (site, tenant, journal):
            raise FormatError("the head of a deposited journal is of another one")
        if not self._files.exists(path):
            self._check_count(posixpath.dirname(folder))
            self._files.make_folder(folder)
        elif self._files.read(path) == data:
            return
        write_durably(self._files, path, data, temporary=path + ".new")

    def _check_count(self, above: str) -> None:
        if self._files.exists(above) and len(self._files.names(above)) >= JOURNALS_MAX:
            raise RefusedError(
                "no more than {most} journals are kept for one site", "erase those that were handed over",
                most=JOURNALS_MAX,
            )

    def _size(self, folder: str) -> int:
        """Return how much of a journal is here; what a power cut has torn is cut off at the first look."""
        if folder not in self._sizes:
            path = posixpath.join(folder, "journal")
            size = 0
            if self._files.exists(path):
                data = self._files.read(path)
                try:
                    size = scan(data).length
                except FormatError:
                    # Sent anew from its beginning; the damaged one is kept for whoever looks into it.
                    self._files.rename(path, path + ".damaged")
                else:
                    if size < len(data):
                        self._files.truncate(path, size)
            self._sizes[folder] = size
        return self._sizes[folder]

    def _compare(self, folder: str, offset: int, data: bytes) -> None:
        if data and self._files.read_at(posixpath.join(folder, "journal"), offset, len(data)) != data:
            raise ChainError(
                "the journal does not go on where the deposit here ends: these are two histories of one desk",
                "keep both, and find out which desk really wrote; nothing was changed here",
            )

    def _append(self, folder: str, here: int, data: bytes) -> None:
        if not data:
            return
        if here + len(data) > JOURNAL_BYTES_MAX:
            raise RefusedError(
                "a deposit may have at most {most} bytes", "carry the journal as a file", most=JOURNAL_BYTES_MAX
            )
        path = posixpath.join(folder, "journal")
        # Until it is synced nobody knows what is there: a failure lets the next call look.
        self._sizes.pop(folder)
        with contextlib.closing(self._files.append(path)) as handle:
            handle.write(data)
            handle.sync()
        self._files.sync_folder(folder)
        self._sizes[folder] = here + len(data)


def _folder(tenant: TenantId, site: SiteId, journal: bytes) -> str:
    return posixpath.join(FOLDER, tenant, site, journal.hex())
