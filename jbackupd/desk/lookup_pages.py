"""The desk's pages of looking up: search, results, a resident with the household. Recorded before they are answered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.continuity.intake import NO_MARKS, Marks
from jbackupd.desk.gaiji import FONT_PATH, STYLE, STYLE_PATH
from jbackupd.desk.guard import SAFE_HEADERS, check_token, read_form
from jbackupd.desk.query import understand
from jbackupd.desk.sessions import Session
from jbackupd.desk.web import Web
from jbackupd.format.intakekinds import SPECS, About, Kind
from jbackupd.model.errors import UsageError

RESULTS_MAX = 50
"""Persons on a page of results."""
PAGES_MAX = 1_000_000
_KEPT = {**SAFE_HEADERS, "Cache-Control": "max-age=3600"}
PERSON_SPECS = tuple(spec for spec in SPECS.values() if spec.about is not About.NEW and spec.kind is not Kind.SAFETY)
"""Forms that begin at a resident's page."""


class LookUpPages:
    """Pages of looking up. Everything that waits for a disk runs in a thread."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        signed = self._web.signed_in
        return [
            Route("/", signed(self.home)), Route("/search", self.search, methods=["POST"]),
            Route("/results/{handle}", signed(self.results)),
            Route("/results/{handle}/{page:int}", signed(self.results)),
            Route("/person/{handle}", signed(self.person)),
            *([Route(FONT_PATH, self.font), Route(STYLE_PATH, self.font_style)] if self._web.settings.font else []),
        ]

    async def home(self, request: Request, session: Session) -> Response:
        """GET /: the one search box."""
        return self._web.page(request, "search.html", session)

    async def search(self, request: Request) -> Response:
        """POST /search: the words get a handle, so that no address ever holds a name."""
        form = await read_form(request)
        session = self._web.session(request)
        if session is None:
            return self._web.to("/sign-in")
        check_token(session.form_token, form.get("token", ""))
        typed = form.get("words", "")
        try:
            query = understand(typed)
        except UsageError as error:
            return self._web.page(request, "search.html", session, status=400, typed=typed[:100], problem=error)
        return self._web.to(f"/results/{session.remember_search(query)}")

    async def results(self, request: Request, session: Session) -> Response:
        """GET /results/HANDLE and, from the second page on, /results/HANDLE/PAGE."""
        page = min(max(request.path_params.get("page", 1), 1), PAGES_MAX)
        query = session.searches.get(request.path_params["handle"])
        if query is None:
            return self._web.to("/")
        before = (page - 1) * RESULTS_MAX
        found = await asyncio.to_thread(self._web.residents.search, query, limit=RESULTS_MAX, skip=before)
        await self._web.recorded(
            self._web.settings.audit.searched, self._web.clerk(request, session), query, len(found.residents)
        )
        rows = [(session.person_handle(resident.id), resident) for resident in found.residents]
        return self._web.page(
            request, "results.html", session, typed=query.typed, found=found, rows=rows, number=page,
            pages=max(1, -(-found.total // RESULTS_MAX)), first=before + 1,
            base=f"/results/{request.path_params['handle']}", **await self._received(),
        )

    async def person(self, request: Request, session: Session) -> Response:
        """GET /person/HANDLE: a resident and the household."""
        handle = request.path_params["handle"]
        row = session.persons.get(handle)
        if row is None:
            return self._web.to("/")
        resident = await asyncio.to_thread(self._web.residents.resident, row)
        members = await asyncio.to_thread(self._web.residents.household, resident)
        await self._web.recorded(
            self._web.settings.audit.viewed, self._web.clerk(request, session), resident, members
        )
        household = [(session.person_handle(member.id), member) for member in members]
        return self._web.page(
            request, "person.html", session, resident=resident, household=household, person_handle=handle,
            nonce=secrets.token_urlsafe(18), person_specs=PERSON_SPECS, safety=SPECS[Kind.SAFETY],
            **await self._received(),
        )

    async def font(self, request: Request) -> Response:
        """GET /static/gaiji-font: nothing personal, asked for by style sheets."""
        font = self._web.settings.font
        assert font is not None
        return Response(font.data, media_type=font.media_type, headers=_KEPT)

    async def font_style(self, request: Request) -> Response:
        """GET /static/gaiji.css."""
        return Response(STYLE, media_type="text/css", headers=_KEPT)

    async def _received(self) -> Mapping[str, Any]:
        """Return what pages need to show what was received about residents."""
        book = self._web.settings.book
        known: Mapping[str, Marks] = await asyncio.to_thread(book.marks) if book else {}
        return {"marks": lambda number: known.get(number, NO_MARKS)}
