"""Who is signed in, and how long a failed sign-in must wait. In memory: a restart signs everybody out.

Addresses of pages never hold personal data: a search or a person gets a random handle that only
this session knows.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from jbackupd.desk.purposes import Reason
from jbackupd.desk.query import Query
from jbackupd.model.clock import Clock

IDLE_SECONDS = 15 * 60
"""After this long without a page the clerk signs in again."""
LIFETIME_SECONDS = 12 * 3600
SESSIONS_MAX = 500
HANDLES_MAX = 2000
"""Searches and persons that a session's pages may still point to."""
FORGET_SECONDS = 60 * 60
"""After this long without a try the failures of a name are forgotten."""
NAMES_MAX = 10_000


@dataclass
class Session:
    """One signed-in clerk.

    Attributes:
        token: What the cookie holds.
        form_token: What every form of this session must bring along.
        stamp: Of the account's password at sign-in: with another one the session ends.
        role: Of whom a provider vouches for; None for an account of the desk, whose role may change.
        reason: What residents are looked up for, until another purpose is chosen; None before the first.
        recorded: Address of the reception that was written last, until its page says so.
    """

    account: str
    client: str
    token: str
    form_token: str
    begun: float
    seen: float
    stamp: bytes = b""
    role: str | None = None
    reason: Reason | None = None
    recorded: str = ""
    searches: OrderedDict[str, Query] = field(default_factory=OrderedDict)
    persons: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _handles: dict[int, str] = field(default_factory=dict)

    def remember_search(self, query: Query) -> str:
        """Return a handle for a search."""
        handle = secrets.token_urlsafe(9)
        self.searches[handle] = query
        if len(self.searches) > HANDLES_MAX:
            self.searches.popitem(last=False)
        return handle

    def person_handle(self, row: int) -> str:
        """Return the handle of a resident, the same one each time."""
        handle = self._handles.get(row)
        if handle is None:
            handle = self._handles[row] = secrets.token_urlsafe(9)
            self.persons[handle] = row
            if len(self.persons) > HANDLES_MAX:
                self._handles.pop(self.persons.popitem(last=False)[1])
        return handle


class Sessions:
    """All sessions; bounded, the longest unused goes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(
        self, account: str, client: str, *, stamp: bytes = b"", role: str | None = None, reason: Reason | None = None,
    ) -> Session:
        """Sign a clerk in; always a new token, so that a planted one is worth nothing."""
        now = self._clock.monotonic()
        token, form_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        session = Session(account, client, token, form_token, now, now, stamp, role, reason)
        with self._lock:
            self._sessions[session.token] = session
            while len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return session

    def find(self, token: str) -> Session | None:
        """Return the session of a cookie and keep it awake; None if there is none or it fell asleep."""
        now = self._clock.monotonic()
        with self._lock:
            session = self._sessions.get(token)
            if session is None:
                return None
            if now - session.seen > IDLE_SECONDS or now - session.begun > LIFETIME_SECONDS:
                del self._sessions[token]
                return None
            session.seen = now
            self._sessions.move_to_end(token)
            return session

    def end(self, token: str) -> None:
        """Sign out; harmless if there is no such session."""
        with self._lock:
            self._sessions.pop(token, None)


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0


class LockOut:
    """Growing delay after failed sign-ins, for one kind of name (accounts, known or not; clients).

    Args:
        clock: Only its monotonic time counts.
        free: So many failures in a row cost nothing; then 2, 4, 8 ... seconds.
        delay_seconds_max: The longest wait.
    """

    def __init__(self, clock: Clock, *, free: int, delay_seconds_max: float) -> None:
        self._clock = clock
        self._free = free
        self._longest = delay_seconds_max
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def attempt(self, name: str) -> float:
        """Return the seconds that a name must wait; 0 if it may try now.

        An admitted try counts as failed until `succeeded`, so that a hundred at once do not count as one.
        """
        now = self._clock.monotonic()
        with self._lock:
            failures = self._failures.setdefault(name, _Failures())
            if now - failures.last > FORGET_SECONDS:
                failures.count = 0
            wait = failures.last + self._delay(failures.count) - now
            if wait > 0:
                return wait
            failures.count, failures.last = failures.count + 1, now
            self._failures.move_to_end(name)
            while len(self._failures) > NAMES_MAX:
                self._failures.popitem(last=False)
            return 0.0

    def succeeded(self, name: str) -> None:
        """Forget a name's failures."""
        with self._lock:
            self._failures.pop(name, None)

    def _delay(self, failures: int) -> float:
        beyond = min(failures - self._free, 30)
        return min(float(2**beyond), self._longest) if beyond > 0 else 0.0
