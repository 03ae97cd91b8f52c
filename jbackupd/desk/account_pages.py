"""The supervisor's pages of accounts: who may sign in, new ones, and what becomes of them. Recorded before it holds."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.desk.accounts import Account, Accounts, Grant, generate_password
from jbackupd.desk.guard import check_token, read_form
from jbackupd.desk.roles import RECEPTION, Right
from jbackupd.desk.sessions import Session
from jbackupd.desk.staff import LENT_DAYS_MAX, Slip, Wish, enrolled, read_until
from jbackupd.desk.web import Web
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError

USUAL_DAYS = 14


class AccountPages:
    """Pages of accounts."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        signed = functools.partial(self._web.signed_in, right=Right.SUPERVISE)
        return [
            Route("/accounts", signed(self.all)), Route("/accounts/new", signed(self.form)),
            Route("/accounts/new", signed(self.add), methods=["POST"]),
            Route("/accounts/of/{key}", signed(self.one)),
            Route("/accounts/of/{key}", signed(self.change), methods=["POST"]),
        ]

    async def all(self, request: Request, session: Session) -> Response:
        """GET /accounts."""
        today = self._web.today()
        rows = [(key_of(account.name), account, account.standing(today)) for account in self._web.accounts.current]
        return self._web.page(request, "accounts.html", session, rows=rows, roles=self._web.settings.roles)

    async def form(self, request: Request, session: Session) -> Response:
        """GET /accounts/new."""
        return self._form(request, session, {"role": RECEPTION.name}, None)

    async def add(self, request: Request, session: Session) -> Response:
        """POST /accounts/new: answered with the slip; its password is shown this once."""
        form = await self._read(request, session)
        made: list[Slip] = []

        def decide(accounts: Accounts) -> Accounts:
            wish = Wish(form.get("account", "").strip(), self._grant(form, person_needed=True))
            after, slips = enrolled(accounts, [wish], self._web.settings.roles)
            made[:] = slips
            return after

        try:
            await self._web.change_accounts(self._web.clerk(request, session), decide)
        except (UsageError, RefusedError, NotFoundError) as error:
            return self._form(request, session, form, error)
        return self._slip(request, session, made[0])

    async def one(self, request: Request, session: Session) -> Response:
        """GET /accounts/of/KEY."""
        return self._one(request, session, self._account(request), None)

    async def change(self, request: Request, session: Session) -> Response:
        """POST /accounts/of/KEY: stop, allow, extend or another role, or a new first password."""
        form = await self._read(request, session)
        name, did = self._account(request).name, form.get("did", "")
        if name == session.account:
            raise RefusedError("nobody changes the own account", "ask another officer, or the operator")
        password = generate_password()
        deeds: dict[str, Callable[[Account], Account]] = {
            "stop": lambda account: replace(account, stopped=True),
            "allow": lambda account: replace(account, stopped=False),
            "grant": lambda account: replace(account, grant=self._grant(form, known=account.grant)),
            "reset": lambda account: account.with_password(password, first=True),
        }
        if did not in deeds:
            raise UsageError("this is not a form of the desk", "go back to the search page")

        def decide(accounts: Accounts) -> Accounts:
            account = accounts.get(name)
            if account is None:
                raise _unknown()
            return accounts.with_account(deeds[did](account))

        try:
            after = await self._web.change_accounts(self._web.clerk(request, session), decide)
        except (UsageError, NotFoundError) as error:
            return self._one(request, session, self._account(request), error)
        account = after.get(name)
        assert account is not None
        if did == "reset":
            return self._slip(request, session, Slip(name, account.grant, password))
        return self._web.to("/accounts")

    def _grant(self, form: dict[str, str], *, known: Grant | None = None, person_needed: bool = False) -> Grant:
        role, person = form.get("role", ""), form.get("person", "").strip()
        self._web.settings.roles.get(role)
        if person_needed and not person:
            raise UsageError("nobody's name is given", "an account belongs to one person: write who it is")
        text = form.get("until", "")
        until = known.until if known is not None else None
        if until is None or text != until.isoformat():
            until = read_until(text, self._web.today(), days_max=LENT_DAYS_MAX)
        if until is None and (known is None or known.until is not None):
            raise UsageError("the account has no end", "choose the last day on which it is needed")
        return Grant(role, person, form.get("from", "").strip(), until)

    def _account(self, request: Request) -> Account:
        key = request.path_params["key"]
        for account in self._web.accounts.current:
            if key_of(account.name) == key:
                return account
        raise _unknown()

    async def _read(self, request: Request, session: Session) -> dict[str, str]:
        form = await read_form(request)
        check_token(session.form_token, form.get("token", ""))
        return form

    def _form(self, request: Request, session: Session, said: dict[str, str], problem: Any) -> Response:
        usual = (self._web.today() + timedelta(days=USUAL_DAYS)).isoformat()
        said = {"account": "", "person": "", "from": "", "role": "", "until": usual, **said}
        return self._web.page(
            request, "account-new.html", session, status=400 if problem else 200, said=said, problem=problem,
            roles=self._web.settings.roles, last=(self._web.today() + timedelta(days=LENT_DAYS_MAX)).isoformat(),
        )

    def _one(self, request: Request, session: Session, account: Account, problem: Any) -> Response:
        return self._web.page(
            request, "account.html", session, status=400 if problem else 200, account=account, problem=problem,
            standing=account.standing(self._web.today()), roles=self._web.settings.roles,
            own=account.name == session.account,
        )

    def _slip(self, request: Request, session: Session, slip: Slip) -> Response:
        return self._web.page(
            request, "account-slip.html", session, slip=slip, role=self._web.settings.roles.get(slip.grant.role).label,
            url=f"{request.url.scheme}://{request.url.netloc}/",
        )


def key_of(name: str) -> str:
    """Return what names an account in addresses of pages."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:24]


def _unknown() -> NotFoundError:
    return NotFoundError("there is no such account", "look into the list of accounts")
