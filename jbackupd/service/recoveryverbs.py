"""What commands may ask of the daemon about recovery runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from jbackupd.codec.shares import Share
from jbackupd.continuity.record import Choice
from jbackupd.model.errors import UsageError
from jbackupd.service.continuityverbs import Registry
from jbackupd.service.control import Body, Call, NoArguments
from jbackupd.service.recovering import Recoveries
from jbackupd.settings.steps import Mode


class ShareText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share as its file has it, and the file's name for messages."""

    source: str
    text: str


class RunArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan's text and the shares; `lost_at` is RFC 3339; `by` is who begins it."""

    plan: str
    shares: list[ShareText]
    lost_at: str | None = None
    mode: Mode = "disaster"
    by: str = ""


class ResumeArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run, and the shares."""

    run: str
    shares: list[ShareText]


class RunNameArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run."""

    run: str


class AnswerArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says to a step."""

    run: str
    step: str
    choice: Choice
    by: str


class CommitArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has looked."""

    run: str
    by: str


class RollbackArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants everything undone, and why."""

    run: str
    by: str
    reason: str


class CleanArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run; whether it may be one that never ended, and whether only to look."""

    run: str
    given_up: bool = False
    dry_run: bool = False


class RecoveryVerbs:
    """Answers commands about recovery runs."""

    def __init__(self, recoveries: Recoveries) -> None:
        self._recoveries = recoveries

    def register(self, control: Registry) -> None:
        """Let the verbs be answered."""
        control.register("recovery.run", RunArguments, self.run)
        control.register("recovery.resume", ResumeArguments, self.resume)
        control.register("recovery.show", RunNameArguments, self.show)
        control.register("recovery.answer", AnswerArguments, self.answer)
        control.register("recovery.commit", CommitArguments, self.commit)
        control.register("recovery.rollback", RollbackArguments, self.rollback)
        control.register("recovery.close", RunNameArguments, self.close)
        control.register("recovery.clean", CleanArguments, self.clean)
        control.register("recovery.history", NoArguments, self.history)

    async def run(self, call: Call[RunArguments]) -> Body:
        """Run a plan; events are its steps, the result is its report. The run goes on if the caller goes away."""
        wanted = call.arguments
        lost_at = None if wanted.lost_at is None else moment(wanted.lost_at)
        run = await self._recoveries.begin(
            wanted.plan, shares_of(wanted.shares), lost_at=lost_at, mode=wanted.mode, by=wanted.by
        )
        return await self._watched(run, call.tell)

    async def resume(self, call: Call[ResumeArguments]) -> Body:
        """Resume a run and watch it."""
        await self._recoveries.resume(call.arguments.run, shares_of(call.arguments.shares))
        return await self._watched(call.arguments.run, call.tell)

    async def show(self, call: Call[RunNameArguments]) -> Body:
        """Answer a run's report; while it is under way, events are its steps and the answer comes at its end."""
        return await self._watched(call.arguments.run, call.tell)

    async def answer(self, call: Call[AnswerArguments]) -> Body:
        """Take what a person says to a step."""
        said = call.arguments
        await self._recoveries.answer(said.run, said.step, said.choice, by=said.by)
        return {"run": said.run, "step": said.step, "choice": said.choice}

    async def commit(self, call: Call[CommitArguments]) -> Body:
        """Let the last phase begin, and watch it."""
        await self._recoveries.commit(call.arguments.run, by=call.arguments.by)
        return await self._watched(call.arguments.run, call.tell)

    async def rollback(self, call: Call[RollbackArguments]) -> Body:
        """Undo everything, and watch it."""
        wanted = call.arguments
        await self._recoveries.roll_back(wanted.run, by=wanted.by, reason=wanted.reason)
        return await self._watched(wanted.run, call.tell)

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

    async def _watched(self, run: str, tell: Callable[[Body], Awaitable[None]]) -> Body:
        await tell({"run": run})
        async for news in self._recoveries.watch(run):
            await tell(news)
        return await asyncio.to_thread(self._recoveries.document, run)


def shares_of(given: list[ShareText]) -> list[Share]:
    """Read shares.

    Raises:
        ShareError: One is none; the message names its file.
    """
    return [Share.from_text(share.text, source=share.source) for share in given]


def moment(text: str) -> datetime:
    """Read a moment with its zone.

    Raises:
        UsageError: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            "{text!r} is not a moment", "write for example 2026-11-23T04:00+09:00", text=text
        )
    return found
