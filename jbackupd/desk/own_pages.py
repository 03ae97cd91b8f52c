"""The pages on which a clerk settles what holds for the own session: the purpose of looking up, and the password."""

from __future__ import annotations

import asyncio
import functools
import math

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.desk.accounts import PASSWORD_CHARACTERS_MIN, Accounts, check_new_password
from jbackupd.desk.guard import check_token, local_path, read_form
from jbackupd.desk.purposes import read_reason
from jbackupd.desk.sessions import LockOut, Session
from jbackupd.desk.web import Web
from jbackupd.model.errors import NotFoundError, TryLaterError, UsageError


class OwnPages:
    """Purpose and password of who is signed in."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._tries = LockOut(web.settings.clock, free=3, delay_seconds_max=15 * 60)

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        signed = functools.partial(self._web.signed_in, before=True)
        return [
            Route("/purpose", signed(self.purpose_page)), Route("/purpose", signed(self.choose), methods=["POST"]),
            Route("/password", signed(self.password_page)), Route("/password", signed(self.change), methods=["POST"]),
        ]

    async def purpose_page(self, request: Request, session: Session) -> Response:
        """GET /purpose."""
        return self._purpose(request, session)

    async def choose(self, request: Request, session: Session) -> Response:
        """POST /purpose: holds for everything that follows, until another is chosen."""
        form = await read_form(request)
        check_token(session.form_token, form.get("token", ""))
        back, asked, because = local_path(form.get("to", "/")), form.get("purpose", ""), form.get("because", "")
        try:
            reason = read_reason(asked, because)
        except UsageError as error:
            # The key of another purpose asks for its words; only whoever sent none of them is told of a mistake.
            problem = error if "because" in form or not asked else None
            return self._purpose(request, session, back=back, asked=asked, problem=problem)
        if reason != session.reason:
            session.reason = reason
            await self._web.recorded(self._web.settings.audit.chose_purpose, self._web.clerk(request, session))
        return self._web.to(back)

    def _purpose(
        self, request: Request, session: Session, *, back: str = "/", asked: str = "",
        problem: UsageError | None = None,
    ) -> Response:
        chosen = asked or (session.reason.purpose.value if session.reason else "")
        return self._web.page(
            request, "purpose.html", session, status=400 if problem else 200, back=back, asked=chosen, problem=problem,
        )

    async def password_page(self, request: Request, session: Session) -> Response:
        """GET /password."""
        return self._password(request, session)

    async def change(self, request: Request, session: Session) -> Response:
        """POST /password: whoever else is signed in with this account no longer is."""
        form = await read_form(request)
        check_token(session.form_token, form.get("token", ""))
        self._own(session)
        new = form.get("new", "")
        try:
            if new != form.get("again", ""):
                raise UsageError("the two new passwords differ", "type the new password twice, the same")
            await self._check_old(session, form.get("old", ""))
            clerk = self._web.clerk(request, session)
            after = await self._web.change_accounts(clerk, lambda accounts: _with_password(accounts, session, new))
        except UsageError as error:
            return self._password(request, session, problem=error)
        account = after.get(session.account)
        assert account is not None
        session.stamp = account.salt
        return self._web.to("/" if session.reason else "/purpose")

    async def _check_old(self, session: Session, typed: str) -> None:
        """Ask who was away from the screen; at the first sign-in it has just been typed.

        Raises:
            UsageError: It is not the password.
            TryLaterError: There were too many tries.
        """
        if self._web.must_choose_password(session):
            return
        wait = self._tries.attempt(session.account)
        if wait:
            raise TryLaterError(
                "too many failures: try again in {seconds} seconds", "ask for a new password if you do not know it",
                seconds=math.ceil(wait),
            )
        if not await asyncio.to_thread(self._web.accounts.current.check, session.account, typed):
            raise UsageError("the present password is wrong", "type the password that you signed in with")
        self._tries.succeeded(session.account)

    def _own(self, session: Session) -> None:
        if session.role is not None:
            raise NotFoundError("this account has no password here", "change it where you signed in")

    def _password(self, request: Request, session: Session, *, problem: UsageError | None = None) -> Response:
        self._own(session)
        return self._web.page(
            request, "password.html", session, status=400 if problem else 200, problem=problem,
            first=self._web.must_choose_password(session), least=PASSWORD_CHARACTERS_MIN,
        )


def _with_password(accounts: Accounts, session: Session, new: str) -> Accounts:
    account = accounts.get(session.account)
    if account is None or account.salt != session.stamp:
        raise UsageError("this account was changed by somebody else", "sign in again")
    check_new_password(account, new)
    return accounts.with_account(account.with_password(new))
