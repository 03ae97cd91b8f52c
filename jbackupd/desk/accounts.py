"""Who may sign in at the desk: names with scrypt hashes in one small JSON file.

    {"version": 1, "accounts": [{"name", "salt", "hash", "n", "r", "p"}]}     salt and hash in base64
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from jbackupd.model.errors import FormatError, UsageError
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

ACCOUNTS_VERSION = 1
NAME_CHARACTERS_MAX = 40
PASSWORD_CHARACTERS_MAX = 200
# 16 MiB and about 50 ms on an old PC; the lock-out bounds how often a stranger may ask for it.
_N, _R, _P = 2**14, 8, 1
_MEMORY_BYTES = 64 * 1024 * 1024
# Nothing that looks alike on paper: no 0 O o, 1 l I, no vowels that make words.
_ALPHABET = "bcdfghjkmnpqrstvwxyz23456789"
_RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Account:
    """A clerk's name and the hash of the password.

    Attributes:
        n: Cost of scrypt, with r and p; kept so that later accounts may cost more.
    """

    name: str
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    n: int = _N
    r: int = _R
    p: int = _P

    @classmethod
    def make(cls, name: str, password: str, *, random: _RandomBytes = secrets.token_bytes) -> Account:
        """Return a new account.

        Raises:
            UsageError: The name is empty, too long or not printable.
        """
        if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable() or name != name.strip():
            raise UsageError(
                "{name!r} cannot be an account's name", "use 1 to 40 printable characters", name=name[:80]
            )
        salt = random(16)
        return cls(name, salt, _scrypt(password, salt, _N, _R, _P))

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
            {"name": a.name, "salt": _base64(a.salt), "hash": _base64(a.digest), "n": a.n, "r": a.r, "p": a.p}
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
            if document["version"] != ACCOUNTS_VERSION:
                raise ValueError(document["version"])
            return cls(_account(row) for row in document["accounts"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
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


def load_accounts(files: Files, path: str) -> Accounts:
    """Read the accounts; a missing file means none.

    Raises:
        FormatError: The file is not readable.
    """
    return Accounts.decode(files.read(path)) if files.exists(path) else Accounts()


def save_accounts(files: Files, path: str, accounts: Accounts) -> None:
    """Write the accounts durably, mode 0600."""
    write_durably(files, path, accounts.encode(), temporary=f"{path}.new")


def _account(row: Any) -> Account:
    n, r, p = (int(row[key]) for key in ("n", "r", "p"))
    if not (n >= 2 and n & (n - 1) == 0 and 128 * n * r * p < _MEMORY_BYTES):
        raise ValueError("scrypt parameters")
    return Account(
        str(row["name"]), base64.b64decode(row["salt"], validate=True), base64.b64decode(row["hash"], validate=True),
        n, r, p,
    )


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # A password typed with full-width letters is the same password.
    plain = unicodedata.normalize("NFKC", password[:PASSWORD_CHARACTERS_MAX]).strip()
    typed = plain.encode("utf-8", "backslashreplace")
    return hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=32)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
