"""`jbackupd recovery`: run a continuity plan, resume a run, look at runs."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.codec.paper import text_of
from jbackupd.model.errors import NotFoundError, StorageError, UsageError
from jbackupd.model.texts import _
from jbackupd.model.units import show_duration, show_size

if TYPE_CHECKING:
    from jbackupd.settings.plan import Plan

FAILED = 1
STATES = {
    "pending": _("not begun"), "running": _("under way"), "done": _("done"), "failed": _("failed"),
    "skipped": _("left out"),
}


@click.group(help=_("Run a continuity plan."))
def recovery() -> None:
    """Group of commands."""


@recovery.command(help=_("Read a plan and tell what it would find here; changes nothing."))
@click.argument("plan", metavar="PLAN")
@pass_frame
def check(frame: Frame, plan: str) -> int:
    """Check a plan against what this site holds; exit code 1 if something is missing."""
    from jbackupd.settings.plan import load_plan

    wanted = load_plan(plan)
    findings = _findings(frame, wanted)
    document = {"plan": wanted.id, "title": wanted.title, "ready": all(f["ok"] for f in findings), "findings": findings}

    def text() -> None:
        for finding in findings:
            click.echo(("○ " if finding["ok"] else "× ") + finding["text"])

    frame.emit(document, text)
    return 0 if document["ready"] else FAILED


def _findings(frame: Frame, plan: Plan) -> list[dict[str, Any]]:
    from datetime import UTC

    from jbackupd.model.ids import PointSelector
    from jbackupd.service.wiring import point_lists

    found: list[dict[str, Any]] = []
    zone = frame.settings().site.zone
    for step in plan.steps:
        if step.kind != "restore":
            continue
        try:
            (points,) = point_lists(frame.settings(), step.dataset.tenant)
            point = points.find(PointSelector.parse(f"{step.dataset}@{step.point}"))
        except NotFoundError as error:
            found.append({"step": step.id, "ok": False, "text": str(error)})
            continue
        age = (datetime.now(UTC) - point.header.begun_at).total_seconds()
        text = _("{step}: {point} of {time}, {age} old").format(
            step=step.id, point=point.label, time=show_time(point.header.begun_at, zone), age=show_duration(age)
        )
        found.append({
            "step": step.id, "ok": age <= plan.rpo.total_seconds(), "text": text, "point": point.label,
            "age_seconds": round(age),
        })
    return found


@recovery.command(help=_("Run a plan with the shares of the tenant's recovery key."))
@click.argument("plan", metavar="PLAN")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--lost-at", metavar="TIME", help=_("when the home site was lost, RFC 3339; RTO and RPO count from it"))
@pass_frame
def run(frame: Frame, plan: str, shares: tuple[str, ...], lost_at: str | None) -> int:
    """Begin a run in the daemon and watch it; exit code 1 if it did not reach the end."""
    from jbackupd.settings.plan import load_plan

    load_plan(plan)
    return _watch(frame, "recovery.run", plan=_read(plan), shares=_share_texts(shares), lost_at=lost_at)


@recovery.command(help=_("Go on with a run that was interrupted or failed."))
@click.argument("run_name", metavar="RUN")
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("a share of the recovery key"))
@pass_frame
def resume(frame: Frame, run_name: str, shares: tuple[str, ...]) -> int:
    """Resume a run; a run is never resumed by itself."""
    return _watch(frame, "recovery.resume", run=run_name, shares=_share_texts(shares))


@recovery.command(help=_("Show a run: its steps, and the RTO and RPO that it reached."))
@click.argument("run_name", metavar="RUN")
@pass_frame
def show(frame: Frame, run_name: str) -> int:
    """Show a run; one that is under way is watched to its end."""
    return _watch(frame, "recovery.show", run=run_name)


@recovery.command(help=_("List all runs."))
@pass_frame
def history(frame: Frame) -> None:
    """List the runs, oldest first."""
    answer = _ask(frame, "recovery.history")

    def text() -> None:
        for one in answer["runs"]:
            when = show_time(datetime.fromisoformat(one["begun_at"]), frame.settings().site.zone)
            ending = _("proved") if one["proved"] else _("not finished") if not one["over"] else _("failed")
            click.echo(f"{one['run']}  {when}  {ending}")

    frame.emit(answer, text)


def _watch(frame: Frame, verb: str, **arguments: Any) -> int:
    from jbackupd.service.client import call

    def news(event: dict[str, Any]) -> None:
        if "run" in event and "step" not in event:
            frame.say(_("run {run}; closing this terminal does not stop it").format(run=event["run"]))
        elif event.get("event") == "begin":
            frame.say(_("{step}: begins").format(step=event["step"]))
        elif event.get("event") in ("finish", "fail", "skip"):
            words = {"finish": _("done"), "fail": _("failed"), "skip": _("left out")}
            reason = event.get("error", {}).get("message", "")
            frame.say(f"{event['step']}: {words[event['event']]} {reason}".rstrip())

    answer = call(frame.settings().site.state, verb, news, **arguments)
    frame.emit(answer, lambda: _show_run(frame, answer))
    return 0 if answer["proved"] else _failure(answer)


def _failure(document: dict[str, Any]) -> int:
    """Return the exit code of the first step that failed; 1 for a run that just did not reach its end."""
    codes = [step["detail"]["error"]["exit_code"] for step in document["steps"] if "error" in step["detail"]]
    return codes[0] if codes else FAILED


def _show_run(frame: Frame, document: dict[str, Any]) -> None:
    zone = frame.settings().site.zone
    click.echo(f"{document['title']} ({document['run']})")
    for step in document["steps"]:
        line = f"  {step['step']:<16} {STATES[step['state']]}"
        if step["seconds"] is not None:
            line += f"  {step['seconds']:.1f} s"
        click.echo(line + _detail(step["detail"]))
    for name, key in (("RPO", "rpo"), ("RTO", "rto")):
        reached, target = document[f"{key}_seconds"], document[f"{key}_target_seconds"]
        if reached is not None:
            click.echo(_("{name} reached: {reached} (target {target})").format(
                name=name, reached=show_duration(reached), target=show_duration(target)
            ))
    click.echo(_("begun {time}").format(time=show_time(datetime.fromisoformat(document["begun_at"]), zone)))


def _detail(detail: dict[str, Any]) -> str:
    parts = []
    if "point" in detail:
        parts.append(f"{detail['point']}, {show_size(detail.get('bytes', 0))}")
    if "url" in detail:
        parts.append(_("{url}, first sign-in: {file}").format(url=detail["url"], file=detail["passwords_file"]))
    if "look_ups" in detail:
        parts.append(_("{count} look-ups, as of {as_of}").format(count=detail["look_ups"], as_of=detail["as_of_shown"]))
    if "error" in detail:
        parts.append(detail["error"]["message"])
    return "  " + ", ".join(parts) if parts else ""


def _ask(frame: Frame, verb: str, **arguments: Any) -> dict[str, Any]:
    from jbackupd.service.client import call

    return call(frame.settings().site.state, verb, **arguments)


def _share_texts(paths: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"source": os.path.basename(path), "text": text_of(_bytes(path))} for path in paths]


def _read(path: str) -> str:
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
