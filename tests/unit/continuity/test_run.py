"""A run: intent, deed, outcome; killed at any of its journal's records and resumed, it ends the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.plan import StepState
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import DamageError, NotFoundError
from jbackupd.settings.plan import Plan, Step, parse_plan
from jbackupd.storage.files import Handle, PosixFiles

START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
PLAN = """
version = 1
id = "counter"
title = "x"
tenant = "imari"
home = "saga"
[[step]]
id = "keys"
kind = "unlock"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
needs = ["keys"]
[[step]]
id = "office"
kind = "restore"
dataset = "imari/office"
needs = ["keys"]
on_failure = "continue"
timeout = "1s"
[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = "r.csv"
title = "x"
accounts = ["clerk"]
columns = { "宛名番号" = "宛名番号", "氏名" = "氏名" }
needs = ["juki"]
[[step]]
id = "look-up"
kind = "check"
desk = "desk"
needs = ["desk"]
"""


class Killed(BaseException):
    """What kill -9 is to a process."""


class Deeds:
    """Actions that count what they did; `failing` steps fail once."""

    def __init__(self, clock: ManualClock, failing: set[str] | None = None, slow: str = "") -> None:
        self.done: list[str] = []
        self.clock = clock
        self.failing = failing or set()
        self.slow = slow

    async def perform(
        self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        self.done.append(step.id)
        self.clock.advance(10)
        if step.id in self.failing:
            self.failing.remove(step.id)
            raise DamageError("{step} is damaged", step=step.id)
        if step.id == self.slow:
            assert await asyncio.to_thread(stopped.wait, 60)
        if step.kind == "restore":
            return {"as_of": (START - timedelta(hours=5)).isoformat()}
        return {}


class DyingFiles(PosixFiles):
    """A file system whose process is killed before its nth sync, counted from 1."""

    def __init__(self, root: str, dies_at: int) -> None:
        super().__init__(root)
        self.left = dies_at

    def append(self, path: str) -> Handle:
        handle, files = super().append(path), self

        class Dying:
            def write(self, data: bytes | memoryview) -> None:
                if files.left <= 0:
                    raise Killed
                handle.write(data)

            def sync(self) -> None:
                files.left -= 1
                if files.left <= 0:
                    raise Killed
                handle.sync()

            def close(self) -> None:
                handle.close()

        return Dying()


def begin(files: PosixFiles, plan: Plan | None = None) -> RunRecord:
    beginning = Beginning("r1", PLAN, "d" * 64, START, START - timedelta(hours=1), START - timedelta(minutes=5), "decl")
    return RunRecord.create(files, beginning, plan or parse_plan(PLAN))


def go(record: RunRecord, deeds: Deeds, *, again: bool = False) -> bool:
    return asyncio.run(Run(record, deeds, deeds.clock).go(again=again))


def test_a_run_does_every_step_once_and_tells_what_it_reached(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    deeds = Deeds(ManualClock(START))
    assert go(record, deeds)
    assert sorted(deeds.done) == ["desk", "juki", "keys", "look-up", "office"]
    assert deeds.done.index("keys") == 0 and deeds.done.index("desk") > deeds.done.index("juki")
    document = run_document(record)
    assert document["proved"] and document["over"]
    assert document["rpo_seconds"] == 4 * 3600
    assert document["rto_seconds"] == 3600 + 50
    assert document["decision_seconds"] == 3600


def test_killed_before_any_record_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    died = 0
    for dies_at in range(3, 40):
        folder = tmp_path / str(dies_at)
        clock = ManualClock(START)
        try:
            record = begin(DyingFiles(str(folder), dies_at))
            proved = go(record, Deeds(clock))
        except Killed:
            died += 1
        else:
            assert proved
            break
        reopened = RunRecord.open(PosixFiles(str(folder)), "r1", parse_plan)
        assert StepState.DONE not in reopened.states.values() or reopened.steps["keys"].begun_at is not None
        assert go(reopened, Deeds(clock), again=True)
        assert set(reopened.states.values()) == {StepState.DONE}
        assert run_document(reopened)["resumed_at"]
    assert died >= 10


def test_a_failed_step_is_noted_with_its_error_and_can_be_resumed(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    clock = ManualClock(START)
    assert not go(record, Deeds(clock, failing={"juki"}))
    assert record.states["juki"] is StepState.FAILED
    assert record.states["desk"] is StepState.SKIPPED
    assert record.steps["juki"].detail["error"]["code"] == "damage"
    assert not run_document(record)["proved"]
    record.close()
    reopened = RunRecord.open(PosixFiles(str(tmp_path)), "r1", parse_plan)
    deeds = Deeds(clock)
    assert go(reopened, deeds, again=True)
    assert "juki" in deeds.done and reopened.steps["juki"].attempts == 2


def test_a_step_that_takes_too_long_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    assert not go(record, Deeds(ManualClock(START), slow="office"))
    assert record.states["office"] is StepState.FAILED
    assert "took longer" in record.steps["office"].detail["error"]["message"]
    assert record.states["look-up"] is StepState.DONE


def test_a_finished_run_opens_its_desk_again_without_keys(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    clock = ManualClock(START)
    assert go(record, Deeds(clock))
    record.close()
    deeds = Deeds(clock)
    assert go(RunRecord.open(PosixFiles(str(tmp_path)), "r1", parse_plan), deeds, again=True)
    assert deeds.done == ["desk", "look-up"]


def test_an_unknown_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        RunRecord.open(PosixFiles(str(tmp_path)), "nothing", parse_plan)
