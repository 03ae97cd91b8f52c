"""What a run came to: its timeline, and the RTO and RPO that it reached. Pure; also while it is under way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jbackupd.continuity.plan import StepState, awaits_commit, is_back, open_questions, stuck_steps
from jbackupd.continuity.record import (
    Answer,
    Clean,
    Cleaned,
    Commit,
    End,
    Resume,
    Rollback,
    RunEvent,
    RunRecord,
    StepNote,
    StepRecord,
)

REPORT_SCHEMA = 1
CHECKS = ("check", "inspect")
"""Kinds of steps that prove something: the services are back when all of them have passed."""


def run_document(record: RunRecord) -> dict[str, Any]:
    """Return a run for machines: what --json prints and a drill record is made of."""
    plan, beginning = record.plan, record.beginning
    since, lost = loss_of(record)
    back = back_at(record)
    rto = None if back is None else back - lost
    rpo = None if (oldest := oldest_data(record)) is None else lost - oldest
    return {
        "schema": REPORT_SCHEMA,
        "run": beginning.run,
        "plan": plan.id,
        "title": plan.title,
        "tenant": plan.tenant,
        "home": plan.home,
        "mode": beginning.mode,
        "by": beginning.by,
        "plan_digest": beginning.plan_digest,
        "declaration": beginning.declaration,
        "lost_at": _time(beginning.lost_at),
        "suspected_at": _time(beginning.suspected_at),
        "declared_at": _time(beginning.declared_at),
        "approved_at": _time(beginning.approved_at),
        "begun_at": _time(beginning.begun_at),
        "resumed_at": [_time(moment) for moment in record.resumed_at],
        "back_at": _time(back),
        "ended_at": _time(record.ended_at),
        "proved": record.proved,
        "back": is_back(plan, record.standing),
        "committed_at": _time(record.committed_at),
        "rollback": None if record.rollback is None else {
            "at": _time(record.rollback.at), "by": record.rollback.by, "reason": record.rollback.reason,
            "stuck": [step.id for step in stuck_steps(plan, record.standing)],
        },
        "asks": asked_by(record),
        "over": record.ended_at is not None,
        "clean_begun_at": _time(record.clean_begun_at),
        "cleaned": None if record.cleaned is None else {
            "at": _time(record.cleaned.at), "files": record.cleaned.files, "bytes": record.cleaned.bytes,
        },
        "decision_seconds": _total(beginning.begun_at - lost),
        "approval_seconds": _seconds(beginning.suspected_at or beginning.declared_at, beginning.approved_at),
        "technical_seconds": _seconds(beginning.begun_at, back or record.ended_at),
        "counted_from": since,
        "rto_seconds": _total(rto),
        "rto_target_seconds": plan.rto.total_seconds(),
        "rto_met": None if rto is None else rto <= plan.rto,
        "rpo_seconds": _total(rpo),
        "rpo_target_seconds": plan.rpo.total_seconds(),
        "rpo_met": None if rpo is None else rpo <= plan.rpo,
        "steps": [_step_document(step.id, step.kind, record.steps[step.id]) for step in plan.steps],
        "timeline": timeline(record),
    }


def asked_by(record: RunRecord) -> list[dict[str, Any]]:
    """Return what people are asked now: `kind` (failed, confirm or commit), `step`, and a confirm's `question`."""
    plan, standing = record.plan, record.standing
    failed = [{"kind": "failed", "step": step.id} for step in open_questions(plan, standing)]
    confirms = [
        {"kind": "confirm", "step": step.id, "question": step.question, "who": step.who} for step in plan.steps
        if step.kind == "confirm" and record.states[step.id] is StepState.RUNNING and not standing.undoing
    ]
    return [*failed, *confirms, *([{"kind": "commit", "step": ""}] if awaits_commit(plan, standing) else [])]


def loss_of(record: RunRecord) -> tuple[str, datetime]:
    """Return from when RTO and RPO count, and what moment that is.

    It is the loss, where somebody said when it was; else its declaration; else the run's begin.
    """
    beginning = record.beginning
    if beginning.lost_at is not None:
        return "lost_at", beginning.lost_at
    if beginning.declared_at is not None:
        return "declared_at", beginning.declared_at
    return "begun_at", beginning.begun_at


def back_at(record: RunRecord) -> datetime | None:
    """Return when the last essential check passed; None as long as one has not, or where nothing is checked."""
    checks = [
        record.steps[step.id] for step in record.plan.steps
        if step.kind in CHECKS and step.essential and record.states[step.id] is not StepState.OMITTED
    ]
    passed = [check.ended_at for check in checks if check.state is StepState.DONE and check.ended_at is not None]
    return max(passed) if passed and len(passed) == len(checks) else None


def oldest_data(record: RunRecord) -> datetime | None:
    """Return the moment whose state the oldest restored point holds; None before there is one."""
    taken = [
        datetime.fromisoformat(record.steps[step.id].detail["as_of"]) for step in record.plan.steps
        if step.kind in ("restore", "mount", "export") and record.steps[step.id].state is StepState.DONE
    ]
    return min(taken, default=None)


def timeline(record: RunRecord) -> list[dict[str, Any]]:
    """Return all that happened, oldest first: `at`, `event`, and `step` where it is of a step."""
    beginning = record.beginning
    known = [
        ("lost", beginning.lost_at), ("suspected", beginning.suspected_at), ("declared", beginning.declared_at),
        ("approved", beginning.approved_at), ("run", beginning.begun_at),
    ]
    dated = sorted((at, event) for event, at in known if at is not None)
    before = [{"at": _time(at), "event": event} for at, event in dated]
    return before + [_timeline_entry(event) for event in record.events]


def _timeline_entry(event: RunEvent) -> dict[str, Any]:
    match event:
        case StepNote(at=at, step=step, do=do):
            return {"at": _time(at), "event": do.value, "step": step}
        case Resume(at=at):
            return {"at": _time(at), "event": "resume"}
        case Answer(at=at, step=step, choice=choice, by=by):
            return {"at": _time(at), "event": "answer", "step": step, "choice": choice, "by": by}
        case Commit(at=at, by=by):
            return {"at": _time(at), "event": "commit", "by": by}
        case Rollback(at=at, by=by, reason=reason):
            return {"at": _time(at), "event": "rollback", "by": by, "reason": reason}
        case End(at=at, proved=proved):
            return {"at": _time(at), "event": "proved" if proved else "end"}
        case Clean(at=at):
            return {"at": _time(at), "event": "clean"}
        case Cleaned(at=at):
            return {"at": _time(at), "event": "cleaned"}


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
