"""The pages of signing in through another service: the way there, and the way back."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from jbackupd.desk.audit import Clerk
from jbackupd.desk.guard import SAFE_HEADERS, form_expired
from jbackupd.desk.oidc import CALLBACK, Attempt, Provider, Vouched, refused
from jbackupd.desk.web import SESSION_COOKIE, Web, client_of
from jbackupd.model.errors import RefusedError

COOKIE = "desk_provider"
ATTEMPT_SECONDS = 600
_ATTEMPTS_MAX = 500
# Each keeps a thread and a connection for up to five seconds: strangers must not have all of them.
_AT_ONCE = 4


class ProviderPages:
    """Signing in through a provider; accounts of the desk are not touched by it."""

    def __init__(self, web: Web, provider: Provider) -> None:
        self._web = web
        self._provider = provider
        self._attempts: OrderedDict[str, tuple[Attempt, float]] = OrderedDict()
        self._asking = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        return [Route("/sign-in/provider", self.begin), Route(CALLBACK, self.back)]

    async def begin(self, request: Request) -> Response:
        """GET /sign-in/provider: sends the browser to the service."""
        attempt, cookie = Attempt.new(), secrets.token_urlsafe(32)
        async with self._asking:
            address = await asyncio.to_thread(self._provider.address, attempt)
        self._attempts[cookie] = attempt, self._web.settings.clock.monotonic()
        while len(self._attempts) > _ATTEMPTS_MAX:
            self._attempts.popitem(last=False)
        response = RedirectResponse(address, status_code=303, headers=SAFE_HEADERS)
        # Lax: the browser comes back from another site, and brings no strict cookie along.
        response.set_cookie(
            COOKIE, cookie, max_age=ATTEMPT_SECONDS, path="/sign-in", httponly=True, samesite="lax",
            secure=self._web.settings.secure,
        )
        return response

    async def back(self, request: Request) -> Response:
        """GET CALLBACK: the service sent the browser back; answered with the choice of a purpose.

        Not with a redirect: the browser would follow one as a visit from the other site, without the session's cookie.
        """
        attempt, begun = self._attempts.pop(request.cookies.get(COOKIE, ""), (None, 0.0))
        if attempt is None and self._web.session(request) is not None:
            return self._web.to("/")
        asked = request.query_params
        if attempt is None or self._web.settings.clock.monotonic() - begun > ATTEMPT_SECONDS:
            raise form_expired()
        if not hmac.compare_digest(attempt.state.encode(), asked.get("state", "").encode("utf-8", "replace")):
            raise form_expired()
        client = client_of(request)
        try:
            vouched = await self._redeem(attempt, asked.get("code", ""), asked.get("error", ""))
        except RefusedError:
            await self._web.recorded(self._web.settings.audit.refused, "?", client, known=False, why="provider")
            raise
        return await self._let_in(request, vouched, client)

    async def _redeem(self, attempt: Attempt, code: str, error: str) -> Vouched:
        if error or not code:
            raise refused(error[:60] or "no code")
        async with self._asking:
            vouched = await asyncio.to_thread(self._provider.redeem, attempt, code, self._web.settings.clock.now())
        return vouched

    async def _let_in(self, request: Request, vouched: Vouched, client: str) -> Response:
        audit = self._web.settings.audit
        await self._web.recorded(
            audit.signed_in, Clerk(vouched.account, client), role=vouched.role, person=vouched.person,
            issuer=self._provider.issuer.issuer,
        )
        session = self._web.sessions.begin(vouched.account, client, role=vouched.role)
        response = self._web.page(request, "purpose.html", session, back="/", asked="")
        self._web.set_cookie(response, SESSION_COOKIE, session.token)
        response.delete_cookie(COOKIE, path="/sign-in", httponly=True, samesite="lax")
        return response
