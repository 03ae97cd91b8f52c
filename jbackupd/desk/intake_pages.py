"""The desk's pages of receptions: forms, the day's list, one reception, slip, provisional form, safety and shelters."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.continuity.intake import Item
from jbackupd.desk.forms import read_fields, read_person, read_reason
from jbackupd.desk.guard import check_token, read_form
from jbackupd.desk.intake import Book, Clerk, address_of
from jbackupd.desk.masking import Mask, mask_of
from jbackupd.desk.residents import Resident
from jbackupd.desk.sessions import Session
from jbackupd.desk.shelters import not_safe, safety_counts, shelters, standings
from jbackupd.desk.web import Right, Web, client_of
from jbackupd.format.intake import NAME_CHARACTERS_MAX, NUMBER_CHARACTERS_MAX, Person, is_nonce, is_plain
from jbackupd.format.intakekinds import SPECS, About, Kind, KindSpec
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError
from jbackupd.model.wareki import JST

FORM_BYTES_MAX = 64 * 1024
FORM_FIELDS_MAX = 80
"""The longest form has a dozen fields and a household's members."""
SAFETY = SPECS[Kind.SAFETY]
NONCE_BYTES = 18
LISTED_MAX = 500
"""Receptions on one page: a browser of a borrowed laptop must still show it."""


class Typed(dict[str, str]):
    """What was typed, by the field's name; nothing for what was not."""

    def __missing__(self, key: str) -> str:
        return ""


class Problems(dict[str, UsageError]):
    """What is wrong, by the field's name."""

    def __missing__(self, key: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody in the register whom a form is about, and the others of the household.

    Attributes:
        household: Handles with members, the person among them.
    """

    handle: str
    resident: Resident
    household: Sequence[tuple[str, Resident]]

    def chosen(self, form: Mapping[str, str]) -> tuple[Resident, ...]:
        """Return the person, and the members that are ticked."""
        others = (
            member for handle, member in self.household
            if member.id != self.resident.id and f"member-{handle}" in form
        )
        return self.resident, *others


class IntakePages:
    """Pages of receptions. Everything that waits for a disk runs in a thread."""

    def __init__(self, web: Web, book: Book) -> None:
        self._web = web
        self._book = book

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        signed = functools.partial(self._web.signed_in, right=Right.TAKE_IN)
        return [
            Route("/intake", signed(self.today)), Route("/intake/all", signed(self.everything)),
            Route("/intake/shelters", signed(self.shelters)),
            Route("/intake/new/{kind}", signed(self.new_form)),
            Route("/intake/new/{kind}", signed(self.receive), methods=["POST"]),
            Route("/intake/person/{handle}/mark", signed(self.mark), methods=["POST"]),
            Route("/intake/person/{handle}/{kind}", signed(self.new_form)),
            Route("/intake/person/{handle}/{kind}", signed(self.receive), methods=["POST"]),
            Route("/intake/entry/{address}", signed(self.entry)),
            Route("/intake/entry/{address}/slip", signed(self.slip)),
            Route("/intake/entry/{address}/certificate", signed(self.certificate)),
            Route("/intake/entry/{address}/correct", signed(self.correct_form)),
            Route("/intake/entry/{address}/correct", signed(self.correct), methods=["POST"]),
            Route("/intake/entry/{address}/cancel", signed(self.cancel), methods=["POST"]),
        ]

    async def today(self, request: Request, session: Session) -> Response:
        """GET /intake: what was taken in today, by all desks whose journals are here."""
        return await self._list(request, session, whole=False)

    async def everything(self, request: Request, session: Session) -> Response:
        """GET /intake/all."""
        return await self._list(request, session, whole=True)

    async def _list(self, request: Request, session: Session, *, whole: bool) -> Response:
        items = await asyncio.to_thread(self._book.items)
        shown = [item for item in reversed(items) if whole or _day_of(item.first.at) == self._today()]
        listed = min(len(shown), LISTED_MAX)
        await self._recorded("listed_intake", request, session, page="all" if whole else "today", entries=listed)
        counts = Counter(item.first.kind for item in shown if item.cancelled is None)
        return self._web.page(
            request, "intake-list.html", session, whole=whole,
            specs=[spec for spec in SPECS.values() if spec.about is not About.REGISTERED],
            rows=[(address_of(item), item) for item in shown[:LISTED_MAX]], total=len(shown),
            counts=[(spec, counts[spec.kind]) for spec in SPECS.values() if counts[spec.kind]],
        )

    async def shelters(self, request: Request, session: Session) -> Response:
        """GET /intake/shelters: counts of safety, and who is at which shelter."""
        items = await asyncio.to_thread(self._book.items)
        found = standings(items)
        protected = await asyncio.to_thread(self._protected, {one.person.number for one in found} - {""})
        await self._recorded("listed_intake", request, session, page="shelters", entries=len(found))
        return self._web.page(
            request, "intake-shelters.html", session, safety=safety_counts(found), shelters=shelters(found, protected),
            missing=not_safe(found, protected),
        )

    async def new_form(self, request: Request, session: Session) -> Response:
        """GET /intake/new/KIND and /intake/person/HANDLE/KIND: an empty form."""
        spec, subject = _spec(request), await self._subject(request, session)
        if subject is None and spec.about is About.REGISTERED:
            raise _begins_at_a_person()
        self._check_allowed(session, spec, [subject.resident] if subject else [])
        return self._form(request, session, spec, subject, Typed(), Problems(), secrets.token_urlsafe(NONCE_BYTES))

    async def receive(self, request: Request, session: Session) -> Response:
        """POST to the same: taken in, or the form again with what is wrong beside its fields."""
        form = await self._sent(request, session)
        spec, subject = _spec(request), await self._subject(request, session)
        chosen = subject.chosen(form) if subject else ()
        self._check_allowed(session, spec, chosen)
        found = read_fields(spec, form, self._today())
        problems = Problems(found.problems)
        persons = tuple(map(_person, chosen))
        if not persons:
            person, wrong = await self._typed_person(spec, form)
            problems.update(wrong)
            persons = (person,) if person else ()
        if problems:
            return self._form(request, session, spec, subject, Typed(form), problems, form["nonce"])
        item = await asyncio.to_thread(
            self._book.receive, spec.kind, persons, found.values, clerk=_clerk(request, session), nonce=form["nonce"],
            as_of=self._web.residents.facts.as_of,
        )
        return self._to_entry(item, session)

    async def mark(self, request: Request, session: Session) -> Response:
        """POST /intake/person/HANDLE/mark: safety with one key, of a person or the whole household."""
        form = await self._sent(request, session)
        subject = await self._subject(request, session)
        if subject is None:
            return self._web.to("/")
        everybody = [member for _, member in subject.household if member.state == "1"] or [subject.resident]
        whom = everybody if "all" in form else [subject.resident]
        said = {**form, "safety": form.get("all" if "all" in form else "one", "")}
        found = read_fields(SAFETY, said, self._today())
        if found.problems:
            return self._form(request, session, SAFETY, subject, Typed(said), Problems(found.problems), form["nonce"])
        await asyncio.to_thread(
            self._book.receive, Kind.SAFETY, tuple(map(_person, whom)), found.values, clerk=_clerk(request, session),
            nonce=form["nonce"], as_of=self._web.residents.facts.as_of,
        )
        return self._web.to(f"/person/{subject.handle}")

    async def entry(self, request: Request, session: Session) -> Response:
        """GET /intake/entry/ADDRESS."""
        item = await self._item(request)
        await self._recorded("showed_intake", request, session, number=item.number, form="page")
        return await self._entry_page(request, session, item)

    async def slip(self, request: Request, session: Session) -> Response:
        """GET .../slip: the applicant's receipt."""
        item = await self._item(request)
        await self._recorded("showed_intake", request, session, number=item.number, form="slip")
        return self._web.page(
            request, "intake-slip.html", session, item=item, address=address_of(item),
            hidden=await asyncio.to_thread(self._is_protected, item),
        )

    async def certificate(self, request: Request, session: Session) -> Response:
        """GET .../certificate: the provisional form, of the data that the issue was recorded with."""
        item = await self._item(request)
        facts = self._web.residents.facts
        if item.first.kind is not Kind.PROVISIONAL or item.cancelled is not None:
            raise NotFoundError("there is no provisional form of {number}", "issue one", number=item.number)
        if item.first.as_of != facts.as_of:
            raise RefusedError(
                "the data was loaded anew since {number} was issued: the form would not say what it said",
                "issue a new one", number=item.number,
            )
        residents = await asyncio.to_thread(self._residents, [person.number for person in item.persons])
        self._check_allowed(session, item.spec, residents)
        if len(residents) != len(item.persons):
            raise NotFoundError("somebody of {number} is not in the data", "issue a new one", number=item.number)
        await self._recorded("showed_intake", request, session, number=item.number, form="certificate")
        marks = await asyncio.to_thread(self._book.marks)
        known = [marks[person.number] for person in item.persons if person.number in marks]
        return self._web.page(
            request, "intake-certificate.html", session, item=item, address=address_of(item), residents=residents,
            pending=[one.number for mark in known for one in mark.pending],
        )

    async def correct_form(self, request: Request, session: Session) -> Response:
        """GET .../correct: the form with what it says now."""
        item = await self._item(request)
        await self._recorded("showed_intake", request, session, number=item.number, form="correct")
        hidden = await asyncio.to_thread(self._is_protected, item)
        said = {
            field.name: item.fields[field.name] for field in item.spec.fields
            if field.name in item.fields and not (hidden and field.located)
        }
        person = item.persons[0]
        said |= {"person_name": person.name, "person_kana": person.kana, "person_birth": person.birth,
                 "person_number": person.number}
        return self._correction(
            request, session, item, Typed(said), Problems(), secrets.token_urlsafe(NONCE_BYTES), hidden=hidden
        )

    async def correct(self, request: Request, session: Session) -> Response:
        """POST .../correct."""
        form, item = await self._sent(request, session), await self._item(request)
        found = read_fields(item.spec, form, self._today())
        found.take("reason", lambda: read_reason(form.get("reason", "")))
        problems, persons = Problems(found.problems), item.persons
        if not _is_registered(item):
            person, wrong = await self._typed_person(item.spec, form)
            problems.update(wrong)
            persons = (person, *item.persons[1:]) if person else persons
        if problems:
            return self._correction(request, session, item, Typed(form), problems, form["nonce"])
        reason = found.values.pop("reason")
        changed = await asyncio.to_thread(
            self._book.correct, item.number, persons, found.values, clerk=_clerk(request, session),
            nonce=form["nonce"], reason=reason,
        )
        return self._to_entry(changed, session)

    async def cancel(self, request: Request, session: Session) -> Response:
        """POST .../cancel."""
        form, item = await self._sent(request, session), await self._item(request)
        try:
            reason = read_reason(form.get("reason", ""))
        except UsageError as problem:
            return await self._entry_page(
                request, session, item, problem=problem, typed=form.get("reason", ""), nonce=form["nonce"], status=400
            )
        changed = await asyncio.to_thread(
            self._book.cancel, item.number, clerk=_clerk(request, session), nonce=form["nonce"], reason=reason
        )
        return self._to_entry(changed, session)

    async def _entry_page(
        self, request: Request, session: Session, item: Item, *, problem: UsageError | None = None, typed: str = "",
        nonce: str = "", status: int = 200,
    ) -> Response:
        address = address_of(item)
        fresh, session.recorded = session.recorded == address, ""
        return self._web.page(
            request, "intake-entry.html", session, status=status, item=item, address=address, fresh=fresh,
            own=self._book.is_own(item), problem=problem, typed=typed, hidden=await asyncio.to_thread(
                self._is_protected, item
            ), nonce=nonce or secrets.token_urlsafe(NONCE_BYTES),
        )

    def _form(
        self, request: Request, session: Session, spec: KindSpec, subject: Subject | None, typed: Typed,
        problems: Problems, nonce: str,
    ) -> Response:
        return self._web.page(
            request, "intake-form.html", session, status=400 if problems else 200, spec=spec, typed=typed,
            problems=problems, nonce=nonce, corrects="", persons_fixed=(), hidden_fields=False,
            action=request.url.path, back=f"/person/{subject.handle}" if subject else "/intake",
            resident=subject.resident if subject else None, household=subject.household if subject else (),
            members={name.removeprefix("member-") for name in typed if name.startswith("member-")},
        )

    def _correction(
        self, request: Request, session: Session, item: Item, typed: Typed, problems: Problems, nonce: str, *,
        hidden: bool = False,
    ) -> Response:
        address = address_of(item)
        return self._web.page(
            request, "intake-form.html", session, status=400 if problems else 200, spec=item.spec, typed=typed,
            problems=problems, nonce=nonce, corrects=item.number, hidden_fields=hidden, members=(), resident=None,
            persons_fixed=item.persons if _is_registered(item) else (), household=(),
            action=f"/intake/entry/{address}/correct", back=f"/intake/entry/{address}",
        )

    async def _sent(self, request: Request, session: Session) -> dict[str, str]:
        """Return a form that this session was handed out.

        Raises:
            UsageError, RefusedError: It is none.
        """
        form = await read_form(request, bytes_max=FORM_BYTES_MAX, fields_max=FORM_FIELDS_MAX)
        check_token(session.form_token, form.get("token", ""))
        if not is_nonce(form.get("nonce", "")):
            raise UsageError("this is not a form of the desk", "go back to the search page")
        return form

    async def _subject(self, request: Request, session: Session) -> Subject | None:
        """Return whom a form is about; None for a form that was not opened from a person's page.

        Raises:
            NotFoundError: The session does not know this person (any more).
        """
        handle = request.path_params.get("handle")
        if handle is None:
            return None
        row = session.persons.get(handle)
        if row is None:
            raise NotFoundError("this page has expired", "search for the person again")
        resident = await asyncio.to_thread(self._web.residents.resident, row)
        members = await asyncio.to_thread(self._web.residents.household, resident)
        return Subject(handle, resident, [(session.person_handle(member.id), member) for member in members])

    async def _typed_person(
        self, spec: KindSpec, form: Mapping[str, str]
    ) -> tuple[Person | None, Mapping[str, UsageError]]:
        """Return somebody who was typed in; a number that was typed must be in the register."""
        if spec.about is About.REGISTERED:
            raise _begins_at_a_person()
        person, problems = read_person(spec, form, self._today())
        if person is not None and person.number and not await asyncio.to_thread(self._residents, [person.number]):
            unknown = UsageError(
                "nobody in the data has the number {number}", "leave it empty if it is not known", number=person.number
            )
            return None, {"person_number": unknown}
        return person, problems

    async def _item(self, request: Request) -> Item:
        item = await asyncio.to_thread(self._book.find, request.path_params["address"])
        if item is None:
            raise NotFoundError("there is no such reception", "look into the list of receptions")
        return item

    def _check_allowed(self, session: Session, spec: KindSpec, residents: Collection[Resident]) -> None:
        """Refuse a provisional form to who may not issue it, and of somebody whose address must not be shown."""
        if spec.kind is not Kind.PROVISIONAL:
            return
        self._web.check_right(session, Right.ISSUE)
        facts = self._web.residents.facts
        if any(mask_of(one, facts) is not Mask.NONE for one in residents):
            raise RefusedError(
                "no provisional form is issued for this person: the address must not be shown",
                "ask the officer in charge; the reason stands on the person's page",
            )

    def _residents(self, numbers: Collection[str]) -> list[Resident]:
        return [one for number in numbers if number and (one := self._web.residents.by_number(number)) is not None]

    def _protected(self, numbers: Collection[str]) -> set[str]:
        return {one.number for one in self._residents(numbers) if one.restricted}

    def _is_protected(self, item: Item) -> bool:
        return bool(self._protected([person.number for person in item.persons]))

    async def _recorded(self, what: str, request: Request, session: Session, **said: str | int) -> None:
        record = getattr(self._web.settings.audit, what)
        await self._web.recorded(record, session.account, client_of(request), **said)

    def _to_entry(self, item: Item, session: Session) -> Response:
        session.recorded = address_of(item)
        return self._web.to(f"/intake/entry/{session.recorded}")

    def _today(self) -> date:
        return _day_of(self._web.settings.clock.now())


def _spec(request: Request) -> KindSpec:
    try:
        return SPECS[Kind(request.path_params["kind"])]
    except ValueError as error:
        raise NotFoundError("there is no such page", "go back to the search page") from error


def _person(resident: Resident) -> Person:
    """Return a resident as the journal keeps one; extracts hold stranger things than forms may."""
    birth = resident.birthday.isoformat() if resident.birthday else resident.birth
    name, kana, birth = (_plain(text)[:NAME_CHARACTERS_MAX] for text in (resident.name, resident.kana, birth))
    if not is_plain(resident.number, NUMBER_CHARACTERS_MAX):
        raise RefusedError(
            "nothing can be taken in for this person: the number in the register cannot be kept",
            "use the form without a person, and leave the number empty",
        )
    return Person(name or "不詳", resident.number, kana, birth)


def _plain(text: str) -> str:
    return "".join(char if is_plain(char, 1) else " " for char in text)


def _begins_at_a_person() -> NotFoundError:
    return NotFoundError("this form begins at a person's page", "search for the person first")


def _is_registered(item: Item) -> bool:
    """Tell whether whom it is about was chosen from the register: a correction does not change who it is."""
    return item.spec.about is About.REGISTERED or all(person.number for person in item.persons)


def _clerk(request: Request, session: Session) -> Clerk:
    return Clerk(session.account, client_of(request))


def _day_of(moment: datetime) -> date:
    return moment.astimezone(JST).date()
