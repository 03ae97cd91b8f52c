"""The supervisor's page of the record: who looked residents up, when and what for. Reading it is recorded too."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jbackupd.desk.guard import check_token, read_form
from jbackupd.desk.purposes import LABELS, Purpose
from jbackupd.desk.roles import Right
from jbackupd.desk.sessions import Session
from jbackupd.desk.web import Web, no_audit
from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import to_translate
from jbackupd.storage.chain import Entry

ROWS_MAX = 200
DEEDS = {
    "search": to_translate("searched"), "view": to_translate("saw a resident"), "list": to_translate("saw a list"),
    "reveal": to_translate("saw a hidden address"), "intake": to_translate("took something in"),
    "intake-list": to_translate("saw receptions"), "intake-show": to_translate("saw a reception"),
    "sign-in": to_translate("signed in"), "sign-out": to_translate("signed out"),
    "sign-in-refused": to_translate("was not let in"), "purpose": to_translate("chose a purpose"),
    "account": to_translate("changed an account"), "review": to_translate("read this record"),
}
"""What is shown of the log; the rest of it (openings, files for other systems) is the operator's."""
LOOK_UPS = frozenset({"search", "view", "list", "reveal"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are asked for; an empty text asks for all.

    Attributes:
        who: An account.
        purpose: A purpose's value.
        what: A deed of DEEDS, or "look-ups".
    """

    who: str = ""
    purpose: str = ""
    what: str = "look-ups"

    def fits(self, entry: Entry) -> bool:
        """Tell whether an entry is asked for."""
        what = entry.fields.get("what")
        deeds = LOOK_UPS if self.what == "look-ups" else {self.what} if self.what else DEEDS.keys()
        return (
            what in deeds and (not self.who or entry.fields.get("who") == self.who)
            and (not self.purpose or entry.fields.get("purpose") == self.purpose)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """An entry for people."""

    at: datetime
    who: str
    client: str
    deed: str
    purpose: str
    because: str
    persons: int | None
    about: str


def newest(entries: Iterable[Entry], wanted: Wanted) -> tuple[list[Row], int]:
    """Return the newest entries that are asked for, newest first, and how many there are altogether."""
    kept: deque[Entry] = deque(maxlen=ROWS_MAX)
    count = 0
    for entry in entries:
        if wanted.fits(entry):
            kept.append(entry)
            count += 1
    return [_row(entry) for entry in reversed(kept)], count


def _row(entry: Entry) -> Row:
    said = entry.fields
    purposes = {purpose.value: label for purpose, label in LABELS.items()}
    purpose = str(said.get("purpose", ""))
    persons = said.get("persons")
    about = next((str(said[key]) for key in ("account", "number", "page") if said.get(key)), "")
    return Row(
        datetime.fromisoformat(entry.at), str(said.get("who", "")), str(said.get("client", "")),
        DEEDS[str(said["what"])], purposes.get(purpose, purpose), str(said.get("because", "")),
        persons if isinstance(persons, int) else None, about,
    )


class RecordPages:
    """The page of the record."""

    def __init__(self, web: Web) -> None:
        self._web = web
        # A long log is read whole: one at a time, so that clerks are not kept waiting.
        self._reading = asyncio.Semaphore(1)

    def routes(self) -> list[Route]:
        """Return where the page is."""
        signed = functools.partial(self._web.signed_in, right=Right.SUPERVISE)
        return [Route("/record", signed(self.first)), Route("/record", signed(self.asked), methods=["POST"])]

    async def first(self, request: Request, session: Session) -> Response:
        """GET /record: the newest look-ups."""
        return await self._show(request, session, Wanted())

    async def asked(self, request: Request, session: Session) -> Response:
        """POST /record: of one account, for one purpose, or of one kind."""
        form = await read_form(request)
        check_token(session.form_token, form.get("token", ""))
        purpose, what = form.get("purpose", ""), form.get("what", "")
        known = what in DEEDS or what == "look-ups"
        return await self._show(request, session, Wanted(
            form.get("who", "").strip(), purpose if purpose in {one.value for one in Purpose} else "",
            what if known else "",
        ))

    async def _show(self, request: Request, session: Session, wanted: Wanted) -> Response:
        audit = self._web.settings.audit
        async with self._reading:
            try:
                rows, count = await asyncio.to_thread(lambda: newest(audit.chain.entries(), wanted))
            except JbackupdError as error:
                raise no_audit() from error
        asked: dict[str, Any] = {"of": wanted.who, "for": wanted.purpose, "deed": wanted.what}
        await self._web.recorded(
            audit.reviewed, self._web.clerk(request, session), entries=len(rows),
            **{name: value for name, value in asked.items() if value},
        )
        return self._web.page(
            request, "record.html", session, rows=rows, count=count, wanted=wanted, deeds=DEEDS,
            names=sorted({account.name for account in self._web.accounts.current}),
        )
