"""A drill's record: what was rehearsed, what it reached against the targets, and the proof that nothing is left. Pure.

STATE/drills/NAME/record.json holds it, written once and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

RECORD_SCHEMA = 1


class Outcome(Enum):
    """What a drill came to."""

    PROVED = "proved"
    """Every step is done, within RTO and RPO, every count matched, and nothing was left behind."""
    FAILED = "failed"
    BROKEN_OFF = "broken-off"
    """It was killed; what it had laid out was removed later."""


class Count(msgspec.Struct, frozen=True):
    """Something that was counted twice.

    Attributes:
        expected: As the point, or the extract, says.
        found: As the restored data, or the desk, says.
    """

    step: str
    what: str
    expected: int
    found: int

    @property
    def matched(self) -> bool:
        """Whether both agree."""
        return self.expected == self.found


class Trace(msgspec.Struct, frozen=True):
    """One thing that was looked for after the drill.

    Attributes:
        what: files, processes, namespaces, mounts or keys.
        looked_at: Where, in words.
        found: What is still there; empty is the proof.
    """

    what: str
    looked_at: str
    found: tuple[str, ...] = ()


class DrillRecord(msgspec.Struct, frozen=True):
    """A drill, for the file.

    Attributes:
        name: Of the drill, and of its folder.
        plan_digest: Hex SHA-256 of the plan's text as it was rehearsed.
        scenario: What was assumed to have happened.
        participants: Who took part.
        by: Who called it.
        report: The run's report, as `continuity.report.run_document` makes it; None if it did not get that far.
        counts: What was counted twice.
        isolation: What was tried to get out, and how that failed.
        traces: What was looked for afterwards.
        problems: In words, what was not as it should be.
        called_at: When people were called for it.
    """

    name: str
    site: str
    plan: str
    plan_digest: str
    title: str
    tenant: str
    scenario: str
    participants: tuple[str, ...]
    by: str
    begun_at: datetime
    ended_at: datetime
    outcome: Outcome
    report: dict[str, Any] | None = None
    counts: tuple[Count, ...] = ()
    isolation: tuple[str, ...] = ()
    traces: tuple[Trace, ...] = ()
    problems: tuple[str, ...] = ()
    schema: int = RECORD_SCHEMA
    called_at: datetime | None = None

    @property
    def reaction_seconds(self) -> float | None:
        """How long people took from the call to the begin; None if nobody was called."""
        return None if self.called_at is None else (self.begun_at - self.called_at).total_seconds()


def outcome_of(
    report: Mapping[str, Any] | None, counts: Sequence[Count], traces: Sequence[Trace], problems: Sequence[str]
) -> Outcome:
    """Return what a drill came to that ran to its end."""
    whole = report is not None and report["proved"] and False not in (report["rto_met"], report["rpo_met"])
    clean = all(not trace.found for trace in traces)
    return Outcome.PROVED if whole and clean and all(c.matched for c in counts) and not problems else Outcome.FAILED


class Proof(Enum):
    """How a plan stands."""

    NEVER = "never-proved"
    PROVED = "proved"
    CHANGED = "changed-since-proof"
    OVERDUE = "overdue"
    FAILED = "failed"
    """The newest drill of this very text did not prove it."""


def proof_of(
    digest: str, plan: str, records: Sequence[DrillRecord], *, within_seconds: float, now: datetime
) -> tuple[Proof, DrillRecord | None]:
    """Return how a plan stands, and the drill that says so.

    Args:
        digest: Hex SHA-256 of the plan's text now.
        plan: Its id.
        records: Of any plans, in any order.
        within_seconds: For how long a proof counts.
    """
    known = [record for record in records if record.plan == plan and record.outcome is not Outcome.BROKEN_OFF]
    proofs = [record for record in known if record.outcome is Outcome.PROVED]
    newest = max((record for record in known if record.plan_digest == digest), key=_ended_at, default=None)
    if newest is not None and newest.outcome is Outcome.FAILED:
        return Proof.FAILED, newest
    if not proofs:
        return Proof.NEVER, None
    if newest is None:
        return Proof.CHANGED, max(proofs, key=_ended_at)
    overdue = (now - newest.ended_at).total_seconds() > within_seconds
    return (Proof.OVERDUE if overdue else Proof.PROVED), newest


def _ended_at(record: DrillRecord) -> datetime:
    return record.ended_at


LEARNED_FACTOR = 3.0
"""A disaster's disks and lines are slower than a drill's."""
LEARNED_SECONDS_MIN = 60.0


def learned_times(plan: str, records: Sequence[DrillRecord]) -> dict[str, float]:
    """Return the time-outs that drills have taught: three times the worst that proved drills took, by step."""
    return {
        step: max(LEARNED_SECONDS_MIN, LEARNED_FACTOR * worst) for step, worst in worst_times(plan, records).items()
    }


def worst_times(plan: str, records: Sequence[DrillRecord]) -> dict[str, float]:
    """Return how long each step took at worst in drills that proved the plan, in seconds."""
    worst: dict[str, float] = {}
    for record in records:
        if record.plan == plan and record.outcome is Outcome.PROVED and record.report is not None:
            for step in record.report["steps"]:
                if step["seconds"] is not None and step["state"] == "done":
                    worst[step["step"]] = max(worst.get(step["step"], 0.0), float(step["seconds"]))
    return worst


def encode_record(record: DrillRecord) -> bytes:
    """Return the record's file."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def decode_record(data: bytes) -> DrillRecord:
    """Read a record's file.

    Raises:
        msgspec.DecodeError: It is none.
    """
    return msgspec.json.decode(data, type=DrillRecord)
