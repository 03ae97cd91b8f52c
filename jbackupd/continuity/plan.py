"""Which steps may begin now? Pure decisions over a plan and the states of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from jbackupd.model.machine import Machine
from jbackupd.settings.plan import Plan, Step

VOLATILE = ("unlock", "desk", "check")
"""Kinds whose outcome does not outlive the daemon: keys in memory, a listening page, and what was seen there."""


class StepState(Enum):
    """How far a step is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepEvent(Enum):
    """What happens to a step."""

    BEGIN = "begin"
    FINISH = "finish"
    FAIL = "fail"
    SKIP = "skip"
    AGAIN = "again"
    """A resumed run does it once more."""


STEP_MACHINE: Machine[StepState, StepEvent] = Machine("step", {
    (StepState.PENDING, StepEvent.BEGIN): StepState.RUNNING,
    (StepState.PENDING, StepEvent.SKIP): StepState.SKIPPED,
    (StepState.RUNNING, StepEvent.FINISH): StepState.DONE,
    (StepState.RUNNING, StepEvent.FAIL): StepState.FAILED,
    (StepState.RUNNING, StepEvent.AGAIN): StepState.PENDING,
    (StepState.FAILED, StepEvent.AGAIN): StepState.PENDING,
    (StepState.SKIPPED, StepEvent.AGAIN): StepState.PENDING,
    (StepState.DONE, StepEvent.AGAIN): StepState.PENDING,
})

States = Mapping[str, StepState]


def ready_steps(plan: Plan, states: States) -> list[Step]:
    """Return the steps that may begin now, the most urgent first.

    None may begin after a step has failed whose rule is to halt.
    """
    if is_halted(plan, states):
        return []
    ready = [
        step for step in plan.steps
        if states[step.id] is StepState.PENDING and all(states[need] is StepState.DONE for need in step.needs)
    ]
    return sorted(ready, key=lambda step: step.tier)


def skipped_steps(plan: Plan, states: States) -> list[Step]:
    """Return the pending steps that can no longer begin, since something that they need did not succeed."""
    lost = {StepState.FAILED, StepState.SKIPPED}
    return [
        step for step in plan.steps
        if states[step.id] is StepState.PENDING and any(states[need] in lost for need in step.needs)
    ]


def steps_to_repeat(plan: Plan, states: States) -> list[Step]:
    """Return the steps that a resumed run does again.

    What was under way or failed is done again, and what does not outlive the daemon; except that keys
    are not asked for again when nothing is left to restore.
    """
    unfinished = {step.id for step in plan.steps if states[step.id] not in (StepState.DONE, StepState.PENDING)}
    restores_left = any(
        states[step.id] is not StepState.DONE for step in plan.steps if step.kind == "restore"
    )
    return [
        step for step in plan.steps
        if step.id in unfinished
        or (step.kind in VOLATILE and states[step.id] is StepState.DONE and (step.kind != "unlock" or restores_left))
    ]


def is_halted(plan: Plan, states: States) -> bool:
    """Tell whether a step has failed whose rule is to halt."""
    return any(states[step.id] is StepState.FAILED and step.on_failure == "halt" for step in plan.steps)


def is_over(plan: Plan, states: States) -> bool:
    """Tell whether nothing is under way and nothing more can begin."""
    running = any(state is StepState.RUNNING for state in states.values())
    return not running and not ready_steps(plan, states) and not skipped_steps(plan, states)


def is_proved(plan: Plan, states: States) -> bool:
    """Tell whether every step is done."""
    return all(states[step.id] is StepState.DONE for step in plan.steps)
