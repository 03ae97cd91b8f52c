"""How a plan stands by its drills, and what they teach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.continuity.drill import (
    Count,
    DrillRecord,
    Outcome,
    Proof,
    Trace,
    decode_record,
    encode_record,
    learned_times,
    outcome_of,
    proof_of,
)

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
GOOD = {"proved": True, "rto_met": True, "rpo_met": True, "steps": []}
YEAR = timedelta(days=365).total_seconds()


def record(
    days_ago: float, *, digest: str = "a", outcome: Outcome = Outcome.PROVED, plan: str = "counter", seconds: float = 30
) -> DrillRecord:
    ended = NOW - timedelta(days=days_ago)
    steps = [{"step": "juki", "state": "done", "seconds": seconds}, {"step": "x", "state": "failed", "seconds": 900.0}]
    return DrillRecord(
        f"d{days_ago}", "kyoto", plan, digest, "x", "imari", "", (), "mori", ended, ended, outcome,
        {**GOOD, "steps": steps},
    )


@pytest.mark.parametrize(
    ("records", "proof"),
    [
        ([], Proof.NEVER),
        ([record(3, outcome=Outcome.FAILED, digest="b"), record(2, outcome=Outcome.BROKEN_OFF)], Proof.NEVER),
        ([record(3), record(2, outcome=Outcome.BROKEN_OFF)], Proof.PROVED),
        ([record(3, plan="other")], Proof.NEVER),
        ([record(3)], Proof.PROVED),
        ([record(3), record(1, outcome=Outcome.FAILED)], Proof.FAILED),
        ([record(3, outcome=Outcome.FAILED), record(1)], Proof.PROVED),
        ([record(366)], Proof.OVERDUE),
        ([record(1, digest="b")], Proof.CHANGED),
        ([record(1, digest="b"), record(9)], Proof.PROVED),
    ],
)
def test_a_plan_is_proved_by_a_drill_of_the_very_same_text(records: list[DrillRecord], proof: Proof) -> None:
    assert proof_of("a", "counter", records, within_seconds=YEAR, now=NOW)[0] is proof


def test_time_outs_are_learned_from_what_proved_the_plan() -> None:
    known = [record(9, seconds=30), record(5, seconds=50), record(1, seconds=4000, outcome=Outcome.FAILED)]
    assert learned_times("counter", known) == {"juki": 150.0}
    assert learned_times("counter", [record(1, seconds=0.5)]) == {"juki": 60.0}
    assert learned_times("other", known) == {}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, Outcome.PROVED),
        ({"report": None}, Outcome.FAILED),
        ({"report": {**GOOD, "proved": False}}, Outcome.FAILED),
        ({"report": {**GOOD, "rto_met": False}}, Outcome.FAILED),
        ({"report": {**GOOD, "rpo_met": None}}, Outcome.PROVED),
        ({"counts": [Count("juki", "files", 3, 2)]}, Outcome.FAILED),
        ({"traces": [Trace("files", "/x", ("/x/y",))]}, Outcome.FAILED),
        ({"problems": ["x"]}, Outcome.FAILED),
    ],
)
def test_a_drill_proves_only_what_was_whole_in_time_counted_and_cleaned_up(
    change: dict[str, object], outcome: Outcome
) -> None:
    facts = {"report": GOOD, "counts": [Count("juki", "files", 3, 3)], "traces": [Trace("files", "/x")],
             "problems": [], **change}
    assert outcome_of(**facts) is outcome  # type: ignore[arg-type]


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert decode_record(encode_record(record(1))) == record(1)
