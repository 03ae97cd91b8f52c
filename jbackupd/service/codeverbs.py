"""What commands may ask of the daemon about approvals by telephone."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from jbackupd.continuity.codes import Codes, Heard
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.format.declaration import Declaration
from jbackupd.format.promise import SignedPromise
from jbackupd.model.clock import Clock
from jbackupd.model.errors import ApprovalError, NotFoundError, UsageError
from jbackupd.model.texts import _
from jbackupd.service.continuityverbs import Registry
from jbackupd.service.control import Body, Call, NoArguments
from jbackupd.service.log import Log


class TakeArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Promises of one officer, base64."""

    promises: str


class CodeArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an officer has read out, and for which declaration; the one that waits where none is named."""

    code: str
    id: str = ""


class CodeVerbs:
    """Answers commands about codes.

    Args:
        submit: Hands in a declaration with its approvals; see `ContinuityVerbs.bring`.
        spread: Hands the promises on to the peers that can be reached.
    """

    def __init__(
        self, codes: Codes, pending: PendingDeclarations, clock: Clock,
        submit: Callable[[Declaration], Awaitable[Body]], spread: Callable[[], Awaitable[None]], log: Log,
    ) -> None:
        self._log = log
        self._spread = spread
        self._codes = codes
        self._pending = pending
        self._clock = clock
        self._submit = submit

    def register(self, control: Registry) -> None:
        """Let the verbs be answered."""
        control.register("site.codes", NoArguments, self.kept)
        control.register("site.take-codes", TakeArguments, self.take)
        control.register("site.approve-code", CodeArguments, self.approve)

    async def kept(self, call: Call[NoArguments]) -> Body:
        """Answer which officers have given codes for what; never a code."""
        books, heard = await asyncio.to_thread(lambda: (self._codes.all(), self._codes.heard()))
        return {
            "books": [_book_document(promises, heard) for promises in books.values() if promises],
            "wrong": len(heard.wrong),
            "wrong_lately": len(heard.wrong_lately(self._clock.now())),
        }

    async def take(self, call: Call[TakeArguments]) -> Body:
        """Keep an officer's promises."""
        try:
            data = base64.b64decode(call.arguments.promises, validate=True)
        except binascii.Error as error:
            raise UsageError("the promises are not base64") from error
        kept = await asyncio.to_thread(self._codes.take, data, self._clock.now())
        await self._spread()
        return _book_document(kept, await asyncio.to_thread(self._codes.heard))

    async def approve(self, call: Call[CodeArguments]) -> Body:
        """Take the code that an officer has read out as his approval."""
        wanted = await asyncio.to_thread(self._wanted, call.arguments.id)
        try:
            approval = await asyncio.to_thread(self._codes.approval, wanted, call.arguments.code, self._clock.now())
        except ApprovalError as error:
            self._log.warning(_("a wrong approval code was tried for {id}: {reason}"), id=wanted.id, reason=error)
            raise
        return {**await self._submit(wanted.with_approval(approval)), "officer": approval.officer}

    def _wanted(self, name: str) -> Declaration:
        if name:
            return self._pending.find(name)
        waiting = self._pending.all()
        if not waiting:
            raise NotFoundError("no declaration waits for approvals", "begin one: 'jbackupd site declare-lost SITE'")
        if len(waiting) > 1:
            raise UsageError(
                "several declarations wait for approvals: {ids}", "name one of them",
                ids=", ".join(sorted(each.id for each in waiting)),
            )
        return waiting[0]


def _book_document(promises: Sequence[SignedPromise], heard: Heard) -> dict[str, Any]:
    """Return an officer's promises for machines: how many codes there are for what, and how many were read out."""
    first = promises[0].promise
    matters: dict[tuple[str, str, int], list[SignedPromise]] = {}
    for each in promises:
        matters.setdefault((each.promise.lost, each.promise.acting, each.promise.epoch), []).append(each)
    return {
        "officer": first.officer,
        "made_at": first.made_at.isoformat(timespec="seconds"),
        "valid_until": first.valid_until.isoformat(timespec="seconds"),
        "matters": [
            {
                "lost": lost, "acting": acting, "epoch": epoch, "codes": len(found),
                "spent": sum(each.id in heard.spent for each in found),
            }
            for (lost, acting, epoch), found in matters.items()
        ],
    }
