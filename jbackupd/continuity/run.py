"""Running a plan: decide from the states, note the intent, do the deed, note the outcome."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jbackupd.continuity.plan import (
    StepEvent,
    is_over,
    is_proved,
    ready_steps,
    skipped_steps,
    steps_to_repeat,
)
from jbackupd.continuity.record import RunRecord
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.units import show_duration
from jbackupd.runtime.offload import settled
from jbackupd.settings.plan import Step

STEPS_AT_ONCE = 2


class Actions(Protocol):
    """Does the steps' deeds. Each may be done twice without harm."""

    async def perform(self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]) -> (
        Mapping[str, Any]
    ):
        """Do a step and return what to note of it: plain values, no secrets.

        When the step's time is over it is cancelled, and must settle what it has begun before it passes that on.

        Args:
            stopped: Set at the same moment; work in threads ends soon after.
            tell: Takes progress, from any thread.

        Raises:
            JbackupdError: It failed.
        """
        ...


class Run:
    """A run of a plan in this process.

    Args:
        record: New, or opened to be resumed.
        actions: Does the deeds.
        clock: Dates them.
        tell: Hears of every change of a step, and of progress; called from any thread, must not block.
        defect: Hears of exceptions that are not of our tree, with where they came up.
    """

    def __init__(
        self, record: RunRecord, actions: Actions, clock: Clock,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda _step, _news: None,
        defect: Callable[[str, Exception], None] = lambda _where, _error: None,
    ) -> None:
        self.record = record
        self._actions = actions
        self._clock = clock
        self._tell = tell
        self._defect = defect
        self._writing = asyncio.Lock()

    async def go(self, *, again: bool = False, keys: bool = True) -> bool:
        """Do everything that can be done; return whether every step is done.

        A cancel lets the deeds that are under way settle; their steps stay noted as running.

        Args:
            again: A person resumes the run: what has to be done again is pending first.
            keys: Whether that person gave the officers' shares.

        Raises:
            JbackupdError: The journal cannot be written; the run stands where it says.
        """
        under_way: set[asyncio.Task[None]] = set()
        try:
            if again:
                await self._prepare_again(keys=keys)
            while True:
                await self._skip_what_cannot_begin()
                # Asked anew for each step: while one is being noted, another may fail and halt the run.
                while len(under_way) < STEPS_AT_ONCE and (
                    ready := ready_steps(self.record.plan, self.record.states)
                ):
                    await self._note(ready[0], StepEvent.BEGIN)
                    under_way.add(asyncio.create_task(self._do(ready[0]), name=f"step {ready[0].id}"))
                if not under_way:
                    break
                finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        assert is_over(self.record.plan, self.record.states)
        proved = is_proved(self.record.plan, self.record.states)
        await self._write(functools.partial(self.record.note_end, self._clock.now(), proved=proved))
        return proved

    async def _prepare_again(self, *, keys: bool) -> None:
        await self._write(functools.partial(self.record.note_resume, self._clock.now()))
        for step in steps_to_repeat(self.record.plan, self.record.states, keys=keys):
            await self._note(step, StepEvent.AGAIN)

    async def _do(self, step: Step) -> None:
        stopped = threading.Event()
        deed = asyncio.create_task(self._actions.perform(step, stopped, functools.partial(self._tell, step.id)))
        try:
            finished, _ = await asyncio.wait({deed}, timeout=step.timeout.total_seconds())
            if not finished:
                await _end(deed, stopped)
                raise _too_slow(step)
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

    async def _skip_what_cannot_begin(self) -> None:
        while skipped := skipped_steps(self.record.plan, self.record.states):
            for step in skipped:
                await self._note(step, StepEvent.SKIP)

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


def _too_slow(step: Step) -> TryLaterError:
    return TryLaterError(
        "the step {step} took longer than {timeout}",
        "if it only needs more time, go on with 'jbackupd recovery resume': what was done stays done",
        step=step.id, timeout=show_duration(step.timeout.total_seconds()),
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
