"""Which steps may begin now? Pure decisions over a plan and the states of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from jbackupd.model.machine import Machine
from jbackupd.settings.plan import Plan, Step


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


def steps_to_repeat(plan: Plan, states: States, *, keys: bool = True) -> list[Step]:
    """Return the steps that a resumed run does again.

    What was under way or failed is done again, and what does not outlive the daemon.

    Args:
        keys: Whether the officers' shares are at hand. They are not used when nothing is left to restore;
            without them desks open again over what is restored already, and failed restores stay as they are.
    """
    unlocks = keys and needs_keys(plan, states)
    repeated: list[Step] = []
    for step in plan.steps:
        state = states[step.id]
        match step.kind:
            case "unlock":
                again = unlocks and state is not StepState.PENDING
            case "restore" if not keys:
                again = state is StepState.RUNNING
            case "restore" | "inspect":
                again = state not in (StepState.DONE, StepState.PENDING)
            case _:
                again = state is not StepState.PENDING
        if again:
            repeated.append(step)
    return repeated


def needs_keys(plan: Plan, states: States) -> bool:
    """Tell whether something is left that needs the tenant's keys."""
    return any(
        states[step.id] is not StepState.DONE and step.kind in ("unlock", "restore")
        for step in plan.steps
    )


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


def can_open_desk(plan: Plan, states: States) -> bool:
    """Tell whether the data of a desk is restored: then it can be opened without keys."""
    return any(states[step.data] is StepState.DONE for step in plan.steps if step.kind == "desk")
