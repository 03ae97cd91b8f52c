"""Who may sign in at the desk: one person each, with a role, an end and a scrypt hash, in one small JSON file.

    {"version": 2, "accounts": [{"name", "salt", "hash", "n", "r", "p", "role", "person", "from", "until", "stopped",
    "first"}]}                              salt and hash in base64, until as 2026-11-30 or ""

Version 1 ended after "p"; its accounts have the role `issue`, which is what every account could do then, and no end.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum
from typing import Any

from jbackupd.desk.roles import ROLE_BEFORE_ROLES
from jbackupd.model.errors import FormatError, UsageError
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

ACCOUNTS_VERSION = 2
NAME_CHARACTERS_MAX = 40
PASSWORD_CHARACTERS_MIN = 10
PASSWORD_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 60
PROVIDER_PREFIX = "oidc:"
"""Names of whom another sign-in service vouches for begin with this; no account of the file does."""
# 16 MiB and about 50 ms on an old PC; the lock-out bounds how often a stranger may ask for it.
_N, _R, _P = 2**14, 8, 1
_MEMORY_BYTES = 64 * 1024 * 1024
# Nothing that looks alike on paper: no 0 O o, 1 l I, no vowels that make words.
_ALPHABET = "bcdfghjkmnpqrstvwxyz23456789"
_RandomBytes = Callable[[int], bytes]


class Standing(Enum):
    """Whether an account may be used."""

    ACTIVE = "active"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Grant:
    """Whose an account is, what it may do, and for how long.

    Attributes:
        role: Name of a role of the desk.
        person: Who it belongs to: an account is never shared.
        origin: The municipality that lent this person; empty for own staff.
        until: The last day in Japan on which it may be used; None for no end.

    Raises:
        UsageError: A text is too long or not printable.
    """

    role: str = ROLE_BEFORE_ROLES
    person: str = ""
    origin: str = ""
    until: date | None = None

    def __post_init__(self) -> None:
        for text in (self.role, self.person, self.origin):
            if len(text) > TEXT_CHARACTERS_MAX or not (text.isprintable() or not text):
                raise UsageError("{text!r} cannot stand in an account", "use up to 60 characters", text=text[:80])


@dataclass(frozen=True, slots=True)
class Account:
    """A clerk's name and the hash of the password.

    Attributes:
        n: Cost of scrypt, with r and p; kept so that later accounts may cost more.
        stopped: It may not be used until somebody allows it again.
        first: Somebody else knows the password: its owner chooses another before anything is shown.
    """

    name: str
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    n: int = _N
    r: int = _R
    p: int = _P
    grant: Grant = field(default_factory=Grant)
    stopped: bool = False
    first: bool = False

    @classmethod
    def make(
        cls, name: str, password: str, grant: Grant | None = None, *, first: bool = False,
        random: _RandomBytes = secrets.token_bytes,
    ) -> Account:
        """Return a new account.

        Raises:
            UsageError: The name is empty, too long or not printable.
        """
        usable = 0 < len(name) <= NAME_CHARACTERS_MAX and name.isprintable() and name == name.strip()
        if not usable or name.startswith(PROVIDER_PREFIX):
            raise UsageError(
                "{name!r} cannot be an account's name", "use 1 to 40 printable characters", name=name[:80]
            )
        salt = random(16)
        return cls(name, salt, _scrypt(password, salt, _N, _R, _P), grant=grant or Grant(), first=first)

    def with_password(self, password: str, *, first: bool = False) -> Account:
        """Return this account with another password; whoever is signed in with the old one no longer is."""
        fresh = Account.make(self.name, password, self.grant, first=first)
        return replace(fresh, stopped=self.stopped)

    def standing(self, today: date) -> Standing:
        """Tell whether it may be used.

        Args:
            today: In Japan.
        """
        if self.stopped:
            return Standing.STOPPED
        return Standing.ENDED if self.grant.until is not None and today > self.grant.until else Standing.ACTIVE

    def accepts(self, password: str) -> bool:
        """Tell whether this is the password; takes the same time for every answer."""
        return hmac.compare_digest(self.digest, _scrypt(password, self.salt, self.n, self.r, self.p))


class Accounts:
    """All accounts of a desk; unchanging."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._nobody = Account.make("-", generate_password())

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(sorted(self._accounts.values(), key=lambda account: account.name))

    def get(self, name: str) -> Account | None:
        """Return an account; None if there is none of this name."""
        return self._accounts.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The accounts' names, sorted."""
        return tuple(sorted(self._accounts))

    def check(self, name: str, password: str) -> bool:
        """Tell whether name and password belong together; an unknown name takes as long as a known one."""
        account = self._accounts.get(name)
        accepted = (account or self._nobody).accepts(password)
        return accepted and account is not None

    def with_account(self, account: Account) -> Accounts:
        """Return these accounts with one added or replaced."""
        return Accounts([*(old for old in self._accounts.values() if old.name != account.name), account])

    def without(self, name: str) -> Accounts:
        """Return these accounts without one."""
        return Accounts(account for account in self._accounts.values() if account.name != name)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        rows = [
            {
                "name": a.name, "salt": _base64(a.salt), "hash": _base64(a.digest), "n": a.n, "r": a.r, "p": a.p,
                "role": a.grant.role, "person": a.grant.person, "from": a.grant.origin,
                "until": a.grant.until.isoformat() if a.grant.until else "", "stopped": a.stopped, "first": a.first,
            }
            for a in self._accounts.values()
        ]
        return json.dumps({"version": ACCOUNTS_VERSION, "accounts": rows}, ensure_ascii=False, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Accounts:
        """Read a file's bytes.

        Raises:
            FormatError: They are not such a file.
        """
        try:
            document = json.loads(data)
            version = document["version"]
            if version not in (1, ACCOUNTS_VERSION):
                raise ValueError(version)
            return cls(_account(row, granted=version > 1) for row in document["accounts"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
            raise FormatError(
                "the desk's accounts are not readable: {reason}", "make the accounts again", reason=str(error)
            ) from error


def generate_password(random: _RandomBytes = secrets.token_bytes) -> str:
    """Return a password that is easily typed from paper: three groups of four, 57 bits."""
    letters: list[str] = []
    while len(letters) < 12:
        byte = random(1)[0]
        # Rejecting the rest keeps every letter equally likely.
        if byte < 256 - 256 % len(_ALPHABET):
            letters.append(_ALPHABET[byte % len(_ALPHABET)])
    return "-".join("".join(letters[start : start + 4]) for start in (0, 4, 8))


def check_new_password(account: Account, typed: str) -> None:
    """Check what a clerk chose as a password.

    Raises:
        UsageError: It is too short, too plain, the account's name, or the one that is to be replaced.
    """
    plain = _plain(typed)
    if not PASSWORD_CHARACTERS_MIN <= len(plain) <= PASSWORD_CHARACTERS_MAX:
        raise UsageError(
            "the new password must have {count} characters or more", "a short sentence that only you know is good",
            count=PASSWORD_CHARACTERS_MIN,
        )
    if len(set(plain)) < 5 or account.name.casefold() in plain.casefold():
        raise UsageError(
            "this password is too easily guessed", "leave the account's name out and use different characters"
        )
    if account.accepts(typed):
        raise UsageError("this is the old password", "choose another one: the old one is known to somebody else")


def load_accounts(files: Files, path: str) -> Accounts:
    """Read the accounts; a missing file means none.

    Raises:
        FormatError: The file is not readable.
    """
    return Accounts.decode(files.read(path)) if files.exists(path) else Accounts()


def save_accounts(files: Files, path: str, accounts: Accounts) -> None:
    """Write the accounts durably, mode 0600."""
    write_durably(files, path, accounts.encode(), temporary=f"{path}.new")


def _account(row: Any, *, granted: bool) -> Account:
    n, r, p = (int(row[key]) for key in ("n", "r", "p"))
    if not (n >= 2 and n & (n - 1) == 0 and 128 * n * r * p < _MEMORY_BYTES):
        raise ValueError("scrypt parameters")
    known = Account(
        str(row["name"]), base64.b64decode(row["salt"], validate=True), base64.b64decode(row["hash"], validate=True),
        n, r, p,
    )
    if not granted:
        return known
    until = date.fromisoformat(row["until"]) if row["until"] else None
    if not isinstance(row["stopped"], bool) or not isinstance(row["first"], bool):
        raise ValueError("stopped, first")
    grant = Grant(str(row["role"]), str(row["person"]), str(row["from"]), until)
    return replace(known, grant=grant, stopped=row["stopped"], first=row["first"])


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    typed = _plain(password).encode("utf-8", "backslashreplace")
    return hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=32)


def _plain(password: str) -> str:
    # A password typed with full-width letters is the same password.
    return unicodedata.normalize("NFKC", password[:PASSWORD_CHARACTERS_MAX]).strip()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
