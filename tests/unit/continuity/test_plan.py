"""Plans: every mistake is named with its line; steps begin in the right order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.continuity.plan import (
    STEP_MACHINE,
    STEPS_AT_ONCE,
    Standing,
    StepEvent,
    StepState,
    awaits_commit,
    can_open_desk,
    is_over,
    is_proved,
    may_commit_itself,
    must_undo,
    needs_keys,
    next_step,
    next_to_undo,
    open_questions,
    ready_steps,
    skipped_steps,
    steps_to_repeat,
    urgency,
)
from jbackupd.model.errors import ConfigError
from jbackupd.settings.plan import Plan, load_plan, parse_plan
from jbackupd.settings.steps import OnFailure

HEAD = 'version = 1\nid = "counter"\ntitle = "窓口"\ntenant = "imari"\nhome = "saga"\n'
STEPS = """
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
needs = ["keys"]
tier = 1
[[step]]
id = "office"
kind = "restore"
dataset = "imari/office"
needs = ["keys"]
on_failure = "continue"
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "residents.csv"
title = "伊万里市"
accounts = ["madoguchi"]
needs = ["juki"]
[step.columns]
"宛名番号" = "宛名番号"
"氏名" = "氏名"
[[step]]
id = "look-up"
kind = "check"
desk = "desk"
needs = ["desk"]
"""


def plan() -> Plan:
    return parse_plan(HEAD + STEPS)


def refused(tmp_path: Path, text: str) -> str:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_plan(str(tmp_path / "plan.toml"))
    return str(caught.value)


def test_a_good_plan_is_read(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(HEAD + STEPS)
    loaded = load_plan(str(tmp_path / "plan.toml"))
    assert loaded == plan()
    assert [step.id for step in loaded.steps] == ["keys", "juki", "office", "desk", "look-up"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('needs = ["juki"]', 'needs = ["jukki"]', "jukki"),
        ('data = "juki"', 'data = "keys"', "there is no such step: 'keys'"),
        ('kind = "unlock"', 'kind = "unlok"', "unlok"),
        ('kind = "unlock"\n', "", "write kind = and one of the words in docs/operating/recovery.md"),
        ('title = "伊万里市"\n', "", "is missing (docs/operating/recovery.md says what it may be)"),
        ('dataset = "imari/juki"', 'dataset = "karatsu/juki"', "another tenant"),
        ('id = "keys"\nkind = "unlock"', 'id = "keys"\nkind = "unlock"\nneeds = ["look-up"]', "in a circle"),
        ('on_failure = "continue"', 'on_failuer = "continue"', "on_failure"),
        ('needs = ["desk"]', "", "does not name 'desk'"),
        ('id = "office"', 'id = "juki"', "names two steps"),
        ('title = "伊万里市"', 'title = "伊万里市"\ncertificate = "desk.pem"', "is not a whole path"),
        ('kind = "check"\ndesk = "desk"', 'kind = "inspect"\ndata = "desk"', "there is no such step: 'desk'"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in STEPS
    message = refused(tmp_path, HEAD + STEPS.replace(before, after))
    assert said in message
    assert "plan.toml:" in message


def states(**given_states: StepState) -> Standing:
    return Standing({
        step.id: given_states.get(step.id.replace("-", "_"), StepState.PENDING) for step in plan().steps
    })


def test_steps_begin_when_their_needs_are_done_the_most_urgent_first() -> None:
    assert [s.id for s in ready_steps(plan(), states())] == ["keys"]
    done = StepState.DONE
    assert [s.id for s in ready_steps(plan(), states(keys=done))] == ["juki", "office"]


def test_a_failure_halts_or_leaves_out_what_needs_it() -> None:
    done, failed = StepState.DONE, StepState.FAILED
    halted = states(keys=done, juki=failed)
    assert ready_steps(plan(), halted) == []
    assert [s.id for s in skipped_steps(plan(), halted)] == ["desk"]
    continued = states(keys=done, office=failed)
    assert [s.id for s in ready_steps(plan(), continued)] == ["juki"]


def test_a_resumed_run_repeats_what_a_restart_has_lost() -> None:
    done, failed = StepState.DONE, StepState.FAILED
    finished = states(keys=done, juki=done, office=done, desk=done, look_up=done)
    assert [s.id for s in steps_to_repeat(plan(), finished)] == ["desk", "look-up"]
    midway = states(keys=done, juki=StepState.RUNNING)
    assert [s.id for s in steps_to_repeat(plan(), midway)] == ["keys", "juki"]
    broken = states(keys=done, juki=done, office=failed, desk=done, look_up=done)
    assert [s.id for s in steps_to_repeat(plan(), broken)] == ["keys", "office", "desk", "look-up"]


def test_without_shares_only_what_needs_no_keys_is_repeated() -> None:
    done, failed, running = StepState.DONE, StepState.FAILED, StepState.RUNNING
    served = states(keys=done, juki=done, office=failed, desk=done, look_up=done)
    assert [s.id for s in steps_to_repeat(plan(), served, keys=False)] == ["desk", "look-up"]
    assert can_open_desk(plan(), served) and needs_keys(plan(), served)
    killed = states(keys=done, juki=done, office=running)
    assert [s.id for s in steps_to_repeat(plan(), killed, keys=False)] == ["office"]
    assert not can_open_desk(plan(), states(keys=done, juki=running))
    finished = states(keys=done, juki=done, office=done, desk=done, look_up=done)
    assert not needs_keys(plan(), finished)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of up to eight steps, each needing some of those before it, in any order in the file."""
    count = draw(st.integers(1, 8))
    late = draw(st.integers(1, 8))
    texts = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        texts.append(
            f'[[step]]\nid = "s{number}"\nkind = "restore"\ndataset = "imari/d{number}"\n'
            f'tier = {draw(st.integers(1, 5))}\nneeds = {[f"s{need}" for need in needs]}\n'
            f'on_failure = "{draw(st.sampled_from(["halt", "continue", "ask", "rollback"]))}"\n'
            f'phase = "{"commit" if number >= late else "prepare"}"\n'
        )
    return parse_plan(HEAD + "".join(draw(st.permutations(texts))))


@given(plans())
def test_steps_that_all_succeed_are_done_by_needs_and_then_by_urgency(made: Plan) -> None:
    now = {step.id: StepState.PENDING for step in made.steps}
    urgent = urgency(made)
    while ready := ready_steps(made, Standing(now, committed=True)):
        assert [urgent[step.id] for step in ready] == sorted(urgent[step.id] for step in ready)
        assert all(now[need] is StepState.DONE for need in ready[0].needs)
        # Nothing that is still to come is more urgent than what is done now: it would have lent its urgency.
        assert urgent[ready[0].id] == min(urgent[name] for name, state in now.items() if state is StepState.PENDING)
        now[ready[0].id] = StepState.DONE
    assert is_proved(made, Standing(now)) and is_over(made, Standing(now, committed=True))


@given(plans(), st.data())
def test_nothing_less_urgent_works_beside_something_more_urgent(made: Plan, data: st.DataObject) -> None:
    now = {step.id: StepState.PENDING for step in made.steps}
    urgent = urgency(made)
    while True:
        while (step := next_step(made, Standing(now, committed=True))) is not None:
            running = [name for name, state in now.items() if state is StepState.RUNNING]
            assert all(urgent[name] >= urgent[step.id] for name in running)
            now[step.id] = StepState.RUNNING
        running = [name for name, state in now.items() if state is StepState.RUNNING]
        if not running:
            break
        assert sum(urgent[name] == min(map(urgent.get, running)) for name in running) <= STEPS_AT_ONCE  # type: ignore[type-var]
        now[data.draw(st.sampled_from(running))] = StepState.DONE
    assert is_proved(made, Standing(now))


@given(plans(), st.data())
def test_a_resumed_run_can_reach_its_end_from_wherever_it_stopped(made: Plan, data: st.DataObject) -> None:
    now = {step.id: StepState.PENDING for step in made.steps}
    for _round in range(data.draw(st.integers(0, 8))):
        for step in skipped_steps(made, Standing(now)):
            now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.SKIP)
        for step in ready_steps(made, Standing(now, committed=True))[:2]:
            now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.BEGIN)
            event = data.draw(st.sampled_from([StepEvent.FINISH, StepEvent.FAIL, None]))
            now[step.id] = STEP_MACHINE.next(now[step.id], event) if event else now[step.id]
    done = {name for name, state in now.items() if state is StepState.DONE}
    for step in steps_to_repeat(made, Standing(now)):
        now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.AGAIN)
    assert all(now[name] is StepState.DONE for name in done), "what was restored stays"
    while ready := ready_steps(made, Standing(now, committed=True)):
        now[ready[0].id] = StepState.DONE
    assert is_proved(made, Standing(now))


@given(plans(), st.data())
def test_every_run_ends_whatever_fails_and_whatever_people_say(made: Plan, data: st.DataObject) -> None:
    """Steps of all four rules; people answer at some time, and commit at some time."""
    record = Record({step.id: StepState.PENDING for step in made.steps})
    for _round in range(200):
        now = record.standing()
        if is_over(made, now):
            break
        record.do(made, data.draw(st.sampled_from(moves(made, now))))
    else:
        raise AssertionError("it never ended")
    states_left = set(record.states.values())
    assert StepState.RUNNING not in states_left and StepState.UNDOING not in states_left
    if record.undoing:
        assert StepState.DONE not in states_left and StepState.FAILED not in states_left


@dataclass
class Record:
    """What a run's journal would hold, in memory."""

    states: dict[str, StepState]
    answers: dict[str, OnFailure] = field(default_factory=dict)
    committed: bool = False
    undoing: bool = False
    retries: int = 0

    def standing(self) -> Standing:
        return Standing(self.states, self.answers, self.committed, self.undoing)

    def turn(self, step: str, event: StepEvent) -> None:
        self.states[step] = STEP_MACHINE.next(self.states[step], event)

    def do(self, made: Plan, move: tuple[str, str]) -> None:
        what, step = move
        match what:
            case "undo all":
                self.undoing = True
            case "commit":
                self.committed = True
            case "retry":
                self.retries += 1
                self.answers.pop(step, None)
                self.turn(step, StepEvent.AGAIN)
            case "answer continue" | "answer halt" | "answer rollback":
                self.answers[step] = what.split()[1]  # type: ignore[assignment]
            case "begin":
                assert all(self.states[need] is StepState.DONE for need in made.step(step).needs)
                assert made.step(step).phase == "prepare" or self.committed
                self.turn(step, StepEvent.BEGIN)
            case "undo":
                later = [other.id for other in made.steps if step in other.needs]
                assert all(self.states[other] not in (StepState.DONE, StepState.RUNNING) for other in later)
                self.turn(step, StepEvent.UNDO)
            case _:
                self.turn(step, StepEvent(what))


def moves(made: Plan, now: Standing) -> list[tuple[str, str]]:
    """Return everything that may happen now; it is an error if that is nothing."""
    running = [name for name, state in now.states.items() if state is StepState.RUNNING]
    undoing = [name for name, state in now.states.items() if state is StepState.UNDOING]
    if undoing:
        return [(event, name) for name in undoing for event in ("undone", "stick")]
    if (undone := next_to_undo(made, now)) is not None:
        return [("undo", undone.id)]
    if must_undo(made, now):
        return [("undo all", "")]
    if skipped := skipped_steps(made, now):
        return [("skip", step.id) for step in skipped]
    found = [(event, name) for name in running for event in ("finish", "fail")]
    if (step := next_step(made, now)) is not None:
        found.append(("begin", step.id))
    for asked in open_questions(made, now):
        found += [(what, asked.id) for what in ("retry", "answer continue", "answer halt", "answer rollback")]
    if awaits_commit(made, now):
        found += [("commit", ""), ("undo all", "")]
    assert found, "it waits for nobody and nothing"
    return found


def test_the_commit_waits_for_people_unless_the_plan_says_otherwise() -> None:
    done = StepState.DONE
    hooked = STEPS + """
[[step]]
id = "turn"
kind = "hook"
needs = ["look-up"]
do = { script = "/usr/local/sbin/turn", sha256 = "%s" }
""" % ("0" * 64)
    asks, auto = parse_plan(HEAD + hooked), parse_plan(HEAD + 'commit = "auto"\n' + hooked)
    up = {"keys": done, "juki": done, "office": done, "desk": done, "look-up": done, "turn": StepState.PENDING}
    assert awaits_commit(asks, Standing(up)) and not may_commit_itself(asks, Standing(up))
    assert not is_over(asks, Standing(up)) and next_step(asks, Standing(up)) is None
    assert may_commit_itself(auto, Standing(up))
    # Something essential is missing: the plan's own yes does not cover that.
    gap = up | {"office": StepState.FAILED}
    assert awaits_commit(auto, Standing(gap)) and not may_commit_itself(auto, Standing(gap))
    assert [s.id for s in ready_steps(asks, Standing(up, committed=True))] == ["turn"]


def test_what_waits_for_a_person_keeps_nobody_from_working() -> None:
    text = HEAD + STEPS.replace('id = "desk"', 'id = "sure"\nkind = "confirm"\nquestion = "?"\ntier = 1\n'
                                'needs = ["juki"]\n[[step]]\nid = "desk"')
    made = parse_plan(text)
    now = {step.id: StepState.PENDING for step in made.steps}
    now |= {"keys": StepState.DONE, "juki": StepState.DONE, "sure": StepState.RUNNING}
    found = next_step(made, Standing(now))
    assert found is not None and found.id in ("office", "desk")
