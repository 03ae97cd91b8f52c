"""What a run reached is counted from the right moments, and told to people in their language, on paper too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.page import run_page
from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.continuity.report import run_document
from jbackupd.continuity.telling import alarms_of, detail_text, error_text, outcome_text, reached_rows, times_of
from jbackupd.model.texts import in_language
from jbackupd.model.wareki import show_moment
from jbackupd.settings.plan import parse_plan
from jbackupd.storage.files import PosixFiles

BEGUN = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
PLAN = """
version = 1
id = "counter"
title = "<住民記録> & 照会"
tenant = "imari"
home = "saga"
rpo = "2h"
[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
[[step]]
id = "zei"
kind = "restore"
dataset = "imari/zei"
[[step]]
id = "there"
kind = "inspect"
data = "juki"
needs = ["juki"]
"""


def record(folder: Path, *, lost: int | None = None, declared: int | None = None) -> RunRecord:
    """Return a run that has begun; the loss and the declaration were so many minutes before."""

    def before(minutes: int | None) -> datetime | None:
        return None if minutes is None else BEGUN - timedelta(minutes=minutes)

    beginning = Beginning("r1", PLAN, "0" * 64, BEGUN, before(lost), before(declared), "12345678")
    return RunRecord.create(PosixFiles(str(folder)), beginning, parse_plan(PLAN))


def done(run: RunRecord, step: str, minute: int, **detail: Any) -> None:
    run.note_step(step, StepEvent.BEGIN, BEGUN + timedelta(minutes=minute))
    run.note_step(step, StepEvent.FINISH, BEGUN + timedelta(minutes=minute + 1), detail)


def restored(run: RunRecord, step: str, minute: int, *, hours_old: int) -> None:
    as_of = (BEGUN - timedelta(hours=hours_old)).isoformat()
    done(run, step, minute, point=f"imari/{step}@7", as_of=as_of, files=3, bytes=2_000_000, alarms=["a fork at 6"])


@pytest.mark.parametrize(
    ("lost", "declared", "counted_from", "minutes"),
    [(90, 30, "lost_at", 90), (None, 30, "declared_at", 30), (None, None, "begun_at", 0)],
)
def test_rto_and_rpo_count_from_the_first_moment_that_is_known(
    tmp_path: Path, lost: int | None, declared: int | None, counted_from: str, minutes: int
) -> None:
    run = record(tmp_path, lost=lost, declared=declared)
    restored(run, "juki", 1, hours_old=3)
    restored(run, "zei", 1, hours_old=5)
    assert run_document(run)["rto_seconds"] is None, "not before the check has passed"
    done(run, "there", 3, files=3, inspected=1)
    document = run_document(run)
    assert document["counted_from"] == counted_from
    assert document["decision_seconds"] == minutes * 60
    assert document["technical_seconds"] == 4 * 60
    assert document["rto_seconds"] == (minutes + 4) * 60
    assert document["rpo_seconds"] == 5 * 3600 - minutes * 60, "of the oldest point"
    assert (document["rto_met"], document["rpo_met"]) == (True, False)


def test_the_time_to_decide_is_told_apart_from_the_first_suspicion_on(tmp_path: Path) -> None:
    """What people noted before the loss was declared, and when their declaration came into force."""
    moments = [BEGUN - timedelta(minutes=minutes) for minutes in (90, 30, 75, 20)]
    lost, declared, suspected, approved = moments
    beginning = Beginning(
        "r1", PLAN, "0" * 64, BEGUN, lost, declared, "12345678", suspected_at=suspected, approved_at=approved
    )
    document = run_document(RunRecord.create(PosixFiles(str(tmp_path)), beginning, parse_plan(PLAN)))
    assert document["approval_seconds"] == 55 * 60 and document["decision_seconds"] == 90 * 60
    assert [entry["event"] for entry in document["timeline"]] == ["lost", "suspected", "declared", "approved", "run"]
    rows = dict(times_of(document, lambda moment: f"{moment:%H:%M}"))
    assert rows["of it from the first suspicion to the approval"] == "55m"
    assert (rows["first suspicion"], rows["approved, in force"]) == (f"{suspected:%H:%M}", f"{approved:%H:%M}")
    # Where nobody noted anything there is nothing to show.
    bare = dict(times_of(run_document(record(tmp_path / "bare", lost=90)), str))
    assert "first suspicion" not in bare and "of it from the first suspicion to the approval" not in bare


def test_the_timeline_has_all_that_happened_in_order(tmp_path: Path) -> None:
    run = record(tmp_path, lost=90, declared=30)
    restored(run, "juki", 1, hours_old=1)
    run.note_resume(BEGUN + timedelta(minutes=5))
    run.note_end(BEGUN + timedelta(minutes=6), proved=False)
    entries = run_document(run)["timeline"]
    assert [entry["event"] for entry in entries] == [
        "lost", "declared", "run", "begin", "finish", "resume", "end",
    ]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)


def test_the_page_is_whole_escaped_and_in_the_readers_language(tmp_path: Path) -> None:
    run = record(tmp_path, lost=90)
    restored(run, "juki", 1, hours_old=1)
    run.note_step("zei", StepEvent.BEGIN, BEGUN)
    wrong = {"error": {"message": "in English", "template": "there is no recovery run {run}", "fields": {"run": "r2"}}}
    run.note_step("zei", StepEvent.FAIL, BEGUN, wrong)
    document = run_document(run)
    with in_language("ja"):
        page = run_page(document, show_moment)
        assert "復旧実施報告書" in page and "決裁" in page and "令和8年11月23日" in page and "r2" in page
        assert "in English" not in page
    with in_language("en"):
        english = run_page(document, str)
    assert "Report of a recovery run" in english and "there is no recovery run r2" in english
    assert "&lt;住民記録&gt; &amp; 照会" in page and "<住民記録>" not in page
    assert "http" not in page.replace("https", ""), "the page needs nothing from elsewhere"
    assert "a fork at 6" in page


def test_what_a_step_came_to_is_told_in_words(tmp_path: Path) -> None:
    run = record(tmp_path)
    assert outcome_text({**run_document(run), "under_way": True}) == "under way"
    assert outcome_text(run_document(run)) == "interrupted; it waits to be resumed"
    restored(run, "juki", 1, hours_old=1)
    document = run_document(run)
    assert alarms_of(document) == ["a fork at 6"]
    assert detail_text(document["steps"][0]["detail"]) == "imari/juki@7, 3 files, 2 MB"
    assert [row[1:] for row in reached_rows(document)] == [("-", "3h", "-"), ("1h", "2h", "within the target")]
    assert error_text({"message": "plain", "template": "{broken", "fields": {}}) == "plain"
