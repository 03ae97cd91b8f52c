"""The desk's pages around looking up: signing in and out, the language, the style sheet, and what went wrong."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from importlib.resources import files as package_files
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.desk.accounts import Account, Standing
from jbackupd.desk.audit import Clerk
from jbackupd.desk.guard import SAFE_HEADERS, SignInForms, check_token, local_path, read_form
from jbackupd.desk.purposes import Reason, read_reason
from jbackupd.desk.sessions import LockOut
from jbackupd.desk.web import LANGUAGE_COOKIE, SESSION_COOKIE, Web, client_of
from jbackupd.model.errors import JbackupdError, NotFoundError, RefusedError, TryLaterError, UsageError
from jbackupd.model.texts import LANGUAGES

STATIC = {"desk.css": "text/css", "intake.css": "text/css", "accounts.css": "text/css", "desk.svg": "image/svg+xml"}
FORM_COOKIE = "desk_form"
# scrypt takes 16 MiB: strangers must not be able to ask for gigabytes at once.
_SIGN_INS_AT_ONCE = 4
_log = logging.getLogger("jbackupd.desk")
_STATUS = ((UsageError, 400), (NotFoundError, 404), (RefusedError, 403), (TryLaterError, 503))


def _reason(form: dict[str, str]) -> Reason | None:
    """Return the purpose that was chosen at sign-in; without one its own page asks."""
    try:
        return read_reason(form.get("purpose", ""), form.get("because", ""))
    except UsageError:
        return None


class SignInPages:
    """Pages for whoever is not signed in yet, and for all."""

    def __init__(self, web: Web) -> None:
        self._web = web
        clock = web.settings.clock
        self._names = LockOut(clock, free=3, delay_seconds_max=15 * 60)
        # Many clerks may sit behind one address: more tries, shorter waits.
        self._clients = LockOut(clock, free=20, delay_seconds_max=60)
        self._forms = SignInForms()
        self._signing_in = asyncio.Semaphore(_SIGN_INS_AT_ONCE)
        folder = package_files("jbackupd.desk").joinpath("static")
        self._static = {name: folder.joinpath(name).read_bytes() for name in STATIC}

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        return [
            Route("/static/{name}", self.static), Route("/sign-in", self.sign_in_page),
            Route("/sign-in", self.sign_in, methods=["POST"]), Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/language", self.choose_language, methods=["POST"]),
        ]

    async def static(self, request: Request) -> Response:
        """GET /static/NAME."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        headers = {**SAFE_HEADERS, "Cache-Control": "max-age=3600"}
        return Response(self._static[name], media_type=STATIC[name], headers=headers)

    async def sign_in_page(self, request: Request) -> Response:
        """GET /sign-in."""
        return self._web.to("/") if self._web.session(request) else self._sign_in_form(request)

    async def sign_in(self, request: Request) -> Response:
        """POST /sign-in."""
        form = await read_form(request)
        self._forms.check(request.cookies.get(FORM_COOKIE, ""), form.get("token", ""))
        name, client = form.get("account", "").strip()[:100], client_of(request)
        wait = self._names.attempt(name) or self._clients.attempt(client)
        if wait:
            return self._sign_in_form(request, name, wait_seconds=math.ceil(wait))
        await self._web.see_accounts()
        accounts, audit, asked = self._web.accounts.current, self._web.settings.audit, form.get("purpose", "")
        async with self._signing_in:
            accepted = await asyncio.to_thread(accounts.check, name, form.get("password", ""))
        account = accounts.get(name)
        if not accepted or account is None:
            await self._web.recorded(audit.refused, name, client, known=account is not None)
            return self._sign_in_form(request, name, asked, wrong=True)
        standing = account.standing(self._web.today())
        if standing is not Standing.ACTIVE:
            # Only who knows the password is told so.
            await self._web.recorded(audit.refused, name, client, known=True, why=standing.value)
            return self._sign_in_form(request, name, asked, standing=standing)
        self._names.succeeded(name)
        self._clients.succeeded(client)
        return await self._begin(account, client, _reason(form))

    async def _begin(self, account: Account, client: str, reason: Reason | None) -> Response:
        clerk = Clerk(account.name, client, reason)
        await self._web.recorded(self._web.settings.audit.signed_in, clerk, role=account.grant.role)
        session = self._web.sessions.begin(account.name, client, stamp=account.salt, reason=reason)
        response = self._web.to("/")
        self._web.set_cookie(response, SESSION_COOKIE, session.token)
        return response

    async def sign_out(self, request: Request) -> Response:
        """POST /sign-out."""
        session = self._web.session(request)
        if session:
            check_token(session.form_token, (await read_form(request)).get("token", ""))
            self._web.sessions.end(session.token)
            await self._web.recorded(self._web.settings.audit.signed_out, self._web.clerk(request, session))
        response = self._web.to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return response

    async def choose_language(self, request: Request) -> Response:
        """POST /language: changes nothing but this browser's pages."""
        form = await read_form(request)
        response = self._web.to(local_path(form.get("to", "/")))
        if form.get("language") in LANGUAGES:
            self._web.set_cookie(response, LANGUAGE_COOKIE, form["language"])
        return response

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
        return self._web.page(request, "error.html", self._web.session(request), status=status, error=shown)

    def _sign_in_form(self, request: Request, account: str = "", asked: str = "", **values: Any) -> Response:
        cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(16)
        response = self._web.page(
            request, "sign-in.html", None, status=429 if "wait_seconds" in values else 401 if values else 200,
            typed=account, token=self._forms.token(cookie), asked=asked,
            provider=self._web.settings.provider.issuer.name if self._web.settings.provider else "",
            **{"wrong": False, "wait_seconds": 0, "standing": None, **values},
        )
        self._web.set_cookie(response, FORM_COOKIE, cookie)
        return response
