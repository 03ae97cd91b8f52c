"""What a run came to: its timeline, and the RTO and RPO that it reached. Pure; also while it is under way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jbackupd.continuity.plan import StepState
from jbackupd.continuity.record import RunRecord, StepRecord

REPORT_SCHEMA = 1


def run_document(record: RunRecord) -> dict[str, Any]:
    """Return a run for machines: what --json prints and a drill record is made of."""
    plan, beginning = record.plan, record.beginning
    reached = reached_times(record)
    return {
        "schema": REPORT_SCHEMA,
        "run": beginning.run,
        "plan": plan.id,
        "title": plan.title,
        "tenant": plan.tenant,
        "home": plan.home,
        "declaration": beginning.declaration,
        "lost_at": _time(beginning.lost_at),
        "declared_at": _time(beginning.declared_at),
        "begun_at": _time(beginning.begun_at),
        "resumed_at": [_time(moment) for moment in record.resumed_at],
        "ended_at": _time(record.ended_at),
        "proved": record.proved,
        "over": record.ended_at is not None,
        "decision_seconds": _seconds(beginning.lost_at, beginning.begun_at),
        "technical_seconds": _seconds(beginning.begun_at, record.ended_at),
        "rto_seconds": reached["rto"],
        "rto_target_seconds": plan.rto.total_seconds(),
        "rpo_seconds": reached["rpo"],
        "rpo_target_seconds": plan.rpo.total_seconds(),
        "steps": [_step_document(step.id, step.kind, record.steps[step.id]) for step in plan.steps],
    }


def reached_times(record: RunRecord) -> dict[str, float | None]:
    """Return the RTO and RPO reached, in seconds; None where there is none yet.

    RTO counts from the loss (or its declaration, or the run's begin, whichever is the first known) to the last check
    that passed. RPO is the age, at that moment of loss, of the oldest point that was restored.
    """
    lost = record.beginning.lost_at or record.beginning.declared_at or record.beginning.begun_at
    checks = [
        record.steps[step.id] for step in record.plan.steps if step.kind == "check"
    ]
    passed = [check.ended_at for check in checks if check.state is StepState.DONE and check.ended_at is not None]
    rto = max(passed) - lost if checks and len(passed) == len(checks) else None
    taken = [
        datetime.fromisoformat(record.steps[step.id].detail["as_of"]) for step in record.plan.steps
        if step.kind == "restore" and record.steps[step.id].state is StepState.DONE
    ]
    rpo = lost - min(taken) if taken else None
    return {"rto": _total(rto), "rpo": _total(rpo)}


def _step_document(name: str, kind: str, step: StepRecord) -> dict[str, Any]:
    return {
        "step": name, "kind": kind, "state": step.state.value, "attempts": step.attempts,
        "begun_at": _time(step.begun_at), "ended_at": _time(step.ended_at),
        "seconds": _seconds(step.begun_at, step.ended_at), "detail": dict(step.detail),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else _total(end - begin)


def _total(span: timedelta | None) -> float | None:
    return None if span is None else max(0.0, round(span.total_seconds(), 3))
