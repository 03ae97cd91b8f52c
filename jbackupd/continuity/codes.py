"""Approvals by telephone at this site: the officers' promises that were given beforehand, and the codes that are heard.

    STATE/site/codes/OFFICER.codes    an officer's newest book (format.promise)
    STATE/site/codes/heard.journal    records, msgpack array [what, at, promise id, declaration id]:
        what    1 a code is tried; ids empty
                2 the code tried last opened a promise, for a declaration

A try is noted before it is looked at, so that a kill saves nobody a try. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from jbackupd.codec.dictated import parse_digits
from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.declaration import Approval, Declaration, Statement, approve_by_code, fits
from jbackupd.format.promise import PROMISES_MAX, SignedPromise, check_promise, decode_book, encode_book
from jbackupd.model.errors import ApprovalError, FormatError, NotFoundError, RefusedError, TryLaterError
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

FOLDER = "site/codes"
WRONG_MAX = 10
"""With 63 bits no number of tries helps; this many are no slips of the tongue any more, and somebody should ask why."""
WRONG_WITHIN = timedelta(hours=1)
PIECE = 32
"""As many promises as one message or request carries: 110 KB."""
CLOCKS_APART = timedelta(days=1)
_ENDING = ".codes"
_JOURNAL = posixpath.join(FOLDER, "heard.journal")
_TRIED, _OPENED = 1, 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    what: int
    at: int
    promise: bytes = b""
    declaration: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard here so far.

    Attributes:
        spent: For which declaration a promise was opened, by its id.
        wrong: When codes were tried that opened nothing, oldest first.
    """

    spent: Mapping[bytes, str]
    wrong: tuple[datetime, ...]

    def wrong_lately(self, now: datetime) -> tuple[datetime, ...]:
        """Return those of the wrong tries that still count against the next one."""
        return tuple(at for at in self.wrong if now - WRONG_WITHIN < at <= now)


class Codes:
    """Promises and codes of one state folder; safe for several threads.

    Args:
        files: The state folder; its lock is held.
        officers: Whose promises count; asked each time, so that a reload takes effect.
    """

    def __init__(self, files: Files, officers: Callable[[], Mapping[str, SiteVerifier]]) -> None:
        self._files = files
        self._officers = officers
        self._lock = threading.Lock()
        files.make_folder(FOLDER)

    def take(self, data: bytes, now: datetime) -> tuple[SignedPromise, ...]:
        """Keep an officer's promises, durably; a newer book replaces the older one, parts of one book are put together.

        Returns:
            All that is kept of the officer now.

        Raises:
            FormatError: The bytes are no promises.
            ApprovalError: They are of nobody known here, do not fit the officer's card, or were made in the future.
            RefusedError: Newer ones of this officer are here already, or pieces are more than a book may hold.
        """
        given = decode_book(data)
        officer, made_at = given[0].promise.officer, given[0].promise.made_at
        verifier = self._officers().get(officer)
        if verifier is None:
            raise ApprovalError(
                "the promises are of {officer}, who is no officer here", "add the officer's card to the configuration",
                officer=officer,
            )
        for each in given:
            check_promise(each.signed, each.signature, verifier)
        if made_at > now + CLOCKS_APART:
            # They would replace all that the officer makes until then.
            raise ApprovalError(
                "the codes of {officer} are of {when}, which is still to come",
                "set the clock where they were made, and make them once more", officer=officer,
                when=made_at.isoformat(timespec="minutes"),
            )
        with self._lock:
            kept = _read(self._files, officer)
            newest = kept[0].promise.made_at if kept else made_at
            if made_at < newest:
                raise RefusedError(
                    "the codes of {officer} are of {when}; newer ones are here already",
                    "destroy the older page; use the newer one", officer=officer,
                    when=made_at.isoformat(timespec="minutes"),
                )
            merged = {each.id: each for each in (*(kept if made_at == newest else ()), *given)}
            if len(merged) > PROMISES_MAX:
                raise RefusedError(
                    "the codes of {officer} are more than {most}", "let the officer make new codes",
                    officer=officer, most=PROMISES_MAX,
                )
            ordered = tuple(sorted(merged.values(), key=lambda each: each.promise.number))
            if ordered != kept:
                path = _path(officer)
                write_durably(self._files, path, encode_book(ordered), temporary=path + ".new")
        return ordered

    def known(self, given: bytes, now: datetime) -> dict[str, tuple[int, int]]:
        """Keep what a peer hands over, if anything, and return which books are here; see `PromisesAre`.

        Raises:
            JbackupdError: See `take`.
        """
        if given:
            self.take(given, now)
        return {
            officer: (_micros(promises[0].promise.made_at), len(promises)) for officer, promises in self.all().items()
        }

    def pieces_for(self, known: Mapping[str, tuple[int, int]]) -> list[bytes]:
        """Return what somebody lacks who has these books, in pieces that fit into a message."""
        return [
            encode_book(promises[at : at + PIECE]) for officer, promises in self.all().items()
            if (_micros(promises[0].promise.made_at), len(promises)) > known.get(officer, (0, 0))
            for at in range(0, len(promises), PIECE)
        ]

    def all(self) -> dict[str, tuple[SignedPromise, ...]]:
        """Return every officer's promises that are kept here."""
        return kept_promises(self._files)

    def heard(self) -> Heard:
        """Return what was heard here so far."""
        with self._lock:
            journal = Journal.open(self._files, _JOURNAL)
            journal.close()
            return _fold(journal.records)

    def approval(self, declaration: Declaration, typed: str, now: datetime) -> Approval:
        """Return the approval that a code is, which an officer has read out; it is noted, durably, that it was.

        A code is good for one declaration: read out again for the same one it does no harm. Takes 0.2 s a promise that
        it may open.

        Raises:
            UsageError: It cannot be a code: a digit is wrong. Nothing was tried.
            RefusedError: A code cannot approve this, nobody has given codes for it, or it was read out for another one.
            ApprovalError: It opens none of the promises for this site and epoch.
            TryLaterError: Too many wrong ones were tried within the last hour.
        """
        code = parse_digits(typed)
        statement = declaration.statement
        if declaration.needs_release:
            raise RefusedError(
                "a code approves the loss of a site only", "let the officer approve this one with the card's key"
            )
        promises = self.for_statement(statement, now)
        if not promises:
            raise NotFoundError(
                "no officer has given codes for {lost}, {acting} and epoch {epoch} that are valid now",
                "see 'jbackupd site codes list'", lost=statement.lost, acting=statement.acting, epoch=statement.epoch,
            )
        with self._lock:
            return self._opened(declaration, promises, code, now)

    def for_statement(self, statement: Statement, now: datetime) -> tuple[SignedPromise, ...]:
        """Return the promises of known officers that are about a statement, and valid."""
        return tuple(
            each for promises in usable_promises(self._files, self._officers()).values() for each in promises
            if fits(each.promise, statement) and now <= each.promise.valid_until
        )

    def _opened(
        self, declaration: Declaration, promises: Iterable[SignedPromise], code: str, now: datetime
    ) -> Approval:
        journal = Journal.open(self._files, _JOURNAL)
        try:
            heard = _fold(journal.records)
            _check_tries(heard, now)
            journal.append(_encoded(_Record(_TRIED, _micros(now))))
            found = next((each for each in promises if each.promise.opened_by(code)), None)
            if found is None:
                raise ApprovalError(
                    "the code opens none of the officers' promises for {lost}, {acting} and epoch {epoch}",
                    "let the officer read a line of these sites and this epoch; {left} more tries within the hour",
                    lost=declaration.statement.lost, acting=declaration.statement.acting,
                    epoch=declaration.statement.epoch, left=WRONG_MAX - len(heard.wrong_lately(now)) - 1,
                )
            before = heard.spent.get(found.id, declaration.id)
            journal.append(_encoded(_Record(_OPENED, _micros(now), found.id, before)))
        finally:
            journal.close()
        if before != declaration.id:
            raise RefusedError(
                "the code of {officer} was read out for the declaration {other} already",
                "tell the officer what is declared now, and let the next code for it be read out",
                officer=found.promise.officer, other=before,
            )
        return approve_by_code(found, code)


def kept_promises(files: Files) -> dict[str, tuple[SignedPromise, ...]]:
    """Return every officer's promises that a state folder keeps; for a look, needs no lock.

    Raises:
        FormatError: A file is damaged.
    """
    names = sorted(name for name in files.names(FOLDER) if name.endswith(_ENDING)) if files.exists(FOLDER) else []
    return {name.removesuffix(_ENDING): _read(files, name.removesuffix(_ENDING)) for name in names}


def usable_promises(files: Files, officers: Mapping[str, SiteVerifier]) -> dict[str, tuple[SignedPromise, ...]]:
    """Return the promises that are kept of known officers, and fit the cards that these have now.

    Raises:
        FormatError: A file is damaged.
    """
    found = {}
    for officer, promises in kept_promises(files).items():
        # All of a book fitted one card when it was taken: one tells whether that is still the officer's.
        with contextlib.suppress(ApprovalError):
            if officer in officers:
                check_promise(promises[0].signed, promises[0].signature, officers[officer])
                found[officer] = promises
    return found


def _read(files: Files, officer: str) -> tuple[SignedPromise, ...]:
    path = _path(officer)
    return decode_book(files.read(path)) if files.exists(path) else ()


def _check_tries(heard: Heard, now: datetime) -> None:
    wrong = heard.wrong_lately(now)
    if len(wrong) >= WRONG_MAX:
        raise TryLaterError(
            "{count} wrong codes were tried here within an hour; the next one is looked at after {when}",
            "is somebody guessing? officers may approve with their keys meanwhile", count=len(wrong),
            when=(wrong[0] + WRONG_WITHIN).isoformat(timespec="seconds"),
        )


def _fold(records: Iterable[bytes]) -> Heard:
    spent: dict[bytes, str] = {}
    wrong: list[datetime] = []
    for data in records:
        try:
            record = msgspec.msgpack.decode(data, type=_Record)
            at = _EPOCH + timedelta(microseconds=record.at)
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
            raise FormatError("a record of the codes that were heard is malformed") from error
        if record.what == _TRIED:
            wrong.append(at)
        elif record.what == _OPENED:
            del wrong[-1:]
            spent.setdefault(record.promise, record.declaration)
    return Heard(spent, tuple(wrong))


def _encoded(record: _Record) -> bytes:
    return msgspec.msgpack.encode(record)


def _path(officer: str) -> str:
    return posixpath.join(FOLDER, officer + _ENDING)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
