"""What commands may ask of the daemon about lost sites."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import blake3
import msgspec

from jbackupd.continuity.decision import Decisions
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.format.declaration import Declaration, decode_declaration, encode_declaration
from jbackupd.model.clock import Clock
from jbackupd.model.errors import (
    DamageError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    StorageError,
    TryLaterError,
    UsageError,
)
from jbackupd.model.ids import SiteId
from jbackupd.service.control import Body, Call, Handler, NoArguments
from jbackupd.settings.suggest import nearest

A = TypeVar("A", bound=msgspec.Struct)


class DeclareArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which site is lost, and why; or, `planned`, hands over to the one that acts from then on, or returns."""

    site: str
    reason: str
    acting: str = ""
    planned: bool = False


class DeclarationArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which declaration."""

    id: str


class ProceedArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which declaration, after its waiting time; or without waiting, and who wants that."""

    id: str
    by: str = ""
    without_waiting: bool = False


class SubmitArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration with approvals, base64."""

    declaration: str


class Registry(Protocol):
    """Where verbs are answered: the daemon's control socket, or a command that has no daemon."""

    def register(self, verb: str, arguments: type[A], handler: Handler[A]) -> None:
        """Let a verb be answered; see `Control.register`."""
        ...


class ContinuityVerbs:
    """Answers commands about declarations.

    Args:
        own: This site.
        evidence: What is known here: under `sites` of every other site, under `held` the newest points.
        sites: All other sites that are known here.
        spread: Tells all peers of a declaration that came into force.
        stopping: Entered before a declaration may come into force here: what this site does by the authority that it
            would lose has ended inside of it, and does not begin again.
        returning: How far this site has fetched what the others have, after its own return.
        evidence_of: Collects the page about a site whose digest officers sign.
        decisions: Where it is noted who decided what.
    """

    def __init__(
        self, own: SiteId, *, epochs: Epochs, pending: PendingDeclarations, clock: Clock,
        evidence: Callable[[], dict[str, Any]], sites: Callable[[], Collection[SiteId]],
        spread: Callable[[], Awaitable[None]],
        stopping: Callable[[Declaration], contextlib.AbstractAsyncContextManager[None]],
        evidence_of: Callable[[SiteId], Awaitable[dict[str, Any]]], decisions: Decisions,
        returning: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._evidence_of = evidence_of
        self._decisions = decisions
        self._returning = returning
        self._stopping = stopping
        self._own = own
        self._epochs = epochs
        self._pending = pending
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
        control.register("site.proceed", ProceedArguments, self.proceed)
        control.register("site.withdraw", DeclarationArguments, self.withdraw)

    async def site_status(self, call: Call[NoArguments]) -> Body:
        """Answer what is known of the other sites, and which declarations there are."""
        in_force = self._epochs.declarations()
        pending = await asyncio.to_thread(self._pending.all)
        evidence = self._evidence()
        return {
            "site": self._own,
            "evidence": evidence["sites"],
            "held": evidence["held"],
            "declarations": [declaration_document(declaration) for declaration in in_force],
            "pending": [{**declaration_document(each), **self._wait_document(each)} for each in pending],
            "conflicts": [declaration_document(declaration) for declaration in self._epochs.conflicts()],
            "returning": await asyncio.to_thread(self._returning),
        }

    async def declare(self, call: Call[DeclareArguments]) -> Body:
        """Begin a declaration; it still needs approvals."""
        wanted = call.arguments
        lost, acting = SiteId(wanted.site), SiteId(wanted.acting or self._own)
        for site in (lost, acting):
            self.check_known(site)
        page = msgspec.json.format(msgspec.json.encode(await self._evidence_of(lost)))
        now = self._clock.now()

        def begin() -> Declaration:
            made = self._pending.begin(
                lost, acting, reason=wanted.reason, evidence=page, now=now, planned=wanted.planned
            )
            self._decisions.declared(made)
            return made

        begun = await asyncio.to_thread(begin)
        return {**declaration_document(begun), "evidence": msgspec.json.decode(page), "declaration": _base64(begun)}

    async def declaration(self, call: Call[DeclarationArguments]) -> Body:
        """Answer a pending declaration, for an officer to approve."""
        found = await asyncio.to_thread(self._pending.find, call.arguments.id)
        page = await asyncio.to_thread(self._pending.evidence, found.id)
        if page is not None and blake3.blake3(page).digest() != found.statement.evidence:
            raise DamageError(
                "the evidence of the declaration {id} is not what was shown when it was begun",
                "take it back with 'jbackupd site withdraw {id}', and declare it once more", id=found.id,
            )
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
        return await self.bring(given)

    async def proceed(self, call: Call[ProceedArguments]) -> Body:
        """Bring a declaration that has its approvals into force, after the waiting time or without it."""
        wanted = call.arguments
        found = await asyncio.to_thread(self._pending.find, wanted.id)
        by = wanted.by if wanted.without_waiting else None
        answer = await self.bring(replace(found, approvals=()), hurried_by=by)
        if not answer["in_force"]:
            kind = TryLaterError if answer["waits_until"] and not wanted.without_waiting else RefusedError
            raise kind("{reason}", "see 'jbackupd site status'", reason=answer["missing"])
        return answer

    async def bring(self, given: Declaration, *, hurried_by: str | None = None) -> Body:
        """Hand in a declaration with its approvals; with enough of them it comes into force.

        Args:
            hurried_by: Who lets it count without waiting.
        """
        async with self._stopping(given):
            merged, missing = await asyncio.to_thread(self._submitted, given, hurried_by)
        if missing is None:
            await self._spread()
        return {
            **declaration_document(merged), "declaration": _base64(merged), "in_force": missing is None,
            "missing": None if missing is None else str(missing), **self._wait_document(merged),
        }

    def _wait_document(self, declaration: Declaration) -> dict[str, Any]:
        wait = self._epochs.waits(declaration)
        left = 0.0 if wait is None else (wait.until - self._clock.now()).total_seconds()
        return {
            "waits_until": None if wait is None else wait.until.isoformat(timespec="seconds"),
            "waits_seconds": max(0.0, round(left)),
        }

    def _submitted(self, given: Declaration, hurried_by: str | None) -> tuple[Declaration, RefusedError | None]:
        before = {approval.officer for approval in self._pending.approvals_of(given.id)}
        merged, missing = self._pending.submit(given, without_waiting=hurried_by is not None)
        # What counts is done; a disk that does not take the note as well takes nothing from it.
        with contextlib.suppress(StorageError, NoSpaceError):
            self._decisions.approved(merged, (each for each in merged.officers if each.officer not in before))
            if hurried_by is not None and missing is None:
                self._decisions.hurried(merged, hurried_by)
        return merged, missing

    async def withdraw(self, call: Call[DeclarationArguments]) -> Body:
        """Take back a declaration that is not in force."""
        gone = await asyncio.to_thread(self._pending.withdraw, call.arguments.id)
        await asyncio.to_thread(self._decisions.withdrawn, gone)
        return declaration_document(gone)

    def check_known(self, lost: SiteId) -> None:
        """Check that a site is known here.

        Raises:
            NotFoundError: It is not.
        """
        known = [*self._sites(), self._own]
        if lost not in known:
            meant = nearest(lost, known)
            raise NotFoundError(
                "there is no site {site}", "did you mean {meant}?" if meant else "the sites are {known}",
                site=lost, meant=meant, known=", ".join(sorted(known)),
            )


def declaration_document(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration for machines."""
    statement = declaration.statement
    return {
        "id": declaration.id, "kind": kind_of(declaration), "lost": statement.lost, "acting": statement.acting,
        "epoch": statement.epoch,
        "made_at": statement.made_at.isoformat(timespec="seconds"), "reason": statement.reason,
        "evidence_digest": statement.evidence.hex(),
        "approved_by": [approval.officer for approval in declaration.officers],
        "by_code": [approval.officer for approval in declaration.officers if approval.code],
    }


def kind_of(declaration: Declaration) -> str:
    """Return what a declaration is: loss, hand-over or return."""
    if declaration.is_return:
        return "return"
    return "hand-over" if declaration.statement.planned else "loss"


def _base64(declaration: Declaration) -> str:
    return base64.b64encode(encode_declaration(declaration)).decode("ascii")
