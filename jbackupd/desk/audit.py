"""What the desk writes into the audit log, before it answers. See docs/format/audit.md.

Search words and resident numbers are personal data themselves: the log holds a keyed digest of them.
With the key beside the log an auditor can find out whether a given person was looked for, by whom and
when; without it the log tells nobody's name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jbackupd.desk.accounts import Account
from jbackupd.desk.purposes import Reason
from jbackupd.desk.query import Query
from jbackupd.desk.residents import Resident
from jbackupd.model.clock import Clock
from jbackupd.model.ids import TenantId
from jbackupd.storage.chain import AuditChain
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "audit"
CHAIN_NAME = "desk.chain"
KEY_NAME = "desk.key"
KEY_BYTES = 32
_DIGEST_BYTES = 16
ENTRIES_VERSION = 2
"""Said by each `open`; 2 since entries tell a purpose. Before the first `open` that says it they are of version 1."""
BY_COMMAND = "(command)"
"""No account has this name: what was done at the machine, not at a desk."""
# An entry has 64 KiB; an account says up to 700 bytes of itself.
_ACCOUNTS_SAID_MAX = 80


def audit_folder(tenant: TenantId) -> str:
    """Return the folder of a tenant's log and its key, in the state folder: nothing of another tenant is in it."""
    return f"{FOLDER}/{tenant}"


def audited_tenants(files: Files) -> list[TenantId]:
    """Return the tenants that have a log in a state folder."""
    names = files.names(FOLDER) if files.exists(FOLDER) else []
    return [TenantId(name) for name in names if files.exists(f"{FOLDER}/{name}/{CHAIN_NAME}")]


def open_audit(
    files: Files, folder: str, clock: Clock, *, random: Callable[[int], bytes] = secrets.token_bytes,
) -> DeskAudit:
    """Open the desk's audit log in a folder; folder, log and key are made when they are missing.

    Raises:
        DamageError: The log is broken; the desk must not be started on it.
        NoSpaceError, StorageError: It cannot be written.
    """
    files.make_folder(folder)
    path = f"{folder}/{KEY_NAME}"
    if not files.exists(path):
        write_durably(files, path, random(KEY_BYTES), temporary=f"{path}.new")
    return DeskAudit(AuditChain(files, f"{folder}/{CHAIN_NAME}", clock), files.read(path))


@dataclass(frozen=True, slots=True)
class Clerk:
    """Who does something at a desk, from where, and what for.

    Attributes:
        reason: None before a purpose is chosen, and where none is needed.
    """

    account: str
    client: str
    reason: Reason | None = None

    def said(self) -> dict[str, str]:
        """Return the members of an entry that say it."""
        said = {"who": self.account, "client": self.client}
        if self.reason is not None:
            said["purpose"] = self.reason.purpose.value
            if self.reason.because:
                said["because"] = self.reason.because
        return said


class DeskAudit:
    """Records who did what; every call blocks until the entry is durable, or raises.

    Args:
        chain: The log.
        key: For the digests.
    """

    def __init__(self, chain: AuditChain, key: bytes) -> None:
        self.chain = chain
        self._key = key

    def opened(self, *, loaded_from: str, as_of: str, rows: int, accounts: Iterable[Account] = ()) -> None:
        """Record that a desk begins to answer, from which data, and who may sign in."""
        self.chain.append({
            "what": "open", "entries": ENTRIES_VERSION, "data": loaded_from, "as_of": as_of, "persons": rows,
            "accounts": [_account_said(account) for account in accounts][:_ACCOUNTS_SAID_MAX],
        })

    def signed_in(self, clerk: Clerk, *, role: str, **said: str) -> None:
        """Record a sign-in.

        Args:
            said: person and issuer, where a provider vouched.
        """
        self.chain.append({"what": "sign-in", **clerk.said(), "role": role, **said})

    def chose_purpose(self, clerk: Clerk) -> None:
        """Record that what follows is done for another purpose."""
        self.chain.append({"what": "purpose", **clerk.said()})

    def changed_account(self, clerk: Clerk | None, did: str, account: Account) -> None:
        """Record that an account is about to change.

        Args:
            clerk: Who does it at the desk; None if it was done outside, by a command.
        """
        who = {"who": BY_COMMAND, "client": ""} if clerk is None else clerk.said()
        self.chain.append({"what": "account", **who, "did": did, **_account_said(account)})

    def reviewed(self, clerk: Clerk, *, entries: int, **asked: str) -> None:
        """Record that somebody reads this log at the desk."""
        self.chain.append({"what": "review", **clerk.said(), "entries": entries, **asked})

    def refused(self, account: str, client: str, *, known: bool, why: str = "password") -> None:
        """Record a failed sign-in; a name that is no account may be a mistyped password and is not kept.

        Args:
            why: password, stopped, ended, provider.
        """
        self.chain.append({
            "what": "sign-in-refused", "who": account if known else "?", "client": client, "why": why,
        })

    def signed_out(self, clerk: Clerk) -> None:
        """Record a sign-out."""
        self.chain.append({"what": "sign-out", **clerk.said()})

    def searched(self, clerk: Clerk, query: Query, persons: int) -> None:
        """Record a search: its kinds and how many persons its answer shows."""
        self.chain.append({
            "what": "search", **clerk.said(), "kinds": [kind.value for kind in query.kinds],
            "persons": persons, "words": search_digest(self._key, query),
        })

    def viewed(self, clerk: Clerk, resident: Resident, household: Sequence[Resident]) -> None:
        """Record that a person's page is shown, with all persons that are named on it."""
        self.chain.append({
            "what": "view", **clerk.said(), "persons": len({resident.id, *(m.id for m in household)}),
            "person": person_digest(self._key, resident.number),
        })

    def listed(self, clerk: Clerk, *, page: str, persons: int, **said: str | int) -> None:
        """Record that a list of residents is shown: which one, and how many stand on it.

        Args:
            said: What else tells which list it was: a ward, a shelter, whether it was for paper.
        """
        self.chain.append({"what": "list", **clerk.said(), "page": page, "persons": persons, **said})

    def revealed(self, clerk: Clerk, resident: Resident, *, persons: int) -> None:
        """Record that a hidden address is shown."""
        self.chain.append({
            "what": "reveal", **clerk.said(), "persons": persons, "person": person_digest(self._key, resident.number),
        })

    def took_in(self, clerk: Clerk, *, persons: Sequence[str], **said: str | int) -> None:
        """Record that something is about to be written into the desk's journal, by its number.

        Args:
            persons: 宛名番号 of those whom it is about.
            said: number, kind, record (its place in the journal), first (the number that it changes).
        """
        self.chain.append({
            "what": "intake", **clerk.said(), **said,
            "taken_persons": [person_digest(self._key, number) for number in persons],
        })

    def failed_to_take_in(self, clerk: Clerk, *, number: str) -> None:
        """Record that it was not written: this number will be another entry's."""
        self.chain.append({"what": "intake-failed", **clerk.said(), "number": number})

    def erased_intake(self, *, journal: str, entries: int) -> None:
        """Record that a journal was destroyed at this site, by an operator."""
        self.chain.append({"what": "intake-erased", "journal": journal, "entries": entries})

    def fed(self, by: str, *, feed: str, point: str, persons: int, sha256: str) -> None:
        """Record that residents leave as a file for another system."""
        self.chain.append({
            "what": "feed", "who": by, "feed": feed, "data": point, "persons": persons, "sha256": sha256,
        })

    def listed_intake(self, clerk: Clerk, *, page: str, entries: int) -> None:
        """Record that receptions are shown: on which page, and how many."""
        self.chain.append({"what": "intake-list", **clerk.said(), "page": page, "entries": entries})

    def showed_intake(self, clerk: Clerk, *, number: str, form: str) -> None:
        """Record that one reception is shown, as a page or as a form to print."""
        self.chain.append({"what": "intake-show", **clerk.said(), "number": number, "form": form})


def _account_said(account: Account) -> dict[str, str]:
    grant = account.grant
    return {
        "account": account.name, "role": grant.role, "person": grant.person, "from": grant.origin,
        "until": grant.until.isoformat() if grant.until else "",
    }


def search_digest(key: bytes, query: Query) -> str:
    """Return what stands in the log for a search."""
    return _digest(key, "search", query.normal_text())


def person_digest(key: bytes, number: str) -> str:
    """Return what stands in the log for a resident, by 宛名番号 exactly as in the extract."""
    return _digest(key, "person", number)


def _digest(key: bytes, kind: str, text: str) -> str:
    message = f"jbackupd {kind}\n{text}".encode("utf-8", "backslashreplace")
    return hmac.new(key, message, hashlib.sha256).digest()[:_DIGEST_BYTES].hex()
