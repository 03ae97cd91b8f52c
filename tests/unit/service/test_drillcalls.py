"""A call for a drill survives restarts, follows the configuration, and ends with the drill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from jbackupd.continuity.drill import DrillRecord, Outcome
from jbackupd.service.drillcalls import look, read_call
from jbackupd.service.log import Log
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.schema import PlanFile
from jbackupd.storage.files import PosixFiles

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
PLAN = parse_plan(
    'version = 1\nid = "p"\ntitle = "p"\ntenant = "imari"\nhome = "saga"\n[[step]]\nid = "k"\nkind = "unlock"\n'
)


def wanted(text: str | None = "monthly 1 09:00", within: str | None = None) -> PlanFile:
    return PlanFile.model_validate({
        "file": "/p.toml", **({} if text is None else {"drill": text}),
        **({} if within is None else {"drill_within": within}),
    })


def drill(begun_at: datetime) -> DrillRecord:
    return DrillRecord("d", "kyoto", "p", "", "", "imari", "", (), "", begun_at, begun_at, Outcome.FAILED)


def test_it_is_called_at_its_time_until_a_drill_begins_and_then_the_next_one_is_drawn(tmp_path: Path) -> None:
    def at(now: datetime, *drills: DrillRecord, config: PlanFile | None = None):
        # Everything anew, as after a restart.
        return look(PosixFiles(str(tmp_path)), config or wanted(), PLAN, drills, now, "Asia/Tokyo", Log())

    first = at(NOW)
    assert first.due_at == datetime(2026, 12, 1, 0, 0, tzinfo=UTC) and first.called_at is None
    assert at(NOW + timedelta(days=1)) == first
    late = first.due_at + timedelta(days=3)
    made = at(late)
    assert made.called_at == late, "it was down at the time: it calls when it is up again"
    assert at(late + timedelta(days=30), drill(late - timedelta(days=9))) == made
    following = at(late + timedelta(days=1), drill(late + timedelta(hours=2)))
    assert following.called_at is None and following.due_at == datetime(2027, 1, 1, 0, 0, tzinfo=UTC)
    other = at(late + timedelta(days=1), config=wanted("monthly 1 09:00", "10d"))
    assert other.due_at >= following.due_at and other.schedule != following.schedule
    assert at(late, config=wanted(None)) is None
    assert read_call(PosixFiles(str(tmp_path)), "p") is None
