"""A run: intent, deed, outcome; killed at any of its journal's records and resumed, it ends the same."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.plan import StepEvent, StepState
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import Run, failure
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import DamageError, FormatError, InvariantError, NoSpaceError, NotFoundError
from jbackupd.settings.plan import Plan, parse_plan
from jbackupd.settings.steps import Step
from jbackupd.storage.files import Handle, PosixFiles
from jbackupd.storage.journal import Journal

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
        self.undone: list[str] = []
        self.stuck: set[str] = set()
        self.forgotten = False

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

    async def undo(self, step: Step) -> None:
        self.undone.append(step.id)
        if step.id in self.stuck:
            self.stuck.remove(step.id)
            raise DamageError("{step} stays", step=step.id)

    async def forget(self) -> None:
        self.forgotten = True


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


class Waiting(Deeds):
    """Deeds that wait for a peer that never answers."""

    async def perform(
        self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        if step.id == "office":
            await asyncio.Event().wait()
        return await super().perform(step, stopped, tell)


def test_a_time_out_ends_what_waits_for_a_peer(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    assert not go(record, Waiting(ManualClock(START)))
    assert record.steps["office"].detail["error"]["code"] == "try-later"
    assert record.states["look-up"] is StepState.DONE


class Defective(Deeds):
    """Deeds of which one has a defect of ours."""

    async def perform(
        self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        if step.id == "office":
            raise ZeroDivisionError("oops")
        return await super().perform(step, stopped, tell)


def test_a_defect_fails_its_step_and_leaves_the_town_the_others(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    heard: list[str] = []
    deeds = Defective(ManualClock(START))
    run = Run(record, deeds, deeds.clock, defect=lambda where, error: heard.append(f"{where}: {error}"))
    assert not asyncio.run(run.go())
    assert record.steps["office"].detail["error"]["code"] == "defect"
    assert record.states["look-up"] is StepState.DONE
    assert heard == ["step office: oops"]


def test_names_in_any_encoding_can_be_noted(tmp_path: Path) -> None:
    record = begin(PosixFiles(str(tmp_path)))
    name = "文書".encode("cp932").decode("utf-8", "surrogateescape")
    record.note_step("keys", StepEvent.BEGIN, START)
    record.note_step("keys", StepEvent.FAIL, START, failure(NotFoundError("unable to read {path}", path=name)))
    assert "\\udc95" in record.steps["keys"].detail["error"]["message"]


def test_a_step_is_noted_only_where_the_machine_allows_it(tmp_path: Path) -> None:
    files = PosixFiles(str(tmp_path))
    record = begin(files)
    with pytest.raises(InvariantError):
        record.note_step("keys", StepEvent.FINISH, START)
    record.close()
    for number, wrong in enumerate((
        b'{"event":"step","at":"2026-11-23T01:00:00Z","step":"keys","do":"finish","detail":{}}',
        b'{"event":"step","at":"2026-11-23T01:00:00Z","step":"nothing","do":"begin","detail":{}}',
        b'{"event":"party","at":"2026-11-23T01:00:00Z"}',
        b"\xff",
    )):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "recovery", folder / "recovery")
        journal = Journal.open(PosixFiles(str(folder)), "recovery/r1/journal")
        journal.append(wrong)
        journal.close()
        with pytest.raises(FormatError):
            RunRecord.open(PosixFiles(str(folder)), "r1", parse_plan)


def test_a_full_disk_stops_the_run_where_the_journal_says(tmp_path: Path) -> None:
    class Full(PosixFiles):
        writes = 4

        def append(self, path: str) -> Handle:
            handle, files = super().append(path), self

            class Filling:
                def write(self, data: bytes | memoryview) -> None:
                    files.writes -= 1
                    if files.writes < 0:
                        raise NoSpaceError("the disk is full")
                    handle.write(data)

                def sync(self) -> None:
                    handle.sync()

                def close(self) -> None:
                    handle.close()

            return Filling()

    clock = ManualClock(START)
    with pytest.raises(NoSpaceError):
        go(begin(Full(str(tmp_path))), Deeds(clock))
    reopened = RunRecord.open(PosixFiles(str(tmp_path)), "r1", parse_plan)
    assert reopened.ended_at is None
    assert go(reopened, Deeds(clock), again=True)


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
