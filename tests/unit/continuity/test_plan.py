"""Plans: every mistake is named with its line; steps begin in the right order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.continuity.plan import (
    STEP_MACHINE,
    StepEvent,
    StepState,
    can_open_desk,
    is_over,
    is_proved,
    needs_keys,
    ready_steps,
    skipped_steps,
    steps_to_repeat,
)
from jbackupd.model.errors import ConfigError
from jbackupd.settings.plan import Plan, load_plan, parse_plan

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


def states(**given_states: StepState) -> dict[str, StepState]:
    return {step.id: given_states.get(step.id.replace("-", "_"), StepState.PENDING) for step in plan().steps}


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
    texts = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        texts.append(
            f'[[step]]\nid = "s{number}"\nkind = "restore"\ndataset = "imari/d{number}"\n'
            f'tier = {draw(st.integers(1, 5))}\nneeds = {[f"s{need}" for need in needs]}\n'
            f'on_failure = "{draw(st.sampled_from(["halt", "continue"]))}"\n'
        )
    return parse_plan(HEAD + "".join(draw(st.permutations(texts))))


@given(plans())
def test_steps_that_all_succeed_are_done_by_needs_and_then_by_tier(made: Plan) -> None:
    now = {step.id: StepState.PENDING for step in made.steps}
    while ready := ready_steps(made, now):
        assert [step.tier for step in ready] == sorted(step.tier for step in ready)
        waiting = [step for step in made.steps if now[step.id] is StepState.PENDING]
        free = [step for step in waiting if all(now[need] is StepState.DONE for need in step.needs)]
        assert ready[0].tier == min(step.tier for step in free)
        now[ready[0].id] = StepState.DONE
    assert is_proved(made, now) and is_over(made, now)


@given(plans(), st.data())
def test_a_resumed_run_can_reach_its_end_from_wherever_it_stopped(made: Plan, data: st.DataObject) -> None:
    now = {step.id: StepState.PENDING for step in made.steps}
    for _round in range(data.draw(st.integers(0, 8))):
        for step in skipped_steps(made, now):
            now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.SKIP)
        for step in ready_steps(made, now)[:2]:
            now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.BEGIN)
            event = data.draw(st.sampled_from([StepEvent.FINISH, StepEvent.FAIL, None]))
            now[step.id] = STEP_MACHINE.next(now[step.id], event) if event else now[step.id]
    done = {name for name, state in now.items() if state is StepState.DONE}
    for step in steps_to_repeat(made, now):
        now[step.id] = STEP_MACHINE.next(now[step.id], StepEvent.AGAIN)
    assert all(now[name] is StepState.DONE for name in done), "what was restored stays"
    while ready := ready_steps(made, now):
        now[ready[0].id] = StepState.DONE
    assert is_proved(made, now)


@given(st.data())
def test_every_run_ends_and_no_step_begins_before_its_needs(data: st.DataObject) -> None:
    now = states()
    begun: list[str] = []
    wanted = plan()
    while not is_over(wanted, now):
        for step in skipped_steps(wanted, now):
            now[step.id] = StepState.SKIPPED
        ready = ready_steps(wanted, now)
        if not ready:
            continue
        step = data.draw(st.sampled_from(ready))
        assert all(now[need] is StepState.DONE for need in step.needs)
        begun.append(step.id)
        now[step.id] = data.draw(st.sampled_from([StepState.DONE, StepState.FAILED]))
    assert len(begun) == len(set(begun))
    assert StepState.RUNNING not in now.values()
