"""The desk's pages of receptions: the day's list, one reception, slip, provisional form, safety and shelters."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.continuity.intake import Item
from jbackupd.desk.intake import address_of
from jbackupd.desk.intake_base import NONCE_BYTES, Receptions, day_of
from jbackupd.desk.roles import Right
from jbackupd.desk.sessions import Session
from jbackupd.desk.shelters import not_safe, safety_counts, shelters, standings
from jbackupd.format.intakekinds import SPECS, About, Kind
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError

LISTED_MAX = 500
"""Receptions on one page: a browser of a borrowed laptop must still show it."""


class IntakePages(Receptions):
    """Pages that show receptions."""

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        signed = functools.partial(self._web.signed_in, right=Right.TAKE_IN)
        return [
            Route("/intake", signed(self.today)), Route("/intake/all", signed(self.everything)),
            Route("/intake/shelters", signed(self.shelters)),
            Route("/intake/entry/{address}", signed(self.entry)),
            Route("/intake/entry/{address}/slip", signed(self.slip)),
            Route("/intake/entry/{address}/certificate", signed(self.certificate)),
        ]

    async def today(self, request: Request, session: Session) -> Response:
        """GET /intake: what was taken in today, by all desks whose journals are here."""
        return await self._list(request, session, whole=False)

    async def everything(self, request: Request, session: Session) -> Response:
        """GET /intake/all."""
        return await self._list(request, session, whole=True)

    async def _list(self, request: Request, session: Session, *, whole: bool) -> Response:
        items = await asyncio.to_thread(self._book.items)
        shown = [item for item in reversed(items) if whole or day_of(item.first.at) == self._today()]
        page, listed = "all" if whole else "today", min(len(shown), LISTED_MAX)
        await self._recorded(self._audit.listed_intake, request, session, page=page, entries=listed)
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
        await self._recorded(self._audit.listed_intake, request, session, page="shelters", entries=len(found))
        return self._web.page(
            request, "intake-shelters.html", session, safety=safety_counts(found), shelters=shelters(found, protected),
            missing=not_safe(found, protected),
        )

    async def entry(self, request: Request, session: Session) -> Response:
        """GET /intake/entry/ADDRESS."""
        item = await self._item(request)
        await self._recorded(self._audit.showed_intake, request, session, number=item.number, form="page")
        return await self.entry_page(request, session, item)

    async def slip(self, request: Request, session: Session) -> Response:
        """GET .../slip: the applicant's receipt."""
        item = await self._item(request)
        await self._recorded(self._audit.showed_intake, request, session, number=item.number, form="slip")
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
        await self._recorded(self._audit.showed_intake, request, session, number=item.number, form="certificate")
        marks = await asyncio.to_thread(self._book.marks)
        known = [marks[person.number] for person in item.persons if person.number in marks]
        return self._web.page(
            request, "intake-certificate.html", session, item=item, address=address_of(item), residents=residents,
            pending=[one.number for mark in known for one in mark.pending],
        )

    async def entry_page(
        self, request: Request, session: Session, item: Item, *, problem: UsageError | None = None, typed: str = "",
        nonce: str = "", status: int = 200,
    ) -> Response:
        """Return a reception's page; with what is wrong about a cancellation that was sent, if anything is."""
        address = address_of(item)
        fresh, session.recorded = session.recorded == address, ""
        return self._web.page(
            request, "intake-entry.html", session, status=status, item=item, address=address, fresh=fresh,
            own=self._book.is_own(item), problem=problem, typed=typed, hidden=await asyncio.to_thread(
                self._is_protected, item
            ), nonce=nonce or secrets.token_urlsafe(NONCE_BYTES),
        )
