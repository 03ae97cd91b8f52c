"""`jbackupd recovery export`: a plan as a runbook for people, on paper."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.deciding import login
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.model.errors import UsageError
from jbackupd.model.texts import _, language
from jbackupd.model.wareki import show_day

if TYPE_CHECKING:
    from datetime import date

    from jbackupd.continuity.runbook import RunbookFacts
    from jbackupd.settings.plan import Plan


@click.command(help=_("Write a plan as a runbook for people, to print: steps, names, telephones, places, no secrets."))
@click.argument("plan", metavar="PLAN")
@click.option("--to", "target", metavar="FILE", help=_("where: .html to print (A4), .txt without a browser"))
@pass_frame
def export(frame: Frame, plan: str, target: str | None) -> None:
    """Export a plan for people, and note which text was printed."""
    from jbackupd.cli.recovery import read_text, write_text
    from jbackupd.continuity.runbook import runbook, runbook_document
    from jbackupd.continuity.runbookpage import runbook_page, runbook_text
    from jbackupd.service.runbooks import Printed, note_printed
    from jbackupd.settings.plan import load_plan
    from jbackupd.storage.files import PosixFiles

    if target is None and not frame.json:
        raise UsageError("say where the runbook goes", "add --to runbook.html, or runbook.txt, or call it with --json")
    if target is not None and os.path.splitext(target)[1] not in (".html", ".txt"):
        raise UsageError("unable to write {path}: it is neither .html nor .txt", "name it so", path=target)
    wanted, text = load_plan(plan), read_text(plan)
    facts = _facts(frame, wanted, plan, text)
    if target is not None:
        render = runbook_text if target.endswith(".txt") else runbook_page
        write_text(target, render(wanted, runbook(wanted, facts), facts))
        note_printed(PosixFiles(frame.settings().site.state), wanted.id, Printed(facts.digest, facts.now, login()))
    document: dict[str, Any] = runbook_document(wanted, facts) | {"file": target}
    frame.emit(document, lambda: click.echo(_("the runbook is in {path}; its hash begins with {digest}").format(
        path=target, digest=facts.digest[:16]
    )))
    frame.say(_("print it, put it with the shares, and take older copies away"))


def _facts(frame: Frame, plan: Plan, file: str, text: str) -> RunbookFacts:
    from jbackupd.continuity.drill import proof_of, worst_times
    from jbackupd.continuity.runbook import RunbookFacts
    from jbackupd.service.drillrecords import read_records
    from jbackupd.storage.files import PosixFiles

    settings, now = frame.settings(), datetime.now(UTC)
    records = read_records(PosixFiles(settings.site.state))
    digest = hashlib.sha256(text.encode()).hexdigest()
    proof, drill = proof_of(digest, plan.id, records, within_seconds=plan.prove_within.total_seconds(), now=now)
    return RunbookFacts(
        file=file, digest=digest, site=settings.site.id,
        officers=[(officer.id, officer.name or "") for officer in settings.officers],
        approvals=settings.approval.declare_lost, seconds=worst_times(plan.id, records), proof=proof,
        proved_at=drill.ended_at if drill is not None else None, now=now,
        show=lambda moment: show_time(moment, settings.site.zone), show_day=_day,
    )


def _day(day: date) -> str:
    return show_day(day) if language() == "ja" else day.isoformat()
