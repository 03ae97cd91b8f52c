"""What keeps browsers and strangers from doing more than they should: headers, bounded forms, form tokens."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from jbackupd.model.errors import RefusedError, UsageError

FORM_BYTES_MAX = 16 * 1024
FORM_FIELDS_MAX = 16
FORM_SECONDS_MAX = 10.0
_LOCAL_PATH = re.compile(r"/[A-Za-z0-9/_-]{0,80}")
SAFE_HEADERS = {
    # No script, no frame, nothing from elsewhere: a page is one document and one style sheet.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page with personal data is never stored, not even by the browser.
    "Cache-Control": "no-store",
}
"""On every answer of the desk."""


async def read_form(
    request: Request, *, bytes_max: int = FORM_BYTES_MAX, fields_max: int = FORM_FIELDS_MAX
) -> dict[str, str]:
    """Return a form's fields.

    Args:
        bytes_max: Of the whole form, as it is sent.

    Raises:
        UsageError: It is no form, too long, or comes too slowly.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise _not_a_form()
    try:
        async with asyncio.timeout(FORM_SECONDS_MAX):
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > bytes_max:
                    raise _not_a_form()
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=fields_max))
    except (TimeoutError, ClientDisconnect, ValueError) as error:
        raise _not_a_form() from error


def _not_a_form() -> UsageError:
    return UsageError("this is not a form of the desk", "go back to the search page")


def local_path(path: str) -> str:
    """Return a path of this desk, or the search page for anything else."""
    return path if _LOCAL_PATH.fullmatch(path) and not path.startswith("//") else "/"


class SignInForms:
    """Tokens of the sign-in form, before there is a session: bound to a cookie by a key of this process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def token(self, cookie: str) -> str:
        """Return the token that belongs to a cookie's value."""
        return hmac.new(self._key, cookie.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def check(self, cookie: str, token: str) -> None:
        """Compare.

        Raises:
            RefusedError: They do not belong together.
        """
        if not cookie:
            raise form_expired()
        check_token(self.token(cookie), token)


def check_token(expected: str, token: str) -> None:
    """Compare a form's token with the expected one.

    Raises:
        RefusedError: They differ.
    """
    if not hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")):
        raise form_expired()


def form_expired() -> RefusedError:
    """Return the error for a form that this desk did not hand out to this browser."""
    return RefusedError("this page has expired", "go back to the search page and try again")
