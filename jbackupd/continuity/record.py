"""The record of a recovery run: a journal whose fold is the run's state. Secrets are never in it.

Each record is a JSON object with `event` and `at` (RFC 3339, UTC):

    begin     run, plan (the plan's text), plan_digest, lost_at, declared_at, declaration
    resume    nothing more
    step      step, do (a StepEvent), detail (of the outcome: counts, error) where there is one
    end       proved
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from jbackupd.continuity.plan import STEP_MACHINE, StepEvent, StepState
from jbackupd.model.errors import FormatError, InvariantError, NotFoundError
from jbackupd.settings.plan import Plan
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

FOLDER = "recovery"


@dataclass(slots=True)
class StepRecord:
    """What is known of a step."""

    state: StepState = StepState.PENDING
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run began with.

    Attributes:
        plan_text: The plan as it was.
        lost_at: When the home site was lost, as far as known; RPO counts from here.
        declared_at: When the loss was declared; RTO counts from here, where it is known.
        declaration: Id of the declaration in force.
    """

    run: str
    plan_text: str
    plan_digest: str
    begun_at: datetime
    lost_at: datetime | None = None
    declared_at: datetime | None = None
    declaration: str = ""


class RunRecord:
    """One run, as its journal tells it; use `create` or `open`."""

    def __init__(self, journal: Journal, beginning: Beginning, plan: Plan) -> None:
        self._journal = journal
        self.beginning = beginning
        self.plan = plan
        self.steps = {step.id: StepRecord() for step in plan.steps}
        self.resumed_at: list[datetime] = []
        self.ended_at: datetime | None = None
        self.proved = False
        for raw in journal.records[1:]:
            self._fold(_decode(raw))

    @classmethod
    def create(cls, files: Files, beginning: Beginning, plan: Plan) -> RunRecord:
        """Begin a run's journal; it is durable when this returns."""
        folder = run_folder(beginning.run)
        files.make_folder(folder)
        journal = Journal.open(files, posixpath.join(folder, "journal"))
        if journal.records:
            raise InvariantError("two runs have one name")
        journal.append(msgspec.json.encode({
            "event": "begin", "at": beginning.begun_at, "run": beginning.run, "plan": beginning.plan_text,
            "plan_digest": beginning.plan_digest, "lost_at": beginning.lost_at,
            "declared_at": beginning.declared_at, "declaration": beginning.declaration,
        }))
        return cls(journal, beginning, plan)

    @classmethod
    def open(cls, files: Files, run: str, parse: Any) -> RunRecord:
        """Read a run's journal; only whoever holds the state folder's lock may append to it.

        Args:
            parse: Makes a plan of its text.

        Raises:
            NotFoundError: There is no such run.
            DamageError: The journal is damaged.
        """
        path = posixpath.join(run_folder(run), "journal")
        if not files.exists(path):
            raise NotFoundError("there is no recovery run {run}", "see 'jbackupd recovery history'", run=run)
        journal = Journal.open(files, path)
        if not journal.records:
            raise NotFoundError("the recovery run {run} did not begin", "run the plan again", run=run)
        first = _decode(journal.records[0])
        beginning = Beginning(
            first["run"], first["plan"], first["plan_digest"], _moment(first["at"]), _moment_or_none(first["lost_at"]),
            _moment_or_none(first["declared_at"]), first["declaration"],
        )
        return cls(journal, beginning, parse(beginning.plan_text))

    @property
    def states(self) -> dict[str, StepState]:
        """The state of every step."""
        return {name: step.state for name, step in self.steps.items()}

    def note_step(self, step: str, event: StepEvent, at: datetime, detail: Mapping[str, Any] | None = None) -> None:
        """Note what happens to a step; durable before this returns, and only then true."""
        STEP_MACHINE.next(self.steps[step].state, event)
        self._note({"event": "step", "at": at, "step": step, "do": event.value, "detail": dict(detail or {})})

    def note_resume(self, at: datetime) -> None:
        """Note that a person has resumed the run."""
        self._note({"event": "resume", "at": at})

    def note_end(self, at: datetime, *, proved: bool) -> None:
        """Note that nothing more will begin."""
        self._note({"event": "end", "at": at, "proved": proved})

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _note(self, record: dict[str, Any]) -> None:
        raw = msgspec.json.encode(record)
        self._journal.append(raw)
        self._fold(_decode(raw))

    def _fold(self, record: dict[str, Any]) -> None:
        at = _moment(record["at"])
        match record["event"]:
            case "step":
                self._fold_step(self.steps[record["step"]], StepEvent(record["do"]), at, record["detail"])
            case "resume":
                self.resumed_at.append(at)
                self.ended_at = None
            case "end":
                self.ended_at, self.proved = at, record["proved"]
            case _:
                raise FormatError("a recovery run's journal holds an unknown record")

    @staticmethod
    def _fold_step(step: StepRecord, event: StepEvent, at: datetime, detail: Mapping[str, Any]) -> None:
        step.state = STEP_MACHINE.next(step.state, event)
        if event is StepEvent.BEGIN:
            step.begun_at, step.ended_at, step.attempts = at, None, step.attempts + 1
        elif event is not StepEvent.AGAIN:
            step.ended_at = at
        if event is not StepEvent.BEGIN:
            step.detail = detail


def run_folder(run: str) -> str:
    """Return a run's folder in the state folder."""
    return posixpath.join(FOLDER, run)


def run_names(files: Files) -> list[str]:
    """Return all runs, oldest first: their names begin with the time."""
    return files.names(FOLDER) if files.exists(FOLDER) else []


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("a recovery run's journal holds a malformed record") from error
    if not isinstance(record, dict):
        raise FormatError("a recovery run's journal holds a malformed record")
    return record


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)
