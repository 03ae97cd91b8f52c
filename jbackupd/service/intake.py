"""Who writes the journals of desks, and how they leave this site and come back as files. Everything here blocks."""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from jbackupd.continuity.intake import Ledger
from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.intake import Book, Shelf
from jbackupd.format.intake import LABEL_CHARACTERS_MAX, decode_record
from jbackupd.format.intakefile import IntakeFile, open_intake, seal_intake
from jbackupd.format.journal import scan
from jbackupd.model.clock import Clock
from jbackupd.model.errors import ChainError, FormatError, JbackupdError, NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import TenantId
from jbackupd.service.intakeplaces import Place, erased_at, places, purpose_of
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files
from jbackupd.storage.sealedjournal import JOURNAL_NAME, JournalKey, SealedJournal, load_key, save_key


@dataclass(frozen=True, slots=True)
class Brought:
    """What an import did.

    Attributes:
        records: In the journal now, the beginning apart.
        new: Of these, how many were not here before.
    """

    tenant: TenantId
    desk: str
    label: str
    records: int
    new: int


def read_ledger(files: Files, place: Place, site_key: bytes) -> Ledger:
    """Return what a journal holds; another thread or process may be writing it.

    Raises:
        DamageError, KeyringError: It cannot be read.
    """
    key = load_key(files, place.folder, site_key, purpose=purpose_of(place.tenant))
    return _ledger(key, files.read(posixpath.join(place.folder, JOURNAL_NAME)), place.folder)


def read_ledgers(files: Files, tenant: TenantId, site_key: bytes) -> list[Ledger]:
    """Return what all journals of a tenant at this site hold; raises as `read_ledger`."""
    found: dict[bytes, Ledger] = {}
    for place in places(files, tenant):
        ledger = read_ledger(files, place, site_key)
        if ledger.begin is not None:
            found.setdefault(ledger.journal, ledger)
    return list(found.values())


class Books:
    """The books of this site's desks, one a desk however many runs open it; may be used from several threads.

    Args:
        site_key: Returns this site's local key.
        broken: Hears of journals that were brought here and cannot be read.
    """

    def __init__(
        self, files: Files, site_key: Callable[[], bytes], clock: Clock,
        broken: Callable[[str, JbackupdError], None] = lambda _folder, _error: None,
    ) -> None:
        self._files = files
        self._site_key = site_key
        self._clock = clock
        self._broken = broken
        self._lock = threading.RLock()
        self._open: dict[Place, Book] = {}

    def apart(self, tenant: TenantId, desk: str, title: str, audit: DeskAudit, *, folder: str) -> Book:
        """Return a book of a drill, which knows of no other and lies where the drill's traces are removed.

        Args:
            folder: In the state folder.
        """
        site_key = self._site_key()
        return Book(
            lambda: SealedJournal.open(self._files, folder, site_key, purpose=purpose_of(tenant)),
            tenant=tenant, desk=desk, label=label_of(title), clock=self._clock, audit=audit,
        )

    def of(self, tenant: TenantId, desk: str, title: str, audit: DeskAudit) -> Book:
        """Return a desk's book, opened by the first who asks; its label is drawn from the title when it is new.

        Raises:
            DamageError, KeyringError: Its journal cannot be used.
            NoSpaceError, StorageError: It cannot be written.
        """
        with self._lock:
            place = Place(tenant, False, desk)
            if place not in self._open:
                site_key = self._site_key()
                self._open[place] = Book(
                    lambda: SealedJournal.open(self._files, place.folder, site_key, purpose=purpose_of(tenant)),
                    tenant=tenant, desk=desk, label=self._free_label(place, title), clock=self._clock, audit=audit,
                    shelf=_Others(self, place), lock=self._lock,
                )
            return self._open[place]

    def others(self, own: Place) -> Iterator[tuple[Place, Book | None]]:
        """Yield the other journals of a tenant, with their books where they are open here."""
        for place in places(self._files, own.tenant):
            if place != own:
                yield place, self._open.get(place)

    def size(self, place: Place) -> int:
        """Return the bytes of a journal."""
        return self._files.size(posixpath.join(place.folder, JOURNAL_NAME))

    def read(self, place: Place) -> Ledger | None:
        """Return what a journal holds; None if it cannot be read, which is told."""
        try:
            return read_ledger(self._files, place, self._site_key())
        except JbackupdError as error:
            self._broken(place.folder, error)
            return None

    def _free_label(self, own: Place, title: str) -> str:
        """Return a label that no other desk at this site bears: numbers must say which desk gave them."""
        ledgers = [book.ledger if book else self.read(place) for place, book in self.others(own)]
        taken = {ledger.begin.label for ledger in ledgers if ledger is not None and ledger.begin is not None}
        taken |= {note.label for note in erased_at(self._files, own.tenant)}
        base = label_of(title)
        numbered = (f"{base[: LABEL_CHARACTERS_MAX - 3]}{number}" for number in range(2, 1000))
        return next(label for label in (base, *numbered) if label not in taken)


class _Others(Shelf):
    """The journals of a tenant's other desks: of this process as they are, the rest read anew when they have grown."""

    def __init__(self, books: Books, own: Place) -> None:
        self._books = books
        self._own = own
        self._read: dict[Place, tuple[int, Ledger | None]] = {}

    def fingerprint(self) -> object:
        return tuple(
            (place, len(book.ledger.entries) if book else self._books.size(place))
            for place, book in self._books.others(self._own)
        )

    def ledgers(self) -> Sequence[Ledger]:
        found: dict[bytes, Ledger] = {}
        for place, book in self._books.others(self._own):
            ledger = book.ledger if book else self._known(place)
            if ledger is not None and ledger.begin is not None:
                found.setdefault(ledger.journal, ledger)
        return list(found.values())

    def _known(self, place: Place) -> Ledger | None:
        size = self._books.size(place)
        if self._read.get(place, (-1, None))[0] != size:
            self._read[place] = size, self._books.read(place)
        return self._read[place][1]


def label_of(title: str) -> str:
    """Return a desk's label of its title: 伊万里市 gives 伊万里."""
    letters = "".join(char for char in title if char.isalnum())[:LABEL_CHARACTERS_MAX]
    return (letters[:-1] if letters[1:].endswith(("市", "町", "村")) else letters) or "窓口"


def export_journal(files: Files, place: Place, site_key: bytes, passphrase: str, now: datetime) -> tuple[bytes, int]:
    """Return a journal as a file to carry, and how many entries it holds; the desk may go on writing.

    Raises:
        NotFoundError: There is no such journal, or nothing in it.
        DamageError, KeyringError: It cannot be read.
    """
    path = posixpath.join(place.folder, JOURNAL_NAME)
    if not files.exists(path):
        raise NotFoundError(
            "there is no intake journal {desk}", "see 'jbackupd desk journal list'", desk=place.name
        )
    key = load_key(files, place.folder, site_key, purpose=purpose_of(place.tenant))
    data = files.read(path)
    # What leaves the site must not be gone here after a power cut: the two would be two histories.
    with contextlib.closing(files.append(path)) as handle:
        handle.sync()
    whole = data[: scan(data).length]
    ledger = _ledger(key, whole, place.folder)
    if ledger.begin is None:
        raise NotFoundError("nothing was ever taken in at {desk}", desk=place.name)
    file = IntakeFile(place.tenant, ledger.begin.desk, ledger.begin.label, key.id, key.key, whole, now)
    return seal_intake(file, passphrase), len(ledger.entries)


def import_journal(files: Files, tenant: TenantId, data: bytes, passphrase: str, site_key: bytes) -> Brought:
    """Take a carried journal in, beside those that are here; one that came before only grows.

    May be called twice with the same file.

    Raises:
        FormatError, KeyringError: It is not a whole journal, or the passphrase is another one.
        UsageError: It is another tenant's.
        RefusedError: It is this site's own journal.
        ChainError: It does not continue what came before; nothing was changed.
    """
    return take_in(files, tenant, open_intake(data, passphrase), site_key)


def take_in(files: Files, tenant: TenantId, file: IntakeFile, site_key: bytes) -> Brought:
    """Take an opened journal in; see `import_journal`.

    Raises:
        FormatError, UsageError, RefusedError, ChainError: As there.
    """
    if file.tenant != tenant:
        raise UsageError(
            "this is a journal of {found}, not of {tenant}", "say whose it is with --tenant",
            found=file.tenant, tenant=tenant,
        )
    key = JournalKey(file.journal_id, file.key)
    ledger = _ledger(key, file.journal, file.label)
    if ledger.begin is None or ledger.begin.tenant != tenant:
        raise FormatError("the journal of desk {label} does not say whose it is", label=file.label)
    _refuse_own(files, tenant, file.journal_id, site_key)
    place = Place(tenant, True, file.journal_id.hex())
    before = _bytes_here(files, place)
    if not file.journal.startswith(before) and not before.startswith(file.journal):
        raise ChainError(
            "the journal of desk {label} does not go on where the one that came before ends: these are two histories",
            "keep both files, and find out which desk really wrote; nothing was changed here", label=file.label,
        )
    kept = max(before, file.journal, key=len)
    files.make_folder(place.folder)
    save_key(files, place.folder, key, site_key, purpose=purpose_of(tenant))
    path = posixpath.join(place.folder, JOURNAL_NAME)
    if kept != before:
        write_durably(files, path, kept, temporary=path + ".new")
    count, earlier = len(scan(kept).records), len(scan(before).records)
    return Brought(tenant, ledger.begin.desk, file.label, count - 1, count - max(earlier, 1))


def _refuse_own(files: Files, tenant: TenantId, journal: bytes, site_key: bytes) -> None:
    for place in places(files, tenant):
        if not place.received and load_key(
            files, place.folder, site_key, purpose=purpose_of(tenant)
        ).id == journal:
            raise RefusedError(
                "this is the journal of this site's own desk {desk}", "nothing need be brought back to where it is",
                desk=place.name,
            )


def _bytes_here(files: Files, place: Place) -> bytes:
    path = posixpath.join(place.folder, JOURNAL_NAME)
    return files.read(path) if files.exists(path) else b""


def _ledger(key: JournalKey, data: bytes, where: str) -> Ledger:
    try:
        bodies = scan(data).records
        return Ledger.of(key.id, (decode_record(key.open(number, body)) for number, body in enumerate(bodies)))
    except FormatError as error:
        raise FormatError(
            "unable to read the intake journal {where}: {why}", error.hint, where=where, why=str(error)
        ) from error
