"""Signing in through the house's own sign-in service: OpenID Connect, authorization code with PKCE. Blocking.

Nothing is believed that the service has not signed for this desk and this attempt; only the configured issuer is ever
contacted, and nothing of it is kept between two sign-ins, so that new keys of it hold at once.

Source: OpenID Connect Core 1.0 (3.1.3.7), Discovery 1.0, RFC 7636 (PKCE), RFC 9700 (security practice).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt

from jbackupd.desk.accounts import NAME_CHARACTERS_MAX, PROVIDER_PREFIX, TEXT_CHARACTERS_MAX
from jbackupd.model.errors import RefusedError, TryLaterError

CALLBACK = "/sign-in/provider/back"
ANSWER_BYTES_MAX = 1024 * 1024
TIMEOUT_SECONDS = 5.0
SKEW_SECONDS = 60
FRESH_SECONDS = 600
"""An ID token is accepted only so long after it was issued."""
RSA_BITS_MIN = 2048
_KEY_TYPES = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""What may sign, and the kind of key that may do it: a public key never becomes the secret of an HMAC."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Issuer:
    """A sign-in service, and what its word is worth here.

    Attributes:
        issuer: Its https address, exactly as it names itself.
        url: The desk's own address in browsers, registered there with CALLBACK.
        name: For the button.
        claim: Names the account.
        groups_claim: Lists the groups.
        roles: The role of each group; the first that fits counts. Without one nobody is let in.
        ca_file: Whose certificates are trusted; None for those of this machine.
    """

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    url: str
    name: str
    claim: str
    groups_claim: str
    roles: Mapping[str, str]
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in that was begun in a browser."""

    state: str
    nonce: str
    verifier: str = field(repr=False)

    @classmethod
    def new(cls) -> Attempt:
        """Draw one."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        """What is sent ahead of the verifier (S256)."""
        digest = hashlib.sha256(self.verifier.encode("ascii")).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the service vouches for, and as what."""

    account: str
    person: str
    role: str


class Provider:
    """The way to a sign-in service; may be used from several threads."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer

    def address(self, attempt: Attempt) -> str:
        """Return where a browser is sent to sign in.

        Raises:
            TryLaterError: The service does not answer.
            RefusedError: It is not the issuer, or names endpoints elsewhere.
        """
        endpoint = self._endpoint(self._metadata(), "authorization_endpoint")
        asked = {
            "response_type": "code", "client_id": self.issuer.client_id, "redirect_uri": self._back(),
            "scope": "openid profile", "state": attempt.state, "nonce": attempt.nonce,
            "code_challenge": attempt.challenge, "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def redeem(self, attempt: Attempt, code: str, now: datetime) -> Vouched:
        """Return whom the service vouches for, for a code that came back.

        Raises:
            TryLaterError: The service does not answer.
            RefusedError: What it says is not accepted.
        """
        metadata = self._metadata()
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._back(),
            "code_verifier": attempt.verifier,
        }
        pair = f"{quote_plus(self.issuer.client_id)}:{quote_plus(self.issuer.secret)}"
        basic = base64.b64encode(pair.encode()).decode("ascii")
        answer = self._ask(self._endpoint(metadata, "token_endpoint"), form, {"Authorization": f"Basic {basic}"})
        keys = self._ask(self._endpoint(metadata, "jwks_uri"))
        return vouched(id_claims(str(answer.get("id_token", "")), keys, self.issuer, attempt.nonce, now), self.issuer)

    def _back(self) -> str:
        return self.issuer.url.rstrip("/") + CALLBACK

    def _metadata(self) -> dict[str, Any]:
        found = self._ask(self.issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer.issuer:
            raise refused("it names itself otherwise than the settings do")
        return found

    def _endpoint(self, metadata: dict[str, Any], name: str) -> str:
        url, issuer = str(metadata.get(name, "")), urlsplit(self.issuer.issuer)
        try:
            there = urlsplit(url)
            same = (there.scheme, there.hostname, there.port) == (issuer.scheme, issuer.hostname, issuer.port)
        except ValueError:
            same = False
        if not same:
            raise refused(f"its {name} is not at the issuer's own address")
        return url

    def _ask(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Get or post, never follow anything elsewhere; return the answer's object."""
        where = urlsplit(url)
        target = (where.path or "/") + (f"?{where.query}" if where.query else "")
        body = urlencode(form).encode("ascii") if form is not None else None
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self._connection(where.scheme, where.hostname or "", where.port)
        try:
            connection.request("GET" if body is None else "POST", target, body, sent)
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise TryLaterError(
                "the sign-in service {name} does not answer: {reason}",
                "sign in with an account of this desk, or try again later",
                name=self.issuer.name, reason=str(error) or type(error).__name__,
            ) from error
        finally:
            connection.close()
        return _object(response.status, data)

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http" and host in _LOOPBACK:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        if scheme != "https":
            raise refused("it is not reached by https")
        context = ssl.create_default_context(cafile=self.issuer.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)


def id_claims(token: str, keys: Mapping[str, Any], issuer: Issuer, nonce: str, now: datetime) -> dict[str, Any]:
    """Return what an ID token says, when it is signed by the issuer, for this desk, for this attempt, and fresh.

    Args:
        keys: The issuer's JWK set.
        now: Aware UTC.

    Raises:
        RefusedError: It is not.
    """
    try:
        algorithm = jwt.get_unverified_header(token).get("alg")
        if algorithm not in _KEY_TYPES:
            raise refused(f"its token is signed by {str(algorithm)[:20]!r}")
        key = _key(token, keys, algorithm)
        claims: dict[str, Any] = jwt.decode(
            token, key.key, algorithms=[algorithm], audience=issuer.client_id, issuer=issuer.issuer,
            # Times are compared with the desk's own clock, below.
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"], "verify_exp": False, "verify_iat": False,
                "verify_nbf": False,
            },
        )
        _check_times(claims, now)
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise refused(f"{type(error).__name__}: {error}") from error
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise refused("its token answers another attempt")
    audience = claims["aud"]
    if claims.get("azp", issuer.client_id) != issuer.client_id or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise refused("its token is for another program")
    return claims


def vouched(claims: Mapping[str, Any], issuer: Issuer) -> Vouched:
    """Return whom claims name, with the role of the first group that has one.

    Raises:
        RefusedError: No account is named, or no group has a role.
    """
    name, person = claims.get(issuer.claim), claims.get("name", "")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise refused(f"its token has no usable {issuer.claim}")
    groups = claims.get(issuer.groups_claim, [])
    held = {groups} if isinstance(groups, str) else {group for group in groups if isinstance(group, str)}
    role = next((role for group, role in issuer.roles.items() if group in held), None)
    if role is None:
        raise RefusedError(
            "{account} may not use the desk: no group of this account has a role here",
            "ask who administers the sign-in service for the group, or use an account of this desk", account=name,
        )
    shown = person if isinstance(person, str) and person.isprintable() else ""
    return Vouched(PROVIDER_PREFIX + name, shown[:TEXT_CHARACTERS_MAX], role)


def refused(reason: str) -> RefusedError:
    """Return why a service's word is not taken."""
    return RefusedError(
        "the answer of the sign-in service is not accepted: {reason}",
        "try again; if it happens twice, tell the operator and use an account of this desk", reason=reason,
    )


def _key(token: str, keys: Mapping[str, Any], algorithm: str) -> jwt.PyJWK:
    kid = jwt.get_unverified_header(token).get("kid")
    rows = [row for row in keys.get("keys", []) if isinstance(row, dict)]
    fitting = [
        row for row in rows
        if row.get("kty") == _KEY_TYPES[algorithm] and row.get("use", "sig") == "sig"
        and row.get("alg", algorithm) == algorithm and (kid is None or row.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise refused("its token names no key of its")
    key = jwt.PyJWK(fitting[0], algorithm)
    if algorithm == "RS256" and key.key.key_size < RSA_BITS_MIN:
        raise refused("its key is too short")
    return key


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    at = now.timestamp()
    expires, issued, begins = float(claims["exp"]), float(claims["iat"]), float(claims.get("nbf", 0))
    # Written so that a NaN fails too.
    if not at < expires + SKEW_SECONDS:
        raise refused("its token has expired")
    if not at - FRESH_SECONDS <= issued <= at + SKEW_SECONDS or not begins <= at + SKEW_SECONDS:
        raise refused("its token is not of now: compare the clocks of both machines")


def _object(status: int, data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data) if len(data) <= ANSWER_BYTES_MAX else None
    except (ValueError, RecursionError):
        answer = None
    if status != 200:
        said = answer.get("error", "") if isinstance(answer, dict) else ""
        raise refused(f"HTTP {status} {str(said)[:60]}".strip())
    if not isinstance(answer, dict):
        raise refused("it is no object")
    return answer
