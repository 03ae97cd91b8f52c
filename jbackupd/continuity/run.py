"""Running a plan: decide from the states, note the intent, do the deed, note the outcome."""

from __future__ import annotations

import asyncio
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
from jbackupd.settings.plan import Step

STEPS_AT_ONCE = 2


class Actions(Protocol):
    """Does the steps' deeds. Each may be done twice without harm."""

    async def perform(self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]) -> (
        Mapping[str, Any]
    ):
        """Do a step and return what to note of it: plain values, no secrets.

        Args:
            stopped: Set when the step's time is over; blocking work ends soon after.
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
        tell: Hears of every change of a step, and of progress; must not block.
    """

    def __init__(
        self, record: RunRecord, actions: Actions, clock: Clock,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda _step, _news: None,
    ) -> None:
        self.record = record
        self._actions = actions
        self._clock = clock
        self._tell = tell

    def prepare_again(self) -> None:
        """Let everything that has to be done again be pending; for a run that is resumed by a person."""
        now = self._clock.now()
        self.record.note_resume(now)
        for step in steps_to_repeat(self.record.plan, self.record.states):
            self._note(step, StepEvent.AGAIN)

    async def go(self) -> bool:
        """Do everything that can be done; return whether every step is done.

        A cancel lets the deeds that are under way settle; their steps stay noted as running.
        """
        under_way: dict[asyncio.Task[None], Step] = {}
        try:
            while True:
                self._skip_what_cannot_begin()
                running = {step.id for step in under_way.values()}
                for step in ready_steps(self.record.plan, self.record.states):
                    if len(under_way) < STEPS_AT_ONCE and step.id not in running:
                        self._note(step, StepEvent.BEGIN)
                        under_way[asyncio.create_task(self._do(step))] = step
                if not under_way:
                    break
                finished, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    del under_way[task]
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        assert is_over(self.record.plan, self.record.states)
        proved = is_proved(self.record.plan, self.record.states)
        self.record.note_end(self._clock.now(), proved=proved)
        return proved

    async def _do(self, step: Step) -> None:
        stopped = threading.Event()
        deed = asyncio.create_task(self._actions.perform(step, stopped, lambda news: self._tell(step.id, news)))
        try:
            finished, _ = await asyncio.wait({deed}, timeout=step.timeout.total_seconds())
            stopped.set()
            # A deed in a thread cannot be cancelled: it looks at `stopped` and ends by itself.
            detail = await deed
            if not finished:
                raise TryLaterError(
                    "the step {step} took longer than {timeout}", "resume the run with 'jbackupd recovery resume'",
                    step=step.id, timeout=step.timeout,
                )
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.gather(deed, return_exceptions=True)
            raise
        except JbackupdError as error:
            self._note(step, StepEvent.FAIL, failure(error))
        else:
            self._note(step, StepEvent.FINISH, detail)

    def _skip_what_cannot_begin(self) -> None:
        while skipped := skipped_steps(self.record.plan, self.record.states):
            for step in skipped:
                self._note(step, StepEvent.SKIP)

    def _note(self, step: Step, event: StepEvent, detail: Mapping[str, Any] | None = None) -> None:
        self.record.note_step(step.id, event, self._clock.now(), detail)
        self._tell(step.id, {"event": event.value, **(detail or {})})


def failure(error: JbackupdError) -> dict[str, Any]:
    """Return an error as a run's journal keeps it: code and English text, so that it reads the same for ever."""
    return {
        "error": {"code": error.code, "exit_code": error.exit_code, "message": str(error),
                  "hint": error.render(error.hint)},
    }
