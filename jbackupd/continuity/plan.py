"""What may happen next in a run? Pure decisions over a plan and where its run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from jbackupd.model.machine import Machine
from jbackupd.settings.plan import Plan
from jbackupd.settings.steps import OnFailure, Step

STEPS_AT_ONCE = 2
"""Of one urgency: two share a disk and a line without either waiting for the other's seeks."""


class StepState(Enum):
    """How far a step is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    OMITTED = "omitted"
    """The mode leaves it out; what needs it goes on without."""
    UNDOING = "undoing"
    UNDONE = "undone"
    STUCK = "stuck"
    """It could not be undone: people must."""


class StepEvent(Enum):
    """What happens to a step."""

    BEGIN = "begin"
    FINISH = "finish"
    FAIL = "fail"
    SKIP = "skip"
    OMIT = "omit"
    AGAIN = "again"
    """A resumed run does it once more, or a person wants it tried again."""
    UNDO = "undo"
    UNDONE = "undone"
    STICK = "stick"


STEP_MACHINE: Machine[StepState, StepEvent] = Machine("step", {
    (StepState.PENDING, StepEvent.BEGIN): StepState.RUNNING,
    (StepState.PENDING, StepEvent.SKIP): StepState.SKIPPED,
    (StepState.PENDING, StepEvent.OMIT): StepState.OMITTED,
    (StepState.RUNNING, StepEvent.FINISH): StepState.DONE,
    (StepState.RUNNING, StepEvent.FAIL): StepState.FAILED,
    (StepState.RUNNING, StepEvent.AGAIN): StepState.PENDING,
    (StepState.RUNNING, StepEvent.UNDO): StepState.UNDOING,
    (StepState.FAILED, StepEvent.AGAIN): StepState.PENDING,
    (StepState.FAILED, StepEvent.UNDO): StepState.UNDOING,
    (StepState.SKIPPED, StepEvent.AGAIN): StepState.PENDING,
    (StepState.DONE, StepEvent.AGAIN): StepState.PENDING,
    (StepState.DONE, StepEvent.UNDO): StepState.UNDOING,
    (StepState.UNDOING, StepEvent.UNDO): StepState.UNDOING,
    (StepState.UNDOING, StepEvent.UNDONE): StepState.UNDONE,
    (StepState.UNDOING, StepEvent.STICK): StepState.STUCK,
    (StepState.STUCK, StepEvent.UNDO): StepState.UNDOING,
})

KEYED = ("unlock", "restore", "export", "mount")
"""Kinds that need the tenant's keys."""
FLEETING = ("desk", "check", "export", "mount", "postgres", "service")
"""Kinds whose deed ends with the daemon: a resumed run does them again."""
_MET = (StepState.DONE, StepState.OMITTED)
_LOST = (StepState.FAILED, StepState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands: all that decides what may happen next.

    Attributes:
        states: Of every step.
        answers: What people said about steps that failed; it overrides the step's own rule.
        committed: The steps of the phase commit may begin.
        undoing: The run is being undone, and nothing else happens any more.
    """

    states: Mapping[str, StepState]
    answers: Mapping[str, OnFailure] = field(default_factory=dict)
    committed: bool = False
    undoing: bool = False

    def rule(self, step: Step) -> OnFailure:
        """Return what its failure means."""
        return self.answers.get(step.id, step.on_failure)


def next_step(plan: Plan, at: Standing) -> Step | None:
    """Return the step that begins now, if one may; called again after it has begun.

    None begins after a step has failed whose rule is to halt. Nothing of a worse urgency begins while something
    better works or could: the counter must not share disk and line with the office's files. What waits for a
    person keeps nobody from working.
    """
    ready = ready_steps(plan, at)
    if not ready:
        return None
    urgent = urgency(plan)
    working = [
        step for step in plan.steps if at.states[step.id] is StepState.RUNNING and step.kind != "confirm"
    ]
    first = ready[0]
    better = [step for step in working if urgent[step.id] < urgent[first.id]]
    beside = [step for step in working if urgent[step.id] == urgent[first.id]]
    return None if better or len(beside) >= STEPS_AT_ONCE else first


def ready_steps(plan: Plan, at: Standing) -> list[Step]:
    """Return the steps for which all is there that they need, the most urgent first."""
    if at.undoing or is_halted(plan, at):
        return []
    urgent = urgency(plan)
    ready = [
        step for step in plan.steps
        if at.states[step.id] is StepState.PENDING and (step.phase == "prepare" or at.committed)
        and all(at.states[need] in _MET for need in step.needs)
    ]
    return sorted(ready, key=lambda step: urgent[step.id])


def urgency(plan: Plan) -> dict[str, int]:
    """Return the tier that each step works for: its own, or that of the most urgent step that needs it."""
    found = {step.id: step.tier for step in plan.steps}
    for _round in plan.steps:
        for step in plan.steps:
            for need in step.needs:
                found[need] = min(found[need], found[step.id])
    return found


def skipped_steps(plan: Plan, at: Standing) -> list[Step]:
    """Return the pending steps that can no longer begin, since something that they need did not succeed."""
    asked = {step.id for step in open_questions(plan, at)}
    return [
        step for step in plan.steps
        if at.states[step.id] is StepState.PENDING
        and any(at.states[need] in _LOST and need not in asked for need in step.needs)
    ]


def open_questions(plan: Plan, at: Standing) -> list[Step]:
    """Return the failed steps of which a person must say what happens."""
    if at.undoing:
        return []
    return [step for step in plan.steps if at.states[step.id] is StepState.FAILED and at.rule(step) == "ask"]


def is_halted(plan: Plan, at: Standing) -> bool:
    """Tell whether a step has failed whose rule is to halt."""
    return any(at.states[step.id] is StepState.FAILED and at.rule(step) == "halt" for step in plan.steps)


def must_undo(plan: Plan, at: Standing) -> bool:
    """Tell whether a step has failed whose rule is to undo everything, and that has not begun."""
    return not at.undoing and any(
        at.states[step.id] is StepState.FAILED and at.rule(step) == "rollback" for step in plan.steps
    )


def awaits_commit(plan: Plan, at: Standing) -> bool:
    """Tell whether all that is done before the commit is over, and steps of the phase commit wait for it."""
    if at.committed or at.undoing or is_halted(plan, at) or open_questions(plan, at):
        return False
    prepared = all(
        at.states[step.id] not in (StepState.PENDING, StepState.RUNNING)
        for step in plan.steps if step.phase == "prepare"
    )
    return prepared and any(
        at.states[step.id] is StepState.PENDING for step in plan.steps if step.phase == "commit"
    )


def may_commit_itself(plan: Plan, at: Standing) -> bool:
    """Tell whether the plan's commit waits for nobody: it says so, and everything essential is there."""
    return plan.commit == "auto" and awaits_commit(plan, at) and all(
        at.states[step.id] in _MET for step in plan.steps if step.phase == "prepare" and step.essential
    )


def next_to_undo(plan: Plan, at: Standing) -> Step | None:
    """Return the step that is undone now: all that needs it is undone before. None when nothing is left."""
    if not at.undoing:
        return None
    undoable = (StepState.DONE, StepState.FAILED, StepState.RUNNING, StepState.UNDOING)
    left = [step for step in plan.steps if at.states[step.id] in undoable]
    for step in reversed(left):
        if not any(step.id in other.needs for other in left):
            return step
    return None


def stuck_steps(plan: Plan, at: Standing) -> list[Step]:
    """Return the steps that could not be undone."""
    return [step for step in plan.steps if at.states[step.id] is StepState.STUCK]


def steps_to_repeat(plan: Plan, at: Standing, *, keys: bool = True) -> list[Step]:
    """Return the steps that a resumed run does again.

    What was under way or failed is done again, and what does not outlive the daemon.

    Args:
        keys: Whether the officers' shares are at hand. They are not used when nothing is left that needs them;
            without them desks open again over what is restored already, and failed restores stay as they are.
    """
    unlocks = keys and needs_keys(plan, at)
    repeated: list[Step] = []
    for step in plan.steps:
        state = at.states[step.id]
        if state in (StepState.PENDING, StepState.OMITTED):
            continue
        if step.kind == "unlock":
            again = unlocks
        elif step.kind == "restore" and not keys:
            again = state is StepState.RUNNING
        else:
            again = step.kind in FLEETING or state is not StepState.DONE
        if again:
            repeated.append(step)
    return repeated


def steps_without_keys(plan: Plan, at: Standing) -> list[Step]:
    """Return the pending steps that a run which was resumed without shares leaves out."""
    return [
        step for step in plan.steps
        if at.states[step.id] is StepState.PENDING and step.kind in ("export", "mount")
    ]


def needs_keys(plan: Plan, at: Standing) -> bool:
    """Tell whether something is left that needs the tenant's keys; an export reads with them as long as it is open."""
    return any(
        step.kind in KEYED and (at.states[step.id] is not StepState.DONE or step.kind in ("export", "mount"))
        for step in plan.steps if at.states[step.id] is not StepState.OMITTED
    )


def holds_keys_open(plan: Plan, at: Standing) -> bool:
    """Tell whether something is open that goes on reading the tenant's objects."""
    return any(step.kind in ("export", "mount") and at.states[step.id] is StepState.DONE for step in plan.steps)


def is_over(plan: Plan, at: Standing) -> bool:
    """Tell whether nothing is under way, nothing more can begin, and nobody is asked."""
    if any(state in (StepState.RUNNING, StepState.UNDOING) for state in at.states.values()):
        return False
    if at.undoing:
        return next_to_undo(plan, at) is None
    waits = open_questions(plan, at) or awaits_commit(plan, at) or must_undo(plan, at)
    return not waits and not ready_steps(plan, at) and not skipped_steps(plan, at)


def is_proved(plan: Plan, at: Standing) -> bool:
    """Tell whether every step of the mode is done."""
    return all(at.states[step.id] in _MET for step in plan.steps)


def is_back(plan: Plan, at: Standing) -> bool:
    """Tell whether every essential step is done: what is missing are gaps."""
    return all(at.states[step.id] in _MET for step in plan.steps if step.essential)


def can_open_desk(plan: Plan, at: Standing) -> bool:
    """Tell whether the data of a desk is restored: then it can be opened without keys."""
    return any(at.states[step.data] is StepState.DONE for step in plan.steps if step.kind == "desk")
