"""What all pages of a desk share: who is signed in, how a page is made, and that nothing is shown unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from jbackupd.desk.accounts import Accounts
from jbackupd.desk.audit import Clerk, DeskAudit
from jbackupd.desk.gaiji import Font
from jbackupd.desk.guard import SAFE_HEADERS, local_path
from jbackupd.desk.intake import Book
from jbackupd.desk.pages import Frame, Pages
from jbackupd.desk.residents import Residents
from jbackupd.desk.roles import Right
from jbackupd.desk.sessions import Session, Sessions
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import JbackupdError, RefusedError, TryLaterError
from jbackupd.model.texts import LANGUAGES

SESSION_COOKIE = "desk_session"
LANGUAGE_COOKIE = "desk_language"
P = ParamSpec("P")
SignedIn = Callable[[Request, Session], Awaitable[Response]]


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
        font: Has shapes for 外字; served to the browsers.
        book: Where receptions are written; without it the desk only looks residents up.
        may: Tells whether an account has a right.
    """

    database: str
    audit: DeskAudit
    accounts: Accounts
    title: str
    language: str = "ja"
    secure: bool = False
    clock: Clock = field(default_factory=SystemClock)
    book: Book | None = None
    font: Font | None = None
    may: Callable[[str, Right], bool] = lambda _account, _right: True


class Web:
    """Sessions, pages and their record; everything that waits for a disk runs in a thread."""

    def __init__(self, settings: DeskSettings) -> None:
        self.settings = settings
        self.residents = Residents(settings.database)
        self.sessions = Sessions(settings.clock)
        self._pages = Pages(settings.font)

    def session(self, request: Request) -> Session | None:
        """Return who is signed in; None if nobody is."""
        return self.sessions.find(request.cookies.get(SESSION_COOKIE, ""))

    def signed_in(self, page: SignedIn, right: Right | None = None) -> Callable[[Request], Awaitable[Response]]:
        """Return a page that sends whoever is not signed in to the sign-in form, and refuses whoever lacks a right."""

        async def answer(request: Request) -> Response:
            session = self.session(request)
            if session is None:
                return self.to("/sign-in")
            if right is not None:
                self.check_right(session, right)
            return await page(request, session)

        return answer

    def check_right(self, session: Session, right: Right) -> None:
        """Check that an account may do something.

        Raises:
            RefusedError: It may not.
        """
        if not self.may(session, right):
            raise RefusedError(
                "the account {account} may not do this", "ask the officer in charge for an account that may",
                account=session.account,
            )

    def may(self, session: Session | None, right: Right) -> bool:
        """Tell whether somebody may do something; nobody may nothing."""
        return session is not None and self.settings.may(session.account, right)

    def clerk(self, request: Request, session: Session) -> Clerk:
        """Return who asks for a page, as the audit log names it."""
        return Clerk(session.account, client_of(request))

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
