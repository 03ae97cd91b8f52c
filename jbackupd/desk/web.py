"""What all pages of a desk share: who is signed in, how a page is made, and that nothing is shown unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ParamSpec

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from jbackupd.desk.accounts import Account, Accounts, Standing
from jbackupd.desk.audit import Clerk, DeskAudit
from jbackupd.desk.gaiji import Font
from jbackupd.desk.guard import SAFE_HEADERS, local_path
from jbackupd.desk.intake import Book
from jbackupd.desk.keeper import Change, Keeper, Note
from jbackupd.desk.oidc import Provider
from jbackupd.desk.pages import Frame, Pages
from jbackupd.desk.residents import Residents
from jbackupd.desk.roles import Right, Roles
from jbackupd.desk.sessions import Session, Sessions
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import JbackupdError, RefusedError, TryLaterError
from jbackupd.model.texts import LANGUAGES
from jbackupd.model.wareki import JST

SESSION_COOKIE = "desk_session"
LANGUAGE_COOKIE = "desk_language"
P = ParamSpec("P")
SignedIn = Callable[[Request, Session], Awaitable[Response]]


@dataclass(frozen=True)
class DeskSettings:
    """What a desk consists of.

    Attributes:
        database: Path of the loaded residents, or the database's bytes.
        audit: Where every look-up is recorded.
        accounts: Who may sign in: as they are, or kept so that they may change while the desk is open.
        roles: What they may do.
        provider: A service that may vouch for others.
        title: The municipality's name.
        language: Language of the pages until a clerk chooses another.
        secure: Whether it is reached by https only, so that cookies never travel in clear.
        font: Has shapes for 外字; served to the browsers.
        book: Where receptions are written; without it the desk only looks residents up.
    """

    database: str | bytes
    audit: DeskAudit
    accounts: Accounts | Keeper
    title: str
    language: str = "ja"
    secure: bool = False
    clock: Clock = field(default_factory=SystemClock)
    book: Book | None = None
    font: Font | None = None
    roles: Roles = field(default_factory=Roles)
    provider: Provider | None = None


class Web:
    """Sessions, pages and their record; everything that waits for a disk runs in a thread."""

    def __init__(self, settings: DeskSettings) -> None:
        self.settings = settings
        self.residents = Residents(settings.database)
        self.sessions = Sessions(settings.clock)
        accounts = settings.accounts
        self.accounts = accounts if isinstance(accounts, Keeper) else Keeper(accounts)
        self._pages = Pages(settings.font)

    def session(self, request: Request) -> Session | None:
        """Return who is signed in; None if nobody is, or if the account may no longer be used."""
        session = self.sessions.find(request.cookies.get(SESSION_COOKIE, ""))
        if session is not None and not self._holds(session):
            self.sessions.end(session.token)
            return None
        return session

    def _holds(self, session: Session) -> bool:
        """Tell whether a session's account is still what it was at sign-in, and may be used today."""
        account = self.accounts.current.get(session.account)
        if session.role is not None:
            # The provider vouched for this one; its name is no account's of the file.
            return True
        if account is None or account.salt != session.stamp:
            return False
        return account.standing(self.today()) is Standing.ACTIVE

    def today(self) -> date:
        """Return the day in Japan."""
        return self.settings.clock.now().astimezone(JST).date()

    def must_choose_password(self, session: Session) -> bool:
        """Tell whether the password is known to somebody else, so that another must be chosen first."""
        account = self.accounts.current.get(session.account)
        return session.role is None and account is not None and account.first

    def signed_in(
        self, page: SignedIn, right: Right | None = None, *, before: bool = False,
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a page that sends whoever is not signed in to the sign-in form, and refuses whoever lacks a right.

        Args:
            before: It may be seen before a password and a purpose are chosen.
        """

        async def answer(request: Request) -> Response:
            await self.see_accounts()
            session = self.session(request)
            if session is None:
                return self.to("/sign-in")
            if not before and self.must_choose_password(session):
                return self.to("/password")
            if not before and session.reason is None:
                return self.to("/purpose")
            if right is not None:
                self.check_right(session, right)
            return await page(request, session)

        return answer

    def check_right(self, session: Session, right: Right) -> None:
        """Check that an account may do something.

        Raises:
            RefusedError: It may not.
        """
        if self.may(session, right):
            return
        named = [account for account in self.accounts.current if self._supervises(account)]
        if not named:
            raise RefusedError(
                "the account {account} may not do this", "ask the officer in charge for an account that may",
                account=session.account,
            )
        raise RefusedError(
            "the account {account} may not do this", "ask who may change that: {people}", account=session.account,
            people="、".join(account.grant.person or account.name for account in named),
        )

    def _supervises(self, account: Account) -> bool:
        rights = self.settings.roles.rights(account.grant.role)
        return Right.SUPERVISE in rights and account.standing(self.today()) is Standing.ACTIVE

    def may(self, session: Session | None, right: Right) -> bool:
        """Tell whether somebody may do something; nobody may nothing."""
        return session is not None and right in self.settings.roles.rights(self.role(session))

    def role(self, session: Session) -> str:
        """Return the name of a signed-in clerk's role, as it is now."""
        if session.role is not None:
            return session.role
        account = self.accounts.current.get(session.account)
        return account.grant.role if account else ""

    def clerk(self, request: Request, session: Session) -> Clerk:
        """Return who asks for a page, as the audit log names it."""
        return Clerk(session.account, client_of(request), session.reason)

    async def see_accounts(self) -> None:
        """See what was changed of the accounts outside of this desk, and record it.

        Raises:
            TryLaterError: It could not be recorded: the desk does not answer.
        """
        await self.recorded(self.accounts.refresh, self._noting(None))

    async def change_accounts(self, clerk: Clerk, decide: Callable[[Accounts], Accounts]) -> Accounts:
        """Change accounts, recorded before they hold.

        Raises:
            JbackupdError: It is refused, or could not be recorded or kept; nothing has changed.
        """
        return await asyncio.to_thread(self.accounts.change, decide, self._noting(clerk))

    def _noting(self, clerk: Clerk | None) -> Note:
        def note(changes: list[Change]) -> None:
            for change in changes:
                self.settings.audit.changed_account(clerk, change.did.value, change.account)

        return note

    def language(self, request: Request) -> str:
        """Return the language that this browser chose, or the desk's own."""
        language = request.cookies.get(LANGUAGE_COOKIE, "")
        return language if language in LANGUAGES else self.settings.language

    def page(
        self, request: Request, template: str, session: Session | None, *, status: int = 200, **values: Any,
    ) -> Response:
        """Return a page made of a template; every page says what it is and of when its data is."""
        frame = Frame(
            self.settings.title, self.language(request), self.residents.facts, self.settings.clock.now(),
            session.account if session else "", session.form_token if session else "",
            local_path(request.url.path) if request.method == "GET" else "/", intake=self._takes_in(session),
            rights=frozenset(right.value for right in Right if self.may(session, right)),
            reason=session.reason if session and not self.must_choose_password(session) else None,
        )
        html = self._pages.render(template, frame, {"typed": "", "problem": None, **values})
        return HTMLResponse(html, status, headers={**SAFE_HEADERS, "Content-Language": frame.language})

    def _takes_in(self, session: Session | None) -> bool:
        """Tell whether a page shows the forms of receptions."""
        return self.settings.book is not None and self.may(session, Right.TAKE_IN)

    def to(self, path: str) -> Response:
        """Return what sends the browser to another page of the desk."""
        return RedirectResponse(path, status_code=303, headers=SAFE_HEADERS)

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        """Let the browser keep something, out of reach of scripts and other sites."""
        response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=self.settings.secure)

    async def recorded(self, record: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write to the audit log, or do not answer.

        Raises:
            TryLaterError: It could not be written.
        """
        try:
            await asyncio.to_thread(record, *args, **kwargs)
        except JbackupdError as error:
            raise no_audit() from error


def no_audit() -> TryLaterError:
    """Return why a desk does not answer whose log cannot be written."""
    return TryLaterError(
        "the desk does not answer: look-ups cannot be recorded at the moment",
        "tell the operator: the audit log cannot be written, its disk may be full",
    )


def client_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client else "?"
