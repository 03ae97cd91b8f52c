"""A run and its people: they confirm, answer for failures, commit or roll back; killed anywhere it ends the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.plan import StepState
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import DamageError, RefusedError
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.steps import Mode, Step
from jbackupd.storage.files import PosixFiles
from tests.unit.continuity.test_run import START, Deeds, DyingFiles, Killed

APPROVED = f'{{ script = "/usr/local/sbin/turn", sha256 = "{"0" * 64}" }}'
PLAN = f"""
version = 1
id = "counter"
title = "x"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "fence"
kind = "fence"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
needs = ["keys", "fence"]
on_failure = "ask"
[[step]]
id = "sure"
kind = "confirm"
question = "is the hall open?"
needs = ["juki"]
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "r.csv"
title = "x"
accounts = ["clerk"]
columns = {{ "宛名番号" = "宛名番号", "氏名" = "氏名" }}
needs = ["juki", "sure"]
[[step]]
id = "turn"
kind = "hook"
do = {APPROVED}
needs = ["desk"]
[[step]]
id = "say"
kind = "notify"
phase = "commit"
text = "the counter is open"
needs = ["turn"]
"""
Says = Callable[[Run, Mapping[str, Any]], Any]


def begun(files: PosixFiles, mode: Mode = "disaster", plan: str = PLAN) -> RunRecord:
    return RunRecord.create(files, Beginning("r1", plan, "d" * 64, START, mode=mode), parse_plan(plan))


def go(record: RunRecord, deeds: Deeds, says: Says, *, again: bool = False) -> bool:
    """Run with a person who is told what is asked."""

    async def both() -> bool:
        talks: set[asyncio.Task[None]] = set()

        async def talk(news: Mapping[str, Any]) -> None:
            try:
                await says(run, news)
            except BaseException:
                # Killed while the person's word was written down: the whole process is.
                going.cancel()
                raise

        def tell(step: str, news: Mapping[str, Any]) -> None:
            if news["event"] == "asks":
                talks.add(asyncio.create_task(talk(news)))

        run = Run(record, deeds, deeds.clock, tell)
        going = asyncio.create_task(run.go(again=again))
        try:
            return await going
        finally:
            await asyncio.gather(*talks)

    return asyncio.run(both())


async def agrees(run: Run, asked: Mapping[str, Any]) -> None:
    match asked["kind"]:
        case "failed":
            await run.answer(asked["step"], "retry", by="mori")
        case "confirm":
            await run.answer(asked["step"], "yes", by="mori")
        case "commit":
            await run.commit(by="abe")


async def turns_back(run: Run, asked: Mapping[str, Any]) -> None:
    if asked["kind"] == "commit":
        await run.roll_back(by="abe", reason="saga is back")
    else:
        await agrees(run, asked)


def test_people_are_asked_and_their_answers_are_in_the_record(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))
    deeds = Deeds(ManualClock(START), failing={"juki"})
    assert go(record, deeds, agrees)
    assert deeds.done.count("juki") == 2 and deeds.done.index("turn") > deeds.done.index("desk")
    document = run_document(record)
    said = [(entry["event"], entry.get("choice"), entry["by"]) for entry in document["timeline"] if "by" in entry]
    assert said == [("answer", "retry", "mori"), ("answer", "yes", "mori"), ("commit", None, "abe")]
    assert document["asks"] == [] and document["committed_at"]


def test_nothing_of_the_commit_begins_before_the_commit(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))
    deeds = Deeds(ManualClock(START))

    async def looks(run: Run, asked: Mapping[str, Any]) -> None:
        if asked["kind"] == "commit":
            assert "turn" not in deeds.done and record.states["desk"] is StepState.DONE
            assert run_document(record)["asks"] == [{"kind": "commit", "step": ""}]
        await agrees(run, asked)

    assert go(record, deeds, looks)


def test_a_no_fails_the_step(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))

    async def refuses(run: Run, asked: Mapping[str, Any]) -> None:
        await run.answer(asked["step"], "no", by="mori")

    assert not go(record, Deeds(ManualClock(START)), refuses)
    assert record.states["sure"] is StepState.FAILED and record.states["desk"] is StepState.SKIPPED


def test_what_is_not_asked_cannot_be_answered(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))

    async def talks_too_much(run: Run, asked: Mapping[str, Any]) -> None:
        if asked["kind"] == "confirm":
            with pytest.raises(RefusedError):
                await run.commit(by="mori")
            with pytest.raises(RefusedError):
                await run.answer("juki", "retry", by="mori")
            with pytest.raises(RefusedError):
                await run.answer("sure", "retry", by="mori")
        await agrees(run, asked)

    assert go(record, Deeds(ManualClock(START)), talks_too_much)


def test_a_rollback_undoes_in_the_opposite_order_and_names_what_stays(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))
    deeds = Deeds(ManualClock(START))
    deeds.stuck = {"desk"}
    assert not go(record, deeds, turns_back)
    assert deeds.undone == ["desk", "sure", "juki", "fence", "keys"]
    document = run_document(record)
    assert document["rollback"] == {
        "at": document["rollback"]["at"], "by": "abe", "reason": "saga is back", "stuck": ["desk"],
    }
    assert document["over"] and not document["proved"]


def test_a_step_may_want_everything_undone(tmp_path: Path) -> None:
    text = PLAN.replace('on_failure = "ask"', 'on_failure = "rollback"')
    record = begun(PosixFiles(str(tmp_path)), plan=text)
    deeds = Deeds(ManualClock(START), failing={"juki"})
    assert not go(record, deeds, agrees)
    assert set(deeds.undone) == {"juki", "fence", "keys"} and record.states["desk"] is StepState.SKIPPED


def test_a_drill_leaves_out_what_reaches_beyond_this_site(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)), "rehearse")
    deeds = Deeds(ManualClock(START))
    assert go(record, deeds, agrees)
    assert sorted(deeds.done) == ["desk", "juki", "keys"]
    assert record.states["fence"] is record.states["turn"] is record.states["say"] is StepState.OMITTED


def test_keys_are_forgotten_before_anybody_is_waited_for(tmp_path: Path) -> None:
    record = begun(PosixFiles(str(tmp_path)))
    deeds = Deeds(ManualClock(START))

    async def looks(run: Run, asked: Mapping[str, Any]) -> None:
        assert deeds.forgotten
        await agrees(run, asked)

    assert go(record, deeds, looks)


class Failing(Deeds):
    """Deeds of which one fails as often as it is tried in a process that has not been asked about it."""

    async def perform(self, step: Step, stopped: Any, tell: Any) -> Mapping[str, Any]:
        if step.id == "juki" and step.id not in self.done:
            self.done.append(step.id)
            raise DamageError("{step} is damaged", step=step.id)
        return await super().perform(step, stopped, tell)


@pytest.mark.parametrize("says", [agrees, turns_back])
@pytest.mark.parametrize("kind", [Deeds, Failing])
def test_killed_at_every_record_it_ends_in_the_same_state(tmp_path: Path, says: Says, kind: type[Deeds]) -> None:
    """Each record of the journal is the last one once; people say the same again."""
    clock = ManualClock(START)
    whole = begun(PosixFiles(str(tmp_path / "whole")))
    go(whole, kind(clock), says)
    died = 0
    for dies_at in range(3, 80):
        folder = tmp_path / str(dies_at)
        try:
            go(begun(DyingFiles(str(folder), dies_at)), kind(clock), says)
        except Killed:
            died += 1
        else:
            break
        reopened = RunRecord.open(PosixFiles(str(folder)), "r1", parse_plan)
        go(reopened, kind(clock), says, again=True)
        assert reopened.states == whole.states
        assert (reopened.proved, reopened.rollback is None) == (whole.proved, whole.rollback is None)
        assert reopened.ended_at is not None
    assert died >= len(whole.events)
