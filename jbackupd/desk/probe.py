"""A clerk's look-up over HTTP, by a program: the proof that a desk answers from the right data."""

from __future__ import annotations

import html
import http.client
import http.cookiejar
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from jbackupd.desk.pages import AS_OF, BANNER
from jbackupd.model.errors import DamageError, JbackupdError, NotFoundError, PeerError, RefusedError

PAGE_BYTES_MAX = 4 * 1024 * 1024
_PURPOSE = {"purpose": "other", "because": "check by jbackupd"}
_TOKEN = re.compile(r'name="token" value="([^"]+)"')
_PERSON = re.compile(r'href="(/person/[A-Za-z0-9_-]+)"')
_AS_OF = re.compile(re.escape(AS_OF) + r"[^:]*: *<strong[^>]*>([^<]+)</strong>")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe saw.

    Attributes:
        as_of: The moment that the page names as the data's, as it is shown.
        persons: How many residents the search gave, at most 100.
        seconds: From the first request to the person's page.
    """

    as_of: str
    persons: int
    seconds: float


def probe_desk(
    url: str, account: str, password: str, query: str, expect: str, *,
    timeout_seconds: float = 10.0, trusted: ssl.SSLContext | None = None,
) -> ProbeResult:
    """Sign in, search, open the first persons found and sign out; blocking: call it in a thread.

    Args:
        url: The desk's address, http or https.
        account: A clerk's account.
        password: Its password.
        query: What to type into the search box.
        expect: What one of the first pages must show: a name, an address. Blanks and markup do not count.
        timeout_seconds: For each request.
        trusted: For https with a certificate that this machine does not know.

    Raises:
        PeerError: The desk cannot be reached or does not answer in time.
        RefusedError: The desk does not let this account in.
        NotFoundError: Nobody was found, or nobody who fits the expectation.
        DamageError: A page does not say that it is a degraded operation, or as of when.
    """
    begun = time.perf_counter()
    browser = _Browser(url, timeout_seconds, trusted)
    page = browser.get("/sign-in")
    page = browser.post("/sign-in", account=account, password=password, token=_token(page), **_PURPOSE)
    if 'action="/search"' not in page:
        raise RefusedError(
            "the desk at {url} does not let the account {account} in", "check account and password",
            url=url, account=account,
        )
    token = _token(page)
    page = browser.post("/search", words=query, token=token)
    as_of = _promises(url, page)
    persons = list(dict.fromkeys(_PERSON.findall(page)))
    wanted = _plain(expect)
    found = any(wanted in _plain(_checked(browser, url, path)) for path in persons[:5])
    seconds = time.perf_counter() - begun
    browser.post("/sign-out", token=token)
    if not found:
        raise NotFoundError(
            "the desk at {url} shows {count} persons, but not the expected one", "check which point was restored",
            url=url, count=len(persons),
        )
    return ProbeResult(as_of, len(persons), seconds)


class _Browser:
    """Just enough of a browser: cookies, forms, redirects; never a proxy."""

    def __init__(self, url: str, timeout_seconds: float, trusted: ssl.SSLContext | None) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise JbackupdError("{url!r} is not the address of a desk", "write http://HOST:PORT", url=url)
        self._url = url.rstrip("/")
        self._timeout = timeout_seconds
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def get(self, path: str) -> str:
        return self._open(path, None)

    def post(self, path: str, **fields: str) -> str:
        return self._open(path, urllib.parse.urlencode(fields).encode("ascii"))

    def _open(self, path: str, body: bytes | None) -> str:
        request = urllib.request.Request(self._url + path, data=body)  # noqa: S310 - the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return bytes(response.read(PAGE_BYTES_MAX)).decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                # A refusal is a page too: its text says more than its number.
                if error.code < 500:
                    return error.read(PAGE_BYTES_MAX).decode("utf-8", "replace")
            raise _unreachable(self._url, f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._url, str(getattr(error, "reason", error)) or type(error).__name__) from error


def _unreachable(url: str, reason: str) -> PeerError:
    return PeerError(
        "unable to look a resident up at {url}: {reason}", "check that the desk is running and its audit log writable",
        url=url, reason=reason,
    )


def _token(page: str) -> str:
    match = _TOKEN.search(page)
    return html.unescape(match[1]) if match else ""


def _checked(browser: _Browser, url: str, path: str) -> str:
    page = browser.get(path)
    _promises(url, page)
    return page


def _promises(url: str, page: str) -> str:
    """Return the as-of time of a page that says everything it must."""
    match = _AS_OF.search(page)
    if BANNER not in page or match is None:
        raise DamageError(
            "a page of the desk at {url} does not say 縮退運転中 and 基準日時", "is this the desk?", url=url
        )
    return html.unescape(match[1])


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", html.unescape(re.sub(r"<[^>]*>", "", text)))
