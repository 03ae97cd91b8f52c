"""What commands may ask of the daemon about evidence: what is known of a site, and what people saw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import blake3
import msgspec

from jbackupd.continuity.decision import Decisions
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import SiteId
from jbackupd.service.continuityverbs import Registry
from jbackupd.service.control import Body, Call


class EvidenceArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """About which site, as it is now; or the page of a declaration, as it was signed."""

    site: str = ""
    declaration: str = ""


class ObserveArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody saw; without an item that nothing is wrong."""

    site: str
    words: str
    by: str
    item: str = ""
    says: str = "unclear"


class EvidenceVerbs:
    """Answers commands about evidence.

    Args:
        of: Collects what is known of a site.
        check_known: Raises NotFoundError for a site that is not known here.
    """

    def __init__(
        self, decisions: Decisions, pending: PendingDeclarations, of: Callable[[SiteId], Awaitable[dict[str, Any]]],
        check_known: Callable[[SiteId], None],
    ) -> None:
        self._decisions = decisions
        self._pending = pending
        self._of = of
        self._check_known = check_known

    def register(self, control: Registry) -> None:
        """Let the verbs be answered."""
        control.register("site.evidence", EvidenceArguments, self.evidence)
        control.register("site.observe", ObserveArguments, self.observe)

    async def evidence(self, call: Call[EvidenceArguments]) -> Body:
        """Answer what is known of a site; or what was shown when a declaration was begun here, with its digest."""
        wanted = call.arguments
        if not wanted.declaration:
            self._check_known(SiteId(wanted.site))
            return {**await self._of(SiteId(wanted.site)), "declaration": None, "digest": None}
        page = await asyncio.to_thread(self._pending.evidence, wanted.declaration)
        if page is None:
            raise NotFoundError(
                "this site keeps no evidence of a declaration {id}", "it lies where that was begun",
                id=wanted.declaration,
            )
        shown: dict[str, Any] = msgspec.json.decode(page)
        return {**shown, "declaration": wanted.declaration, "digest": blake3.blake3(page).hexdigest()}

    async def observe(self, call: Call[ObserveArguments]) -> Body:
        """Note what somebody saw."""
        wanted = call.arguments
        site = SiteId(wanted.site)
        self._check_known(site)
        if wanted.item:
            await asyncio.to_thread(
                self._decisions.observe, site, wanted.item, wanted.says, wanted.words, wanted.by
            )
        else:
            await asyncio.to_thread(self._decisions.close, site, wanted.words, wanted.by)
        case = await asyncio.to_thread(self._decisions.case, site)
        return {"site": site, "observations": len(case.observations)}
