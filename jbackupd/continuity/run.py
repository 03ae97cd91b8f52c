"""Running a plan: decide from the standing, note the intent, do the deed, note the outcome."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jbackupd.continuity.plan import (
    StepEvent,
    StepState,
    awaits_commit,
    is_over,
    is_proved,
    may_commit_itself,
    must_undo,
    needs_keys,
    next_step,
    next_to_undo,
    open_questions,
    skipped_steps,
    steps_to_repeat,
    steps_without_keys,
)
from jbackupd.continuity.record import Choice, RunRecord
from jbackupd.continuity.report import asked_by
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, RefusedError, TryLaterError
from jbackupd.model.units import show_duration
from jbackupd.runtime.offload import settled
from jbackupd.settings.plan import Plan, is_left_out
from jbackupd.settings.steps import TIMEOUT_DEFAULT, ConfirmStep, Step

Tell = Callable[[Mapping[str, Any]], None]


class Actions(Protocol):
    """Does the steps' deeds. Each may be done twice without harm, and undone twice."""

    async def perform(self, step: Step, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Do a step and return what to note of it: plain values, no secrets.

        When the step's time is over it is cancelled, and must settle what it has begun before it passes that on.

        Args:
            stopped: Set at the same moment; work in threads ends soon after.
            tell: Takes progress, from any thread.

        Raises:
            JbackupdError: It failed.
        """
        ...

    async def undo(self, step: Step) -> None:
        """Take back what a step did, or had begun, in this process or an earlier one.

        Raises:
            JbackupdError: It stays; people must see to it.
        """
        ...

    async def forget(self) -> None:
        """Forget keys: nothing that is still to be done needs them. May be called twice."""
        ...


class Run:
    """A run of a plan in this process.

    Args:
        record: New, or opened to be resumed.
        actions: Does the deeds.
        clock: Dates them.
        tell: Hears of every change of a step, and of progress; called from any thread, must not block.
        defect: Hears of exceptions that are not of our tree, with where they came up.
        learned: Time-outs in seconds of steps that the plan gives none, from drills.
    """

    def __init__(
        self, record: RunRecord, actions: Actions, clock: Clock,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda _step, _news: None,
        defect: Callable[[str, Exception], None] = lambda _where, _error: None, *,
        learned: Mapping[str, float] | None = None,
    ) -> None:
        self.record = record
        self._actions = actions
        self._clock = clock
        self._tell = tell
        self._defect = defect
        self._learned = learned or {}
        self._writing = asyncio.Lock()
        self._said = asyncio.Event()
        """Set when a person has said something."""
        self._deeds: dict[str, asyncio.Task[None]] = {}
        self._confirmed: dict[str, asyncio.Future[bool]] = {}
        self._asked: list[dict[str, Any]] = []

    async def go(self, *, again: bool = False, keys: bool = True) -> bool:
        """Do everything that can be done; return whether every step is done.

        Waits as long as people are asked. A cancel lets the deeds that are under way settle; their steps stay noted
        as running.

        Args:
            again: A person resumes the run: what has to be done again is pending first.
            keys: Whether that person gave the officers' shares.

        Raises:
            JbackupdError: The journal cannot be written; the run stands where it says.
        """
        try:
            if again:
                await self._prepare_again(keys=keys)
            await self._leave_out()
            while not is_over(self._plan, self.record.standing):
                await self._decide()
                if self.record.rollback is not None:
                    await self._undo_all()
                    break
                while (step := next_step(self._plan, self.record.standing)) is not None:
                    if isinstance(step, ConfirmStep):
                        # Before anybody can hear of the question.
                        self._confirmed[step.id] = asyncio.get_running_loop().create_future()
                    await self._note(step, StepEvent.BEGIN)
                    self._deeds[step.id] = asyncio.create_task(self._do(step), name=f"step {step.id}")
                if not is_over(self._plan, self.record.standing):
                    await self._wait()
        finally:
            await self._settle_deeds()
        proved = is_proved(self._plan, self.record.standing)
        await self._write(functools.partial(self.record.note_end, self._clock.now(), proved=proved))
        return proved

    async def answer(self, step_id: str, choice: Choice, *, by: str) -> None:
        """Take a person's answer to an open question; durable when this returns.

        Raises:
            RefusedError: The step asks nothing, or not this.
        """
        step = self._plan.step(step_id)
        waiting = self._confirmed.get(step_id)
        if waiting is not None and not waiting.done() and choice in ("yes", "no"):
            await self._write(functools.partial(
                self.record.note_answer, step_id, choice, self._clock.now(), by=by
            ))
            if not waiting.done():
                waiting.set_result(choice == "yes")
        elif step in open_questions(self._plan, self.record.standing) and choice not in ("yes", "no"):
            await self._write(functools.partial(
                self.record.note_answer, step_id, choice, self._clock.now(), by=by
            ))
            if choice == "retry":
                await self._note(step, StepEvent.AGAIN)
        else:
            raise RefusedError(
                "the step {step} does not ask that", "see 'jbackupd recovery show {run}' for what is asked",
                step=step_id, run=self.record.beginning.run,
            )
        self._said.set()

    async def commit(self, *, by: str) -> None:
        """Let the phase commit begin: a person has looked; durable when this returns.

        Raises:
            RefusedError: The run does not wait for it.
        """
        if not awaits_commit(self._plan, self.record.standing):
            raise RefusedError(
                "the run {run} does not wait for a commit", "see 'jbackupd recovery show {run}'",
                run=self.record.beginning.run,
            )
        await self._write(functools.partial(self.record.note_commit, self._clock.now(), by=by))
        self._said.set()

    async def roll_back(self, *, by: str, reason: str) -> None:
        """Let everything be undone; durable when this returns, done by `go`."""
        if self.record.rollback is None:
            await self._write(functools.partial(
                self.record.note_rollback, self._clock.now(), by=by, reason=reason
            ))
        self._said.set()

    @property
    def _plan(self) -> Plan:
        return self.record.plan

    async def _leave_out(self) -> None:
        for step in self._plan.steps:
            pending = self.record.states[step.id] is StepState.PENDING
            if pending and self.record.rollback is None and is_left_out(step, self.record.beginning.mode):
                await self._note(step, StepEvent.OMIT)

    async def _prepare_again(self, *, keys: bool) -> None:
        await self._write(functools.partial(self.record.note_resume, self._clock.now()))
        if self.record.rollback is not None:
            return
        for step in steps_to_repeat(self._plan, self.record.standing, keys=keys):
            await self._note(step, StepEvent.AGAIN)
        if not keys:
            for step in steps_without_keys(self._plan, self.record.standing):
                await self._note(step, StepEvent.SKIP)

    async def _decide(self) -> None:
        """Note what follows from the standing without anybody's doing."""
        while skipped := skipped_steps(self._plan, self.record.standing):
            for step in skipped:
                await self._note(step, StepEvent.SKIP)
        if must_undo(self._plan, self.record.standing):
            await self.roll_back(by="", reason="a step failed whose rule is rollback")
        elif may_commit_itself(self._plan, self.record.standing):
            await self.commit(by="")

    async def _wait(self) -> None:
        """Wait until a deed ends or a person says something."""
        if not needs_keys(self._plan, self.record.standing):
            await self._actions.forget()
        self._ask()
        said = asyncio.create_task(self._said.wait(), name="waiting for people")
        try:
            await asyncio.wait({said, *self._deeds.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            said.cancel()
        self._said.clear()
        for name in [name for name, task in self._deeds.items() if task.done()]:
            self._deeds.pop(name).result()

    def _ask(self) -> None:
        """Tell whoever watches what people are asked, each thing once."""
        asks = asked_by(self.record)
        for one in asks:
            if one not in self._asked:
                self._tell(one["step"], {"event": "asks", **one})
        self._asked = asks

    async def _settle_deeds(self) -> None:
        for task in self._deeds.values():
            task.cancel()
        await asyncio.gather(*self._deeds.values(), return_exceptions=True)
        self._deeds.clear()

    async def _undo_all(self) -> None:
        await self._settle_deeds()
        while (step := next_to_undo(self._plan, self.record.standing)) is not None:
            await self._note(step, StepEvent.UNDO)
            try:
                await settled(self._actions.undo(step))
            except JbackupdError as error:
                await self._note(step, StepEvent.STICK, failure(error))
            except Exception as error:
                await self._note(step, StepEvent.STICK, defect(error))
                self._defect(f"undoing of step {step.id}", error)
            else:
                await self._note(step, StepEvent.UNDONE)

    async def _do(self, step: Step) -> None:
        stopped = threading.Event()
        deed = asyncio.create_task(self._deed(step, stopped))
        try:
            finished, _ = await asyncio.wait({deed}, timeout=self._timeout(step))
            if not finished:
                await _end(deed, stopped)
                raise _too_slow(step, self._timeout(step))
            detail = deed.result()
        except asyncio.CancelledError:
            await _end(deed, stopped)
            raise
        except JbackupdError as error:
            await self._note(step, StepEvent.FAIL, failure(error))
        except Exception as error:
            # A defect of ours in one step must not leave a town without the others.
            await self._note(step, StepEvent.FAIL, defect(error))
            self._defect(f"step {step.id}", error)
        else:
            await self._note(step, StepEvent.FINISH, detail)

    async def _deed(self, step: Step, stopped: threading.Event) -> Mapping[str, Any]:
        if isinstance(step, ConfirmStep):
            return await self._confirm(step)
        return await self._actions.perform(step, stopped, functools.partial(self._tell, step.id))

    async def _confirm(self, step: ConfirmStep) -> Mapping[str, Any]:
        if not await self._confirmed[step.id]:
            raise RefusedError("the answer to {question!r} was no", question=step.question)
        return {"answer": "yes"}

    def _timeout(self, step: Step) -> float | None:
        if step.timeout is not None:
            return step.timeout.total_seconds()
        if isinstance(step, ConfirmStep):
            return None
        return self._learned.get(step.id, TIMEOUT_DEFAULT.total_seconds())

    async def _note(self, step: Step, event: StepEvent, detail: Mapping[str, Any] | None = None) -> None:
        await self._write(functools.partial(self.record.note_step, step.id, event, self._clock.now(), detail))
        self._tell(step.id, {"event": event.value, **(detail or {})})

    async def _write(self, note: Callable[[], None]) -> None:
        """Append to the journal in a thread, one at a time: a sync takes seconds on a disk that restores fill."""
        async with self._writing:
            await settled(asyncio.to_thread(note))


async def _end(deed: asyncio.Task[Any], stopped: threading.Event) -> None:
    """End a deed and wait for it: what is in a thread looks at `stopped`, anything else is cancelled."""
    stopped.set()
    deed.cancel()
    await settled(asyncio.wait({deed}))
    if not deed.cancelled():
        # Whatever it ended with, its time was over before.
        deed.exception()


def _too_slow(step: Step, seconds: float | None) -> TryLaterError:
    return TryLaterError(
        "the step {step} took longer than {timeout}",
        "if it only needs more time, go on with 'jbackupd recovery resume': what was done stays done",
        step=step.id, timeout=show_duration(seconds or 0),
    )


def defect(error: BaseException) -> dict[str, Any]:
    """Return an exception that is not of our tree as a run's journal keeps it."""
    return {
        "error": {"code": "defect", "exit_code": JbackupdError.exit_code,
                  "message": f"this is a defect of jbackupd: {type(error).__name__}: {error}"[:500],
                  "hint": "report it with the daemon's log"},
    }


def failure(error: JbackupdError) -> dict[str, Any]:
    """Return an error as a journal keeps it: in English, and as template and fields for any language."""
    return {
        "error": {
            "code": error.code, "exit_code": error.exit_code, "message": str(error), "hint": error.render(error.hint),
            "template": error.message, "fields": {name: str(value) for name, value in error.fields.items()},
        },
    }
