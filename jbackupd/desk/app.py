"""The desk's pages: sign in, search, look at a resident. Every look-up is recorded before it is answered."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from typing import Any, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from jbackupd.desk.accounts import Accounts
from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.guard import SAFE_HEADERS, SignInForms, check_token, local_path, read_form
from jbackupd.desk.pages import Frame, Pages
from jbackupd.desk.query import understand
from jbackupd.desk.residents import Residents
from jbackupd.desk.sessions import LockOut, Session, Sessions
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import (
    JbackupdError,
    NotFoundError,
    RefusedError,
    TryLaterError,
    UsageError,
)
from jbackupd.model.texts import LANGUAGES

RESULTS_MAX = 100
STATIC = {"desk.css": "text/css", "desk.svg": "image/svg+xml"}
SESSION_COOKIE = "desk_session"
FORM_COOKIE = "desk_form"
LANGUAGE_COOKIE = "desk_language"
# scrypt takes 16 MiB: strangers must not be able to ask for gigabytes at once.
_SIGN_INS_AT_ONCE = 4
_log = logging.getLogger("jbackupd.desk")
_STATUS = ((UsageError, 400), (NotFoundError, 404), (RefusedError, 403), (TryLaterError, 503))
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class DeskSettings:
    """What a desk consists of.

    Attributes:
        database: Path of the loaded residents.
        audit: Where every look-up is recorded.
        accounts: Who may sign in.
        title: The municipality's name.
        language: Language of the pages until a clerk chooses another.
        secure: Whether it is reached by https only, so that cookies never travel in clear.
    """

    database: str
    audit: DeskAudit
    accounts: Accounts
    title: str
    language: str = "ja"
    secure: bool = False
    clock: Clock = field(default_factory=SystemClock)


class _Desk:
    """The pages. Everything that waits for a disk runs in a thread."""

    def __init__(self, settings: DeskSettings) -> None:
        self.settings = settings
        self.residents = Residents(settings.database)
        self._pages = Pages()
        self._sessions = Sessions(settings.clock)
        self._names = LockOut(settings.clock, free=3, delay_seconds_max=15 * 60)
        # Many clerks may sit behind one address: more tries, shorter waits.
        self._clients = LockOut(settings.clock, free=20, delay_seconds_max=60)
        self._forms = SignInForms()
        self._signing_in = asyncio.Semaphore(_SIGN_INS_AT_ONCE)
        folder = package_files("jbackupd.desk").joinpath("static")
        self._static = {name: folder.joinpath(name).read_bytes() for name in STATIC}

    async def static(self, request: Request) -> Response:
        """GET /static/NAME."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        headers = {**SAFE_HEADERS, "Cache-Control": "max-age=3600"}
        return Response(self._static[name], media_type=STATIC[name], headers=headers)

    async def home(self, request: Request) -> Response:
        """GET /: the one search box."""
        session = self._session(request)
        return self._page(request, "search.html", session) if session else self._to("/sign-in")

    async def sign_in_page(self, request: Request) -> Response:
        """GET /sign-in."""
        return self._to("/") if self._session(request) else self._sign_in_form(request)

    async def sign_in(self, request: Request) -> Response:
        """POST /sign-in."""
        form = await read_form(request)
        self._forms.check(request.cookies.get(FORM_COOKIE, ""), form.get("token", ""))
        name, client = form.get("account", "").strip()[:100], _client(request)
        wait = self._names.attempt(name) or self._clients.attempt(client)
        if wait:
            return self._sign_in_form(request, name, wait_seconds=math.ceil(wait))
        audit = self.settings.audit
        async with self._signing_in:
            accepted = await asyncio.to_thread(self.settings.accounts.check, name, form.get("password", ""))
        if not accepted:
            known = name in self.settings.accounts.names
            await _recorded(audit.refused, name, client, known=known)
            return self._sign_in_form(request, name, wrong=True)
        await _recorded(audit.signed_in, name, client)
        self._names.succeeded(name)
        self._clients.succeeded(client)
        response = self._to("/")
        self._set_cookie(response, SESSION_COOKIE, self._sessions.begin(name, client).token)
        return response

    async def sign_out(self, request: Request) -> Response:
        """POST /sign-out."""
        session = self._session(request)
        if session:
            check_token(session.form_token, (await read_form(request)).get("token", ""))
            self._sessions.end(session.token)
            await _recorded(self.settings.audit.signed_out, session.account, _client(request))
        response = self._to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return response

    async def choose_language(self, request: Request) -> Response:
        """POST /language: changes nothing but this browser's pages."""
        form = await read_form(request)
        response = self._to(local_path(form.get("to", "/")))
        if form.get("language") in LANGUAGES:
            self._set_cookie(response, LANGUAGE_COOKIE, form["language"])
        return response

    async def search(self, request: Request) -> Response:
        """POST /search: the words get a handle, so that no address ever holds a name."""
        form = await read_form(request)
        session = self._session(request)
        if session is None:
            return self._to("/sign-in")
        check_token(session.form_token, form.get("token", ""))
        typed = form.get("words", "")
        try:
            query = understand(typed)
        except UsageError as error:
            return self._page(request, "search.html", session, status=400, typed=typed[:100], problem=error)
        return self._to(f"/results/{session.remember_search(query)}")

    async def results(self, request: Request) -> Response:
        """GET /results/HANDLE."""
        session = self._session(request)
        if session is None:
            return self._to("/sign-in")
        query = session.searches.get(request.path_params["handle"])
        if query is None:
            return self._to("/")
        found = await asyncio.to_thread(self.residents.search, query, limit=RESULTS_MAX)
        await _recorded(
            self.settings.audit.searched, session.account, _client(request), query, len(found.residents)
        )
        rows = [(session.person_handle(resident.id), resident) for resident in found.residents]
        return self._page(request, "results.html", session, typed=query.typed, found=found, rows=rows)

    async def person(self, request: Request) -> Response:
        """GET /person/HANDLE: a resident and the household."""
        session = self._session(request)
        if session is None:
            return self._to("/sign-in")
        row = session.persons.get(request.path_params["handle"])
        if row is None:
            return self._to("/")
        resident = await asyncio.to_thread(self.residents.resident, row)
        members = await asyncio.to_thread(self.residents.household, resident)
        await _recorded(self.settings.audit.viewed, session.account, _client(request), resident, members)
        household = [(session.person_handle(member.id), member) for member in members]
        return self._page(request, "person.html", session, resident=resident, household=household)

    async def on_error(self, request: Request, error: Exception) -> Response:
        """Answer with a page that says what happened and what to do next."""
        if isinstance(error, HTTPException):
            shown: JbackupdError = NotFoundError("there is no such page", "go back to the search page")
            status = error.status_code
        elif isinstance(error, JbackupdError):
            shown, status = error, next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
            if status >= 500:
                _log.error("the desk failed to answer: %s", error, exc_info=error)
        else:
            # The server writes the traceback into the log.
            shown, status = JbackupdError("the desk failed to answer", "try again, then tell the operator"), 500
        return self._page(request, "error.html", self._session(request), status=status, error=shown)

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(SESSION_COOKIE, ""))

    def _sign_in_form(self, request: Request, account: str = "", **values: Any) -> Response:
        cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(16)
        response = self._page(
            request, "sign-in.html", None, status=429 if "wait_seconds" in values else 401 if values else 200,
            typed=account, token=self._forms.token(cookie), **{"wrong": False, "wait_seconds": 0, **values},
        )
        self._set_cookie(response, FORM_COOKIE, cookie)
        return response

    def _page(
        self, request: Request, template: str, session: Session | None, *, status: int = 200, **values: Any,
    ) -> Response:
        language = request.cookies.get(LANGUAGE_COOKIE, "")
        frame = Frame(
            self.settings.title, language if language in LANGUAGES else self.settings.language,
            self.residents.facts, self.settings.clock.now(), session.account if session else "",
            session.form_token if session else "", local_path(request.url.path) if request.method == "GET" else "/",
        )
        html = self._pages.render(template, frame, {"typed": "", "problem": None, **values})
        return HTMLResponse(html, status, headers={**SAFE_HEADERS, "Content-Language": frame.language})

    def _to(self, path: str) -> Response:
        return RedirectResponse(path, status_code=303, headers=SAFE_HEADERS)

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=self.settings.secure)


def create_app(settings: DeskSettings) -> Starlette:
    """Return the desk as an ASGI application; blocking: opens the database and records that it opened.

    Raises:
        NotFoundError, DamageError: The database cannot be used.
        TryLaterError: The audit log cannot be written.
    """
    desk = _Desk(settings)
    facts = desk.residents.facts
    try:
        settings.audit.opened(loaded_from=facts.loaded_from, as_of=facts.as_of.isoformat(), rows=facts.rows)
    except JbackupdError as error:
        raise _no_audit() from error
    return Starlette(
        routes=[
            Route("/", desk.home), Route("/static/{name}", desk.static),
            Route("/sign-in", desk.sign_in_page), Route("/sign-in", desk.sign_in, methods=["POST"]),
            Route("/sign-out", desk.sign_out, methods=["POST"]),
            Route("/language", desk.choose_language, methods=["POST"]),
            Route("/search", desk.search, methods=["POST"]),
            Route("/results/{handle}", desk.results), Route("/person/{handle}", desk.person),
        ],
        exception_handlers={JbackupdError: desk.on_error, HTTPException: desk.on_error, Exception: desk.on_error},
    )


async def _recorded(record: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Write to the audit log, or do not answer."""
    try:
        await asyncio.to_thread(record, *args, **kwargs)
    except JbackupdError as error:
        raise _no_audit() from error


def _no_audit() -> TryLaterError:
    return TryLaterError(
        "the desk does not answer: look-ups cannot be recorded at the moment",
        "tell the operator: the audit log cannot be written, its disk may be full",
    )


def _client(request: Request) -> str:
    return request.client.host if request.client else "?"
