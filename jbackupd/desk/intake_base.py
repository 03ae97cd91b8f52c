"""What pages of receptions share: finding a reception, who may see what of it, and its record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import date, datetime

from starlette.requests import Request

from jbackupd.continuity.intake import Item
from jbackupd.desk.intake import Book
from jbackupd.desk.masking import Mask, mask_of
from jbackupd.desk.residents import Resident
from jbackupd.desk.roles import Right
from jbackupd.desk.sessions import Session
from jbackupd.desk.web import Web
from jbackupd.format.intakekinds import Kind, KindSpec
from jbackupd.model.errors import NotFoundError, RefusedError
from jbackupd.model.wareki import JST

NONCE_BYTES = 18


class Receptions:
    """A desk's book on its pages. Everything that waits for a disk runs in a thread."""

    def __init__(self, web: Web, book: Book) -> None:
        self._web = web
        self._book = book
        self._audit = web.settings.audit

    async def _item(self, request: Request) -> Item:
        item = await asyncio.to_thread(self._book.find, request.path_params["address"])
        if item is None:
            raise NotFoundError("there is no such reception", "look into the list of receptions")
        return item

    def _check_allowed(self, session: Session, spec: KindSpec, residents: Collection[Resident]) -> None:
        """Refuse a provisional form to who may not issue it, and of somebody whose address must not be shown."""
        if spec.kind is not Kind.PROVISIONAL:
            return
        self._web.check_right(session, Right.ISSUE)
        facts = self._web.residents.facts
        if any(mask_of(one, facts) is not Mask.NONE for one in residents):
            raise RefusedError(
                "no provisional form is issued for this person: the address must not be shown",
                "ask the officer in charge; the reason stands on the person's page",
            )

    def _residents(self, numbers: Collection[str]) -> list[Resident]:
        return [one for number in numbers if number and (one := self._web.residents.by_number(number)) is not None]

    def _protected(self, numbers: Collection[str]) -> set[str]:
        return {one.number for one in self._residents(numbers) if one.restricted}

    def _is_protected(self, item: Item) -> bool:
        return bool(self._protected([person.number for person in item.persons]))

    async def _recorded(
        self, record: Callable[..., None], request: Request, session: Session, **said: str | int
    ) -> None:
        await self._web.recorded(record, self._web.clerk(request, session), **said)

    def _today(self) -> date:
        return day_of(self._web.settings.clock.now())


def day_of(moment: datetime) -> date:
    """Return the day of a moment in Japan."""
    return moment.astimezone(JST).date()
