"""The calls for drills of a site, kept in STATE/drillcalls/PLAN.json: a restart calls nobody twice."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from datetime import datetime
from random import SystemRandom

import msgspec

from jbackupd.continuity.drill import DrillRecord
from jbackupd.continuity.drillcall import DrillCall, called, is_answered, next_call
from jbackupd.continuity.epoch import read_lineages
from jbackupd.model.texts import _
from jbackupd.service.log import Log
from jbackupd.settings.plan import Plan
from jbackupd.settings.schema import PlanFile, zone_of
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles

FOLDER = "drillcalls"


def read_call(files: PosixFiles, plan: str) -> DrillCall | None:
    """Return the call of a plan; None if there is none, or nobody can read it."""
    path = _path(plan)
    if not files.exists(path):
        return None
    try:
        return msgspec.json.decode(files.read(path), type=DrillCall)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def look(
    files: PosixFiles, wanted: PlanFile, plan: Plan, drills: Sequence[DrillRecord], now: datetime, timezone: str,
    log: Log,
) -> DrillCall | None:
    """Make the call that is due, and the next one once it is answered; return what stands. Blocks.

    Args:
        drills: Of this site.
        timezone: What schedules mean.
    """
    before = read_call(files, plan.id)
    if wanted.drill is None:
        if before is not None:
            files.remove(_path(plan.id))
        return None
    schedule = f"{wanted.drill} + {wanted.drill_within}"
    zone = zone_of(timezone)
    newest = max((drill.begun_at for drill in drills if drill.plan == plan.id), default=None)
    call = before if before is not None and before.schedule == schedule else None
    if call is None or is_answered(call, newest):
        schedule_of = wanted.drill
        call = next_call(
            plan.id, schedule, lambda after: schedule_of.next_after(after, zone), max(now, newest or now),
            wanted.drill_within, SystemRandom(),
        )
    if call is None:
        return None
    hindered = any(lineage.acting != site for site, lineage in read_lineages(files).items())
    found = called(call, now, hindered=hindered)
    if found.called_at is not None and call.called_at is None:
        log.warning(
            _("a drill of the plan {plan} is called: fetch the shares, then 'jbackupd recovery rehearse'"), plan=plan.id
        )
    if found != before:
        files.make_folder(FOLDER)
        write_durably(files, _path(plan.id), msgspec.json.encode(found), temporary=_path(plan.id) + ".new")
    return found


def _path(plan: str) -> str:
    return posixpath.join(FOLDER, f"{plan}.json")
