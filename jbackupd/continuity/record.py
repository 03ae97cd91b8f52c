"""The record of a recovery run: a journal whose fold is the run's state. Secrets are never in it.

Each record is a JSON object, see docs/format/run-journal.md:

    begin     at, version, run, plan (its text), plan_digest, lost_at, declared_at, declaration, mode, by,
              suspected_at, approved_at
    resume    at
    step      at, step, do (a StepEvent), detail (of the outcome: counts, error)
    answer    at, step, choice, by              what a person said to a step's question
    commit    at, by                            the steps of the phase commit may begin
    rollback  at, by, reason                    everything is undone; nothing else happens any more
    end       at, proved
    clean     at                                what the run laid out is to be removed; it is never resumed
    cleaned   at, files, bytes                  it is removed
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from jbackupd.continuity.plan import STEP_MACHINE, Standing, StepEvent, StepState
from jbackupd.model.errors import FormatError, InvariantError, NotFoundError
from jbackupd.settings.plan import Plan
from jbackupd.settings.steps import Mode, OnFailure
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

FOLDER = "recovery"


class Beginning(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="begin",
    rename={"plan_text": "plan", "begun_at": "at"},
):
    """What a run began with.

    Attributes:
        plan_text: The plan as it was.
        plan_digest: Hex SHA-256 of that text.
        lost_at: When the home site was lost, as far as known; RPO and RTO count from here.
        declared_at: When the loss was declared; they count from here, where the loss is not known.
        declaration: Id of the declaration in force.
        mode: Why it is run.
        by: Who began it, as far as the program knows.
        suspected_at: When people first noted that something is wrong with the home site.
        approved_at: When the declaration came into force here.
    """

    run: str
    plan_text: str
    plan_digest: str
    begun_at: datetime
    lost_at: datetime | None = None
    declared_at: datetime | None = None
    declaration: str = ""
    mode: Mode = "disaster"
    by: str = ""
    suspected_at: datetime | None = None
    approved_at: datetime | None = None
    version: Literal[1] = 1


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="resume"):
    """A person lets it go on."""

    at: datetime


class StepNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="step"):
    """Something happens to a step."""

    at: datetime
    step: str
    do: StepEvent
    detail: dict[str, Any] = {}


Choice = Literal["retry", "continue", "halt", "rollback", "yes", "no"]
"""What a person may say: the first four to a step that failed, the others to one that asks."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="answer"):
    """A person has answered a step's question."""

    at: datetime
    step: str
    choice: Choice
    by: str


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="commit"):
    """Somebody has looked at what was prepared: its last phase may begin. `by` is empty if the plan says so itself."""

    at: datetime
    by: str


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="rollback"):
    """Everything is to be undone; it is never resumed."""

    at: datetime
    by: str
    reason: str


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="end"):
    """Nothing more will begin."""

    at: datetime
    proved: bool


class Clean(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="clean"):
    """A person lets everything be removed that the run laid out; from here on it is never resumed."""

    at: datetime


class Cleaned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="cleaned"):
    """It is removed, and nothing of it was found afterwards.

    Attributes:
        files: What the last removal removed, folders apart.
        bytes: Lengths of those that were regular files.
    """

    at: datetime
    files: int
    bytes: int


RunEvent = Resume | StepNote | Answer | Commit | Rollback | End | Clean | Cleaned
_decoder: msgspec.json.Decoder[Beginning | RunEvent] = msgspec.json.Decoder(Beginning | RunEvent)


@dataclass(slots=True)
class StepRecord:
    """What is known of a step."""

    state: StepState = StepState.PENDING
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


class RunRecord:
    """One run, as its journal tells it; use `create` or `open`."""

    def __init__(self, journal: Journal, beginning: Beginning, plan: Plan) -> None:
        self._journal = journal
        self.beginning = beginning
        self.plan = plan
        self.steps = {step.id: StepRecord() for step in plan.steps}
        self.events: list[RunEvent] = []
        """All that happened since the beginning, oldest first."""
        self.resumed_at: list[datetime] = []
        self.ended_at: datetime | None = None
        self.proved = False
        self.answers: dict[str, OnFailure] = {}
        """What people said about failed steps, until those are tried again."""
        self.committed_at: datetime | None = None
        self.rollback: Rollback | None = None
        self.clean_begun_at: datetime | None = None
        """When the removal of what it laid out began; it cannot be resumed then."""
        self.cleaned: Cleaned | None = None
        for raw in journal.records[1:]:
            self._fold_checked(_decode(raw))

    @classmethod
    def create(cls, files: Files, beginning: Beginning, plan: Plan) -> RunRecord:
        """Begin a run's journal; it is durable when this returns."""
        folder = run_folder(beginning.run)
        files.make_folder(folder)
        journal = Journal.open(files, posixpath.join(folder, "journal"))
        if journal.records:
            raise InvariantError("two runs have one name")
        journal.append(msgspec.json.encode(beginning))
        return cls(journal, beginning, plan)

    @classmethod
    def open(cls, files: Files, run: str, parse: Callable[[str], Plan]) -> RunRecord:
        """Read a run's journal; only whoever holds the state folder's lock may append to it.

        Args:
            parse: Makes a plan of its text.

        Raises:
            NotFoundError: There is no such run.
            DamageError: The journal is damaged.
        """
        path = posixpath.join(run_folder(run), "journal")
        if "/" in run or not files.exists(path):
            raise NotFoundError("there is no recovery run {run}", "see 'jbackupd recovery history'", run=run)
        journal = Journal.open(files, path)
        if not journal.records:
            raise NotFoundError("the recovery run {run} did not begin", "run the plan again", run=run)
        first = _decode(journal.records[0])
        if not isinstance(first, Beginning):
            raise _malformed(run)
        return cls(journal, first, parse(first.plan_text))

    @property
    def states(self) -> dict[str, StepState]:
        """The state of every step."""
        return {name: step.state for name, step in self.steps.items()}

    @property
    def standing(self) -> Standing:
        """All that decides what may happen next."""
        return Standing(self.states, self.answers, self.committed_at is not None, self.rollback is not None)

    def note_step(self, step: str, event: StepEvent, at: datetime, detail: Mapping[str, Any] | None = None) -> None:
        """Note what happens to a step; durable before this returns, and only then true."""
        STEP_MACHINE.next(self.steps[step].state, event)
        self._note(StepNote(at, step, event, _clean(dict(detail or {}))))

    def note_resume(self, at: datetime) -> None:
        """Note that a person has resumed the run."""
        self._note(Resume(at))

    def note_answer(self, step: str, choice: Choice, at: datetime, *, by: str) -> None:
        """Note what a person has said."""
        self._note(Answer(at, step, choice, _clean(by)))

    def note_commit(self, at: datetime, *, by: str) -> None:
        """Note that the phase commit begins; durable before anything of it does."""
        self._note(Commit(at, _clean(by)))

    def note_rollback(self, at: datetime, *, by: str, reason: str) -> None:
        """Note that everything is to be undone; durable before anything is."""
        self._note(Rollback(at, _clean(by), _clean(reason)))

    def note_end(self, at: datetime, *, proved: bool) -> None:
        """Note that nothing more will begin."""
        self._note(End(at, proved))

    def note_clean(self, at: datetime) -> None:
        """Note that what the run laid out is to be removed; durable before anything is."""
        self._note(Clean(at))

    def note_cleaned(self, at: datetime, *, files: int, size: int) -> None:
        """Note that it is removed."""
        self._note(Cleaned(at, files, size))

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _note(self, event: RunEvent) -> None:
        raw = msgspec.json.encode(event)
        self._journal.append(raw)
        # What is in the journal counts, not what was meant: a time has microseconds there, a tuple is a list.
        self._fold_checked(_decode(raw))

    def _fold_checked(self, event: Beginning | RunEvent) -> None:
        """Take in an event of a journal that another version, or nobody of ours, may have written."""
        if isinstance(event, Beginning) or not self._allows(event):
            raise _malformed(self.beginning.run)
        self._fold(event)

    def _allows(self, event: RunEvent) -> bool:
        if isinstance(event, Clean):
            return True
        if isinstance(event, Cleaned) or self.clean_begun_at is not None:
            return isinstance(event, Cleaned) and self.clean_begun_at is not None
        if isinstance(event, Answer):
            return event.step in self.steps
        return not isinstance(event, StepNote) or self._allows_step(event)

    def _allows_step(self, event: StepNote) -> bool:
        return event.step in self.steps and STEP_MACHINE.allows(self.steps[event.step].state, event.do)

    def _fold(self, event: RunEvent) -> None:
        self.events.append(event)
        match event:
            case StepNote(at=at, step=step, do=do, detail=detail):
                self._fold_step(self.steps[step], do, at, detail)
                if do is StepEvent.AGAIN:
                    self.answers.pop(step, None)
            case Answer(step=step, choice="continue" | "halt" | "rollback" as choice):
                self.answers[step] = choice
            case Commit(at=at):
                self.committed_at = at
            case Rollback():
                self.rollback = event
                self.ended_at, self.proved = None, False
            case Resume(at=at):
                self.resumed_at.append(at)
                self.ended_at, self.proved = None, False
            case End(at=at, proved=proved):
                self.ended_at, self.proved = at, proved
            case Clean(at=at):
                self.clean_begun_at, self.cleaned = self.clean_begun_at or at, None
            case Cleaned():
                self.cleaned = event

    @staticmethod
    def _fold_step(step: StepRecord, event: StepEvent, at: datetime, detail: Mapping[str, Any]) -> None:
        step.state = STEP_MACHINE.next(step.state, event)
        if event is StepEvent.BEGIN:
            step.begun_at, step.ended_at, step.attempts = at, None, step.attempts + 1
        elif event in (StepEvent.FINISH, StepEvent.FAIL, StepEvent.SKIP):
            step.ended_at = at
        if event in (StepEvent.UNDO, StepEvent.UNDONE):
            # What it brought is needed to undo it, and is in the report.
            return
        # Who does a step again goes on with what it brought: the same point, what was written to it.
        if event not in (StepEvent.BEGIN, StepEvent.AGAIN):
            step.detail = detail


def run_folder(run: str) -> str:
    """Return a run's folder in the state folder."""
    return posixpath.join(FOLDER, run)


def run_names(files: Files) -> list[str]:
    """Return all runs, oldest first: their names begin with the time."""
    names = files.names(FOLDER) if files.exists(FOLDER) else []
    return [name for name in names if files.exists(posixpath.join(run_folder(name), "journal"))]


def _clean(value: Any) -> Any:
    """Return plain values with everything replaced that UTF-8 cannot carry: names of files may be in any encoding."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, (list, tuple)) else value


def _decode(raw: bytes) -> Beginning | RunEvent:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError("a recovery run's journal holds a malformed record") from error


def _malformed(run: str) -> FormatError:
    return FormatError(
        "the journal of the recovery run {run} holds a record that does not fit the ones before",
        "it may be of a newer version; run the plan again with this one", run=run,
    )
