"""The desk's forms: something is taken in, corrected, cancelled, a safety mark set with one press."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.continuity.intake import Item
from jbackupd.desk.forms import read_fields, read_person, read_reason
from jbackupd.desk.guard import check_token, read_form
from jbackupd.desk.intake import Book, address_of
from jbackupd.desk.intake_base import NONCE_BYTES, Receptions
from jbackupd.desk.intake_pages import IntakePages
from jbackupd.desk.residents import Resident
from jbackupd.desk.roles import Right
from jbackupd.desk.sessions import Session
from jbackupd.desk.web import Web
from jbackupd.format.intake import NAME_CHARACTERS_MAX, NUMBER_CHARACTERS_MAX, Person, is_nonce, is_plain
from jbackupd.format.intakekinds import SPECS, About, Kind, KindSpec
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError

FORM_BYTES_MAX = 64 * 1024
FORM_FIELDS_MAX = 80
"""The longest form has a dozen fields and a household's members."""
SAFETY = SPECS[Kind.SAFETY]


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


class IntakeForms(Receptions):
    """Forms of receptions.

    Args:
        pages: Shows the reception that a wrong cancellation is about.
    """

    def __init__(self, web: Web, book: Book, pages: IntakePages) -> None:
        super().__init__(web, book)
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return where the forms are."""
        signed = functools.partial(self._web.signed_in, right=Right.TAKE_IN)
        return [
            Route("/intake/new/{kind}", signed(self.new_form)),
            Route("/intake/new/{kind}", signed(self.receive), methods=["POST"]),
            Route("/intake/person/{handle}/mark", signed(self.mark), methods=["POST"]),
            Route("/intake/person/{handle}/{kind}", signed(self.new_form)),
            Route("/intake/person/{handle}/{kind}", signed(self.receive), methods=["POST"]),
            Route("/intake/entry/{address}/correct", signed(self.correct_form)),
            Route("/intake/entry/{address}/correct", signed(self.correct), methods=["POST"]),
            Route("/intake/entry/{address}/cancel", signed(self.cancel), methods=["POST"]),
        ]

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
            self._book.receive, spec.kind, persons, found.values, clerk=self._web.clerk(request, session),
            nonce=form["nonce"], as_of=self._web.residents.facts.as_of,
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
            self._book.receive, Kind.SAFETY, tuple(map(_person, whom)), found.values,
            clerk=self._web.clerk(request, session), nonce=form["nonce"], as_of=self._web.residents.facts.as_of,
        )
        return self._web.to(f"/person/{subject.handle}")

    async def correct_form(self, request: Request, session: Session) -> Response:
        """GET .../correct: the form with what it says now."""
        item = await self._item(request)
        await self._recorded(self._audit.showed_intake, request, session, number=item.number, form="correct")
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
            self._book.correct, item.number, persons, found.values, clerk=self._web.clerk(request, session),
            nonce=form["nonce"], reason=reason,
        )
        return self._to_entry(changed, session)

    async def cancel(self, request: Request, session: Session) -> Response:
        """POST .../cancel."""
        form, item = await self._sent(request, session), await self._item(request)
        try:
            reason = read_reason(form.get("reason", ""))
        except UsageError as problem:
            return await self._pages.entry_page(
                request, session, item, problem=problem, typed=form.get("reason", ""), nonce=form["nonce"], status=400
            )
        changed = await asyncio.to_thread(
            self._book.cancel, item.number, clerk=self._web.clerk(request, session), nonce=form["nonce"], reason=reason
        )
        return self._to_entry(changed, session)

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

    def _to_entry(self, item: Item, session: Session) -> Response:
        session.recorded = address_of(item)
        return self._web.to(f"/intake/entry/{session.recorded}")


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
