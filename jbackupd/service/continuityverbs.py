"""What commands may ask of the daemon about lost sites and recovery runs."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from jbackupd.codec.shares import Share
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.format.declaration import Declaration, decode_declaration, encode_declaration
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError, UsageError
from jbackupd.model.ids import SiteId
from jbackupd.service.control import Body, Call, Handler, NoArguments
from jbackupd.service.recovering import Recoveries
from jbackupd.settings.suggest import nearest

A = TypeVar("A", bound=msgspec.Struct)


class DeclareArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which site is lost, and why."""

    site: str
    reason: str


class DeclarationArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which declaration."""

    id: str


class SubmitArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration with approvals, base64."""

    declaration: str


class ShareText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share as its file has it, and the file's name for messages."""

    source: str
    text: str


class RunArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan's text and the shares; `lost_at` is RFC 3339."""

    plan: str
    shares: list[ShareText]
    lost_at: str | None = None


class ResumeArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run, and the shares."""

    run: str
    shares: list[ShareText]


class RunNameArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run."""

    run: str


class CleanArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run; whether it may be one that never ended, and whether only to look."""

    run: str
    given_up: bool = False
    dry_run: bool = False


class Registry(Protocol):
    """Where verbs are answered: the daemon's control socket, or a command that has no daemon."""

    def register(self, verb: str, arguments: type[A], handler: Handler[A]) -> None:
        """Let a verb be answered; see `Control.register`."""
        ...


class ContinuityVerbs:
    """Answers commands about declarations and recovery runs.

    Args:
        own: This site.
        evidence: What is known here: under `sites` of every other site, under `held` the newest points.
        sites: All other sites that are known here.
        spread: Tells all peers of a declaration that came into force.
    """

    def __init__(
        self, own: SiteId, *, epochs: Epochs, pending: PendingDeclarations, recoveries: Recoveries, clock: Clock,
        evidence: Callable[[], dict[str, Any]], sites: Callable[[], Collection[SiteId]],
        spread: Callable[[], Awaitable[None]],
    ) -> None:
        self._own = own
        self._epochs = epochs
        self._pending = pending
        self._recoveries = recoveries
        self._clock = clock
        self._evidence = evidence
        self._sites = sites
        self._spread = spread

    def register(self, control: Registry) -> None:
        """Let the verbs be answered."""
        control.register("site.status", NoArguments, self.site_status)
        control.register("site.declare", DeclareArguments, self.declare)
        control.register("site.declaration", DeclarationArguments, self.declaration)
        control.register("site.submit", SubmitArguments, self.submit)
        control.register("site.withdraw", DeclarationArguments, self.withdraw)
        control.register("recovery.run", RunArguments, self.run)
        control.register("recovery.resume", ResumeArguments, self.resume)
        control.register("recovery.show", RunNameArguments, self.show)
        control.register("recovery.close", RunNameArguments, self.close)
        control.register("recovery.clean", CleanArguments, self.clean)
        control.register("recovery.history", NoArguments, self.history)

    async def site_status(self, call: Call[NoArguments]) -> Body:
        """Answer what is known of the other sites, and which declarations there are."""
        in_force = [decode_declaration(data) for data in self._epochs.declarations()]
        pending = await asyncio.to_thread(self._pending.all)
        evidence = self._evidence()
        return {
            "site": self._own,
            "evidence": evidence["sites"],
            "held": evidence["held"],
            "declarations": [declaration_document(declaration) for declaration in in_force],
            "pending": [declaration_document(declaration) for declaration in pending],
        }

    async def declare(self, call: Call[DeclareArguments]) -> Body:
        """Begin a declaration; it still needs approvals."""
        lost, now = SiteId(call.arguments.site), self._clock.now()
        self._check_known(lost)
        page = msgspec.json.format(msgspec.json.encode({"by": self._own, "at": now, **self._evidence()}))
        begun = await asyncio.to_thread(
            lambda: self._pending.begin(lost, self._own, reason=call.arguments.reason, evidence=page, now=now)
        )
        return {**declaration_document(begun), "evidence": msgspec.json.decode(page), "declaration": _base64(begun)}

    async def declaration(self, call: Call[DeclarationArguments]) -> Body:
        """Answer a pending declaration, for an officer to approve."""
        found = await asyncio.to_thread(self._pending.find, call.arguments.id)
        page = await asyncio.to_thread(self._pending.evidence, found.id)
        return {
            **declaration_document(found), "evidence": None if page is None else msgspec.json.decode(page),
            "declaration": _base64(found),
        }

    async def submit(self, call: Call[SubmitArguments]) -> Body:
        """Take approvals; with enough of them the loss is in force, here and at every peer that can be reached."""
        try:
            given = decode_declaration(base64.b64decode(call.arguments.declaration, validate=True))
        except binascii.Error as error:
            raise UsageError("the declaration is not base64") from error
        merged, missing = await asyncio.to_thread(self._pending.submit, given)
        if missing is None:
            await self._spread()
        return {
            **declaration_document(merged), "declaration": _base64(merged), "in_force": missing is None,
            "missing": None if missing is None else str(missing),
        }

    async def withdraw(self, call: Call[DeclarationArguments]) -> Body:
        """Take back a declaration that is not in force."""
        return declaration_document(await asyncio.to_thread(self._pending.withdraw, call.arguments.id))

    async def run(self, call: Call[RunArguments]) -> Body:
        """Run a plan; events are its steps, the result is its report. The run goes on if the caller goes away."""
        arguments = call.arguments
        lost_at = None if arguments.lost_at is None else _moment(arguments.lost_at)
        run = await self._recoveries.begin(arguments.plan, _shares(arguments.shares), lost_at=lost_at)
        return await self._watched(run, call.tell)

    async def resume(self, call: Call[ResumeArguments]) -> Body:
        """Resume a run and watch it."""
        await self._recoveries.resume(call.arguments.run, _shares(call.arguments.shares))
        return await self._watched(call.arguments.run, call.tell)

    async def show(self, call: Call[RunNameArguments]) -> Body:
        """Answer a run's report; while it is under way, events are its steps and the answer comes at its end."""
        return await self._watched(call.arguments.run, call.tell)

    async def close(self, call: Call[RunNameArguments]) -> Body:
        """End a run of this daemon and close its desks."""
        await self._recoveries.end(call.arguments.run)
        return {"run": call.arguments.run}

    async def clean(self, call: Call[CleanArguments]) -> Body:
        """Remove what a run laid out, or look what that would be."""
        wanted = call.arguments
        return await self._recoveries.clean(wanted.run, given_up=wanted.given_up, dry_run=wanted.dry_run)

    async def history(self, call: Call[NoArguments]) -> Body:
        """Answer the reports of all runs."""
        return {"runs": await asyncio.to_thread(self._recoveries.history)}

    def _check_known(self, lost: SiteId) -> None:
        known = [*self._sites(), self._own]
        if lost not in known:
            meant = nearest(lost, known)
            raise NotFoundError(
                "there is no site {site}", "did you mean {meant}?" if meant else "the sites are {known}",
                site=lost, meant=meant, known=", ".join(sorted(known)),
            )

    async def _watched(self, run: str, tell: Callable[[Body], Awaitable[None]]) -> Body:
        await tell({"run": run})
        async for news in self._recoveries.watch(run):
            await tell(news)
        return await asyncio.to_thread(self._recoveries.document, run)


def declaration_document(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration for machines."""
    statement = declaration.statement
    return {
        "id": declaration.id, "lost": statement.lost, "acting": statement.acting, "epoch": statement.epoch,
        "made_at": statement.made_at.isoformat(timespec="seconds"), "reason": statement.reason,
        "approved_by": [approval.officer for approval in declaration.approvals],
    }


def _base64(declaration: Declaration) -> str:
    return base64.b64encode(encode_declaration(declaration)).decode("ascii")


def _shares(given: list[ShareText]) -> list[Share]:
    return [Share.from_text(share.text, source=share.source) for share in given]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            "{text!r} is not a moment", "write for example 2026-11-23T04:00+09:00", text=text
        )
    return moment
