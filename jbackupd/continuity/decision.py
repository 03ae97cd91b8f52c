"""How people decided: what they saw, who approved, when it came into force. A journal, for the record and for reports.

    STATE/site/decisions.journal    records, msgpack array in the order of `Entry`

A *case* of a site begins with the first thing that is noted about it, and ends with the declaration that comes into
force, or when somebody says that nothing is wrong. The journal decides nothing: what counts stands in the declarations.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import msgspec

from jbackupd.format.declaration import Approval, Declaration
from jbackupd.model.clock import Clock
from jbackupd.model.errors import FormatError, UsageError
from jbackupd.model.ids import SiteId
from jbackupd.model.texts import to_translate
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

WORDS_CHARACTERS_MAX = 1000
_FOLDER = "site"
_PATH = posixpath.join(_FOLDER, "decisions.journal")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ITEMS = {
    "telephone": to_translate("Telephone call to the site's staff"),
    "visit": to_translate("Somebody at the place"),
    "power": to_translate("Power company: is there an outage?"),
    "carrier": to_translate("Line carrier: is the line down?"),
    "neighbours": to_translate("Neighbouring offices and sites"),
    "authorities": to_translate("Fire brigade, police, prefecture"),
    "news": to_translate("News, warnings, hazard maps"),
    "other": to_translate("Anything else"),
}
"""What is asked before a site is declared lost. The keys are words of the command line."""
SAYS = {
    "lost": to_translate("speaks for a loss"),
    "alive": to_translate("speaks against it"),
    "unclear": to_translate("unclear"),
}


class What(IntEnum):
    """What an entry is about; numbers are never reused."""

    OBSERVED = 1
    DECLARED = 2
    APPROVED = 3
    IN_FORCE = 4
    WITHDRAWN = 5
    CLOSED = 6
    HURRIED = 7


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry.

    Attributes:
        micros: When, microseconds since 1970.
        site: Whose loss it is about.
        by: Who saw or approved it; as people say it.
        item, says: Of an observation: keys of ITEMS and SAYS. Of an approval `item` is "code" or "key".
        words: What was seen, or why.
        declaration: An id; empty for an observation.
    """

    what: What
    micros: int
    site: str
    by: str = ""
    item: str = ""
    says: str = ""
    words: str = ""
    declaration: str = ""

    @property
    def at(self) -> datetime:
        """When, aware UTC."""
        return _EPOCH + timedelta(microseconds=self.micros)


@dataclass(frozen=True, slots=True)
class Case:
    """What was noted about one site, from the first suspicion on.

    Attributes:
        entries: Oldest first; may be empty.
    """

    entries: tuple[Entry, ...] = ()

    @property
    def observations(self) -> tuple[Entry, ...]:
        """What people saw."""
        return tuple(entry for entry in self.entries if entry.what is What.OBSERVED)

    @property
    def suspected_at(self) -> datetime | None:
        """When the site was first suspected to be lost: the first entry; None for an empty case."""
        return self.entries[0].at if self.entries else None

    @property
    def approved_at(self) -> datetime | None:
        """When a declaration came into force; None as long as none has."""
        return next((entry.at for entry in self.entries if entry.what is What.IN_FORCE), None)


class Decisions:
    """The journal of one state folder; safe for several threads. All methods block.

    Args:
        files: The state folder; its lock is held.
    """

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        files.make_folder(_FOLDER)

    def observe(self, site: SiteId, item: str, says: str, words: str, by: str) -> Case:
        """Note what somebody saw, durably; return the case.

        Raises:
            UsageError: Words or a name are missing or too long, or it is none of ITEMS and SAYS.
        """
        if item not in ITEMS or says not in SAYS:
            raise UsageError(
                "an observation is one of {items}, and says {says}", items=", ".join(ITEMS), says=", ".join(SAYS)
            )
        _check(by, words)
        self._append(What.OBSERVED, site, by=by, item=item, says=says, words=words)
        return self.case(site)

    def close(self, site: SiteId, words: str, by: str) -> None:
        """Note that nothing is wrong with a site: what comes is another case. Durable."""
        _check(by, words)
        self._append(What.CLOSED, site, by=by, words=words)

    def declared(self, declaration: Declaration) -> None:
        """Note that a declaration was begun here."""
        self._append(What.DECLARED, declaration.statement.lost, words=declaration.statement.reason,
                     declaration=declaration.id)

    def approved(self, declaration: Declaration, approvals: Iterable[Approval]) -> None:
        """Note approvals that are new here."""
        for approval in approvals:
            self._append(
                What.APPROVED, declaration.statement.lost, by=approval.officer,
                item="code" if approval.code else "key", declaration=declaration.id,
            )

    def in_force(self, declaration: Declaration) -> None:
        """Note that a declaration is in force, here or as was heard; once."""
        self._append(What.IN_FORCE, declaration.statement.lost, declaration=declaration.id, once=True)

    def hurried(self, declaration: Declaration, by: str) -> None:
        """Note that somebody let a declaration count without waiting."""
        self._append(What.HURRIED, declaration.statement.lost, by=by, declaration=declaration.id)

    def withdrawn(self, declaration: Declaration) -> None:
        """Note that a declaration was taken back."""
        self._append(What.WITHDRAWN, declaration.statement.lost, declaration=declaration.id)

    def case(self, site: SiteId, declaration: str = "") -> Case:
        """Return a site's case: the one that is open, or the one that a declaration ended."""
        with self._lock:
            return case_of(self._read(), site, declaration)

    def case_ended_by(self, declaration: Declaration) -> Case:
        """Return the case in which a declaration came into force here; an empty one if it was not noted."""
        return self.case(declaration.statement.lost, declaration.id)

    def _append(self, what: What, site: SiteId, *, once: bool = False, **fields: str) -> None:
        entry = Entry(what, (self._clock.now() - _EPOCH) // timedelta(microseconds=1), site, **fields)
        with self._lock:
            journal = Journal.open(self._files, _PATH)
            try:
                known = (decode_entry(record) for record in journal.records) if once else ()
                if not any(old.what is what and old.declaration == entry.declaration for old in known):
                    journal.append(msgspec.msgpack.encode(entry))
            finally:
                journal.close()

    def _read(self) -> list[Entry]:
        journal = Journal.open(self._files, _PATH)
        journal.close()
        return [decode_entry(record) for record in journal.records]


def case_of(entries: Sequence[Entry], site: SiteId, declaration: str = "") -> Case:
    """Return the entries of a site's open case, or of the one in which a declaration came into force; pure."""
    found: list[Entry] = []
    ended: dict[str, list[Entry]] = {}
    for entry in (entry for entry in entries if entry.site == site):
        if entry.declaration in ended:
            # The last approval is noted behind the moment that it made.
            ended[entry.declaration].append(entry)
            continue
        found.append(entry)
        if entry.what is What.IN_FORCE:
            ended[entry.declaration] = found
        if entry.what in (What.IN_FORCE, What.CLOSED):
            found = []
    return Case(tuple(ended.get(declaration, ()) if declaration else found))


def decode_entry(record: bytes) -> Entry:
    """Return an entry.

    Raises:
        FormatError: The bytes are none.
    """
    try:
        entry = msgspec.msgpack.decode(record, type=Entry)
        entry.at.isoformat()
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise FormatError("an entry of the journal of decisions is malformed") from error
    return entry


def _check(by: str, words: str) -> None:
    if not by.strip() or not words.strip():
        raise UsageError("an observation has a name and words", "say who saw what: --by NAME, and a few words")
    if len(words) > WORDS_CHARACTERS_MAX or len(by) > WORDS_CHARACTERS_MAX:
        raise UsageError("at most {most} characters are kept", most=WORDS_CHARACTERS_MAX)
