"""`jbackupd recovery`: run a continuity plan, resume a run, look at runs."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

import click

from jbackupd.cli.asking import answering
from jbackupd.cli.clean import clean
from jbackupd.cli.deciding import answer, commit, login, rollback
from jbackupd.cli.failback import failback
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.rehearse import drills, rehearse
from jbackupd.cli.runbook import export
from jbackupd.cli.running import running
from jbackupd.cli.watching import FAILED, shown_in, told, watch, watched
from jbackupd.codec.paper import text_of
from jbackupd.model.errors import NotFoundError, StorageError, UsageError
from jbackupd.model.reasons import in_words
from jbackupd.model.texts import _

if TYPE_CHECKING:
    from jbackupd.service.finding import Finding

@click.group(help=_("Run a continuity plan."))
def recovery() -> None:
    """Group of commands."""


recovery.add_command(clean)
recovery.add_command(failback)
for command in (answer, commit, rollback, rehearse, drills, export):
    recovery.add_command(command)


@recovery.command(help=_("Read a plan and tell what it would find here; changes nothing."))
@click.argument("plan", metavar="PLAN")
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("try a share of the recovery key on the keys"))
@pass_frame
def check(frame: Frame, plan: str, shares: tuple[str, ...]) -> int:
    """Check a plan against what this site holds; exit code 1 if something is missing."""
    from datetime import UTC

    from jbackupd.codec.shares import Share
    from jbackupd.service.readiness import is_ready, readiness
    from jbackupd.settings.plan import load_plan

    wanted = load_plan(plan)
    given = [Share.from_text(share["text"], source=share["source"]) for share in share_texts(shares)]
    findings = readiness(frame.settings(), wanted, datetime.now(UTC), given, text=read_text(plan))
    ready = is_ready(findings)
    document = {
        "plan": wanted.id, "title": wanted.title, "ready": ready,
        "findings": [
            {"step": finding.step or None, "grade": finding.grade.value, "text": finding.text.format(**finding.fields),
             **{key: value for key, value in finding.fields.items() if key in ("point", "age_seconds")}}
            for finding in findings
        ],
    }

    def text() -> None:
        for finding in findings:
            click.echo(_finding_line(frame, finding))
        click.echo(_("the plan can be run here") if ready else _("the plan would not succeed here as it is"))

    frame.emit(document, text)
    return 0 if ready else FAILED


def _finding_line(frame: Frame, finding: Finding) -> str:
    mark = {"good": "○", "note": "・", "bad": "×"}[finding.grade.value]
    zone = running(frame).zone
    shown = {
        key: show_time(value, zone) if isinstance(value, datetime) else in_words(value)
        for key, value in finding.fields.items()
    }
    step = f"{finding.step}: " if finding.step else ""
    return f"{mark} {step}{_(finding.text).format(**shown)}"


@recovery.command(help=_("Run a plan with the shares of the tenant's recovery key."))
@click.argument("plan", metavar="PLAN")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--lost-at", metavar="TIME", help=_("when the home site was lost, RFC 3339; RTO and RPO count from it"))
@click.option(
    "--mode", type=click.Choice(["disaster", "planned", "failback"]), default="disaster",
    help=_("disaster: a site is lost; planned: it hands over; failback: this site takes its work back"),
)
@click.option("--by", default="", metavar="NAME", help=_("who does this, for the record; without it the login's name"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def run(
    frame: Frame, plan: str, shares: tuple[str, ...], lost_at: str | None, mode: str, by: str, local: bool
) -> int:
    """Begin a run in the daemon and watch it; exit code 1 if it did not reach the end."""
    from jbackupd.settings.plan import load_plan

    load_plan(plan)
    return watch(
        frame, "recovery.run", local=local, plan=read_text(plan), shares=share_texts(shares), lost_at=lost_at,
        mode=mode, by=by or login(),
    )


@recovery.command(help=_("Go on with a run that was interrupted or failed."))
@click.argument("run_name", metavar="RUN")
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def resume(frame: Frame, run_name: str, shares: tuple[str, ...], local: bool) -> int:
    """Resume a run; a run is never resumed by itself."""
    return watch(frame, "recovery.resume", local=local, run=run_name, shares=share_texts(shares))


@recovery.command(help=_("Show a run: its steps, its timeline, and the RTO and RPO that it reached."))
@click.argument("run_name", metavar="RUN")
@click.option("--html", "page", metavar="FILE", help=_("write the report as a page to print"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def show(frame: Frame, run_name: str, page: str | None, local: bool) -> int:
    """Show a run; one that is under way is watched to its end."""
    with answering(frame, local=local) as call:
        document = watched(frame, call, "recovery.show", local=local, run=run_name)
    if page is not None:
        from jbackupd.continuity.page import run_page

        write_text(page, run_page(document, shown_in(running(frame).zone)))
        frame.say(_("the report is in {path}").format(path=page))
    return told(frame, document)


@recovery.command(help=_("End a run that is under way, or close the desks of one that is over."))
@click.argument("run_name", metavar="RUN")
@pass_frame
def close(frame: Frame, run_name: str) -> None:
    """Close a run; it stays journalled and can be resumed."""
    with answering(frame, local=False) as call:
        answer = call("recovery.close", run=run_name)
    frame.emit(answer, lambda: click.echo(answer["run"]))
    frame.say(_("its desks are closed; 'jbackupd recovery resume {run}' opens them again").format(run=run_name))


@recovery.command(help=_("List all runs."))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def history(frame: Frame, local: bool) -> None:
    """List the runs, oldest first."""
    with answering(frame, local=local) as call:
        answer = call("recovery.history")

    def text() -> None:
        from jbackupd.continuity.telling import error_text, outcome_text

        zone = running(frame).zone
        for one in answer["runs"]:
            if "error" in one:
                click.echo(f"{one['run']}  {error_text(one['error'])}")
                continue
            when = show_time(datetime.fromisoformat(one["begun_at"]), zone)
            click.echo(f"{one['run']}  {when}  {outcome_text(one)}")

    frame.emit(answer, text)


def share_texts(paths: tuple[str, ...]) -> list[dict[str, str]]:
    """Read share files: `source` (the file's name) and `text` of each."""
    return [{"source": os.path.basename(path), "text": text_of(_bytes(path))} for path in paths]


def read_text(path: str) -> str:
    """Read a plan's file."""
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("unable to read {path}: it is not a text", "name the right file", path=path) from error


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except FileNotFoundError as error:
        raise NotFoundError("unable to read {path}: it does not exist", "name the right file", path=path) from error
    except OSError as error:
        raise StorageError("unable to read {path}: {reason}", path=path, reason=error.strerror) from error


def write_text(path: str, text: str) -> None:
    """Write a page."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError("unable to write {path}: {reason}", path=path, reason=error.strerror) from error
