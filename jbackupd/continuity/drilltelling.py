"""A drill's record in words, for the command line and the printed page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from jbackupd.continuity.drill import DrillRecord, Outcome, Proof
from jbackupd.continuity.telling import reached_rows
from jbackupd.model.texts import _
from jbackupd.model.units import show_duration


def outcome_words(outcome: Outcome) -> str:
    """Return what a drill came to, in words."""
    return {
        Outcome.PROVED: _("proved"), Outcome.FAILED: _("not proved"), Outcome.BROKEN_OFF: _("broken off"),
    }[outcome]


def proof_words(proof: Proof) -> str:
    """Return how a plan stands, in words."""
    return {
        Proof.NEVER: _("never proved"), Proof.PROVED: _("proved"), Proof.CHANGED: _("changed since its proof"),
        Proof.OVERDUE: _("proof overdue"), Proof.FAILED: _("NOT PROVED by its last drill"),
    }[proof]


def trace_words(what: str) -> str:
    """Return what was looked for after a drill, in words."""
    return {
        "files": _("files"), "mounts": _("mounts"), "processes": _("processes"), "namespaces": _("namespaces"),
        "keys": _("keys"),
    }[what]


def count_words(what: str) -> str:
    """Return what was counted, in words."""
    return {"files": _("files"), "residents": _("residents")}.get(what, what)


def facts_of(record: DrillRecord, show: Callable[[datetime], str]) -> list[tuple[str, str]]:
    """Return what a record says of itself, name by name."""
    points = [
        f"{step['detail']['point']} ({show(datetime.fromisoformat(step['detail']['as_of']))})"
        for step in (record.report or {}).get("steps", ()) if "point" in step["detail"] and "as_of" in step["detail"]
    ]
    called = []
    if record.called_at is not None and record.reaction_seconds is not None:
        called = [(_("people were called"), f"{show(record.called_at)} ({show_duration(record.reaction_seconds)})")]
    return [
        (_("drill"), record.name), (_("result"), outcome_words(record.outcome)),
        (_("plan"), f"{record.title} ({record.plan})"), (_("municipality"), record.tenant),
        (_("site of the drill"), record.site), (_("scenario"), record.scenario or "-"),
        (_("participants"), "、".join(record.participants) or "-"), (_("called by"), record.by or "-"),
        *called, (_("begin"), show(record.begun_at)), (_("end"), show(record.ended_at)),
        (_("points used"), "、".join(points) or "-"), (_("digest of the plan (SHA-256)"), record.plan_digest),
    ]


def record_lines(record: DrillRecord, show: Callable[[datetime], str]) -> Iterator[str]:
    """Yield a record as lines."""
    for name, value in facts_of(record, show):
        yield f"{name}: {value}"
    if record.report is not None:
        for name, reached, target, verdict in reached_rows(record.report):
            yield _("{name}: {reached} (target {target}): {verdict}").format(
                name=name, reached=reached, target=target, verdict=verdict
            )
    for count in record.counts:
        yield _("{step}: {found} of {expected} {what}").format(
            step=count.step, found=count.found, expected=count.expected, what=count_words(count.what)
        )
    for way in record.isolation:
        yield _("no way out: {way}").format(way=way)
    for trace in record.traces:
        left = ", ".join(trace.found) or _("nothing")
        yield _("left behind, {what}: {left}").format(what=trace_words(trace.what), left=left)
    for problem in record.problems:
        yield _("PROBLEM: {problem}").format(problem=problem)
