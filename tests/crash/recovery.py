"""Scenario: a recovery run of four steps, resumed by whoever finds it interrupted."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jbackupd.catalog.database import Catalog
from jbackupd.continuity.plan import StepState
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.continuity.run import Run
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import NoSpaceError, NotFoundError, StorageError
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.steps import Step
from jbackupd.storage.durable import write_durably
from tests.crash.local_backup import START
from tests.crash.memory import MemoryFiles
from tests.crash.states import Key

RUN = "20261123-0100-flood"
PLAN = """
version = 1
id = "flood"
title = "look-up"
tenant = "imari"
home = "saga"

[[step]]
id = "keys"
kind = "unlock"

[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
tier = 1
needs = ["keys"]

[[step]]
id = "office"
kind = "restore"
dataset = "imari/office"
needs = ["keys"]

[[step]]
id = "zei"
kind = "restore"
dataset = "imari/zei"
needs = ["juki"]
"""
RESTORES = ("juki", "office", "zei")


@dataclass(frozen=True)
class Doing:
    """A step's deed has begun: whatever happens, the journal knows that it was meant to."""

    step: str


@dataclass(frozen=True)
class Done:
    """Somebody was told that a step is done."""

    step: str


class Deeds:
    """Steps that write one file."""

    def __init__(self, files: MemoryFiles) -> None:
        self._files = files
        self.done: list[str] = []

    async def perform(self, step: Step, stopped: threading.Event, tell: Callable[[Mapping[str, Any]], None]) -> (
        Mapping[str, Any]
    ):
        self._files.mark(Doing(step.id))
        self.done.append(step.id)
        if step.id in RESTORES:
            write_durably(self._files, f"restored/{step.id}", step.id.encode(), temporary=f"restored/{step.id}.new")
        return {"files": 1}

    async def undo(self, step: Step) -> None:
        raise AssertionError("nothing is undone here")

    async def forget(self) -> None:
        pass


class Recovery:
    """Runs the plan to its end, from wherever it stopped."""

    name = "recovery"
    uses_catalog = False
    in_order = True

    def prepare(self) -> Key:
        return (("restored", None),)

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files)

    def _work(self, files: MemoryFiles) -> list[str]:
        """Begin or resume; return which deeds were done now."""
        try:
            record = RunRecord.open(files, RUN, parse_plan)
            resumed = True
        except NotFoundError:
            plan = parse_plan(PLAN)
            record = RunRecord.create(files, Beginning(RUN, PLAN, "", START), plan)
            resumed = False
        deeds = Deeds(files)

        def tell(step: str, news: Mapping[str, Any]) -> None:
            if news.get("event") == "finish":
                files.mark(Done(step))

        run = Run(record, deeds, ManualClock(START), tell)
        if not asyncio.run(run.go(again=resumed)):
            codes = {step.detail["error"]["code"] for step in record.steps.values() if "error" in step.detail}
            raise NoSpaceError("a step failed") if codes == {"no-space"} else StorageError("a step failed")
        return deeds.done

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        done = {fact.step for fact in facts if isinstance(fact, Done)}
        doing = {fact.step for fact in facts if isinstance(fact, Doing)}
        if doing:
            record = RunRecord.open(files, RUN, parse_plan)
            assert all(record.steps[step].attempts for step in doing), "a deed was begun that the journal knows not of"
            assert all(record.states[step] is StepState.DONE for step in done), "a step that was done no longer is"
        repeated = set(self._work(files)) & done & set(RESTORES)
        assert not repeated, f"restored once more, though done: {repeated}"
        record = RunRecord.open(files, RUN, parse_plan)
        assert set(record.states.values()) == {StepState.DONE}
        assert record.proved
        assert [files.read(f"restored/{step}") for step in RESTORES] == [step.encode() for step in RESTORES]

    def essence(self, key: Key) -> object:
        return tuple((path, b"" if path.endswith(".new") else data) for path, data in key)
