"""`jbackupd status`: one page of how every dataset and every peer stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.cli.sample import line as sample_line
from jbackupd.model.errors import NotFoundError, filled
from jbackupd.model.ids import DatasetId
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_duration, show_rate, show_size


@click.command(help=_("Show how every dataset stands, or one."))
@click.argument("name", required=False, metavar="[DATASET]")
@click.option("--watch", is_flag=True, help=_("again at every change, until interrupted"))
@pass_frame
def status(frame: Frame, name: str | None, watch: bool) -> None:
    """Ask the daemon; exit code 10 when none is running. With --watch it tells of every change."""
    asked = running(frame)
    wanted = DatasetId.parse(name) if name else None

    def show(page: dict[str, Any]) -> None:
        if watch and not frame.json:
            click.clear()
        chosen = _only(page, wanted)
        chosen["configuration"]["on_disk_error"] = asked.document()
        asked.warn()
        frame.emit(chosen, lambda: _show(asked.zone, chosen))

    page = asked.call("status", show, watch=watch)
    if not watch:
        show(page)


def _only(page: dict[str, Any], wanted: DatasetId | None) -> dict[str, Any]:
    """Return the page with one dataset only."""
    if wanted is None:
        return page
    found = [dataset for dataset in page["datasets"] if dataset["id"] == str(wanted)]
    if not found:
        raise NotFoundError(
            "there is no dataset {dataset} in the configuration", "see 'jbackupd config show'", dataset=wanted
        )
    return page | {"datasets": found}


def _show(zone: tzinfo, page: dict[str, Any]) -> None:
    for line in _lines(zone, page):
        click.echo(line)


def _lines(zone: tzinfo, page: dict[str, Any]) -> Iterator[str]:
    error = page["configuration"]["error"]
    yield _("site {site}, jbackupd {version}, process {pid}").format(**page)
    if error is not None:
        yield _("the configuration on disk was not taken: {reason}").format(reason=text_of(error))
    for dataset in page["datasets"]:
        yield ""
        yield from _dataset_lines(zone, dataset)
    if page["peers"]:
        yield ""
    for peer in page["peers"]:
        yield from _peer_lines(peer)
    if page["held"]:
        yield ""
    for held in page["held"]:
        yield _("held for another site: {dataset}: {point}").format(dataset=held["id"], point=_point(held["newest"]))
    for vault in page.get("retention", ()):
        yield from _retention_lines(vault)
    for vault in page.get("soundness", ()):
        yield from _soundness_lines(vault)
    for plan in page.get("plans", ()):
        yield from _plan_lines(zone, plan)
    if page.get("samples"):
        yield ""
    for one in page.get("samples", ()):
        yield sample_line(one["dataset"], one, zone)
    for feed in page.get("feeds", ()):
        yield from _feed_lines(zone, feed)
    for package in page.get("packages", ()):
        yield from _package_lines(zone, package)
    for desk in page.get("intake", ()):
        yield from _desk_lines(desk)
    for job in page["jobs"]:
        yield _job_line(job)


def _dataset_lines(zone: tzinfo, dataset: dict[str, Any]) -> Iterator[str]:
    yield f"{_mark(dataset['deadline'])} {dataset['id']}  " + _("tier {tier}, RPO {rpo}").format(
        tier=dataset["tier"], rpo=show_duration(dataset["rpo_seconds"])
    )
    yield "    " + _("here: {point}").format(point=_point(dataset["newest"]))
    for copy in dataset["copies"]:
        line = f"  {_mark(copy['deadline'])} {copy['peer']}: {_point(copy['point'])}"
        if copy["waiting_points"]:
            line += ", " + counted(
                "waiting: {count} point, {size}", "waiting: {count} points, {size}", copy["waiting_points"],
                size=show_size(copy["waiting_bytes"]),
            )
        yield line
    if dataset["next_run"] is not None:
        moment = datetime.fromisoformat(dataset["next_run"])
        yield "    " + _("next: {time} ({schedule})").format(
            time=show_time(moment, zone), schedule=dataset["schedule"]
        )
    last = dataset["last_job"]
    if last is not None and last["error"] is not None:
        yield "    " + _("last run failed: {reason}").format(reason=text_of(last["error"]))
    if dataset["unreadable_files"]:
        yield "    " + counted(
            "could not be taken: {count} file", "could not be taken: {count} files", dataset["unreadable_files"]
        )
    if dataset["error"] is not None:
        yield "    " + text_of(dataset["error"])


def _retention_lines(vault: dict[str, Any]) -> Iterator[str]:
    """Yield what somebody should see to; a retention that does its work needs no line."""
    if vault["frozen"] is not None:
        yield _("{tenant}: nothing is removed: frozen ({reason})").format(
            tenant=vault["tenant"], reason=vault["frozen"]
        )
    elif vault["error"] is not None:
        yield _("{tenant}: nothing was reclaimed: {reason}").format(
            tenant=vault["tenant"], reason=text_of(vault["error"])
        )
    if vault["overdue_points"]:
        yield counted(
            "{tenant}: {count} point stays although its upper bound is passed",
            "{tenant}: {count} points stay although their upper bound is passed", vault["overdue_points"],
            tenant=vault["tenant"],
        )


def _soundness_lines(vault: dict[str, Any]) -> Iterator[str]:
    """Yield what somebody should see to; a vault that is whole needs no line."""
    if vault["unsound_objects"]:
        yield counted(
            "{tenant}: {count} object is damaged or missing: see 'jbackupd vault repair'",
            "{tenant}: {count} objects are damaged or missing: see 'jbackupd vault repair'", vault["unsound_objects"],
            tenant=vault["tenant"],
        )
    if vault["error"] is not None:
        yield _("{tenant}: it could not be verified: {reason}").format(
            tenant=vault["tenant"], reason=text_of(vault["error"])
        )


def _plan_lines(zone: tzinfo, plan: dict[str, Any]) -> Iterator[str]:
    from jbackupd.continuity.drill import Proof
    from jbackupd.continuity.drilltelling import proof_words

    proof = proof_words(Proof(plan["proof"]))
    if plan["proved_at"] is not None:
        proof += f" ({show_time(datetime.fromisoformat(plan['proved_at']), zone)})"
    ready = _("could be run now") if plan["ready"] else _("COULD NOT BE RUN NOW")
    yield _("plan {plan}: {proof}; {ready}").format(plan=plan["plan"] or plan["file"], proof=proof, ready=ready)
    if plan.get("drill_called_at") is not None:
        yield "    " + _("a drill is called since {time}: fetch the shares, then 'jbackupd recovery rehearse'").format(
            time=show_time(datetime.fromisoformat(plan["drill_called_at"]), zone)
        )
    if plan["error"] is not None:
        yield "    " + text_of(plan["error"])
    for finding in plan["findings"]:
        yield "    " + (f"{finding['step']}: " if finding["step"] else "") + finding["text"]


def _package_lines(zone: tzinfo, package: dict[str, Any]) -> Iterator[str]:
    state = {
        "fresh": _("[ok]"), "old": _("[LATE]"), "away": _("[AWAY]"), "failed": _("[FAILED]"),
        "expired": _("[EXPIRED]"), "unfounded": _("[NONE]"),
    }[package["state"]]
    last = _("never written") if package["made_at"] is None else _("{point}, opens until {time}").format(
        point=package["point"], time=show_time(datetime.fromisoformat(package["expires_at"]), zone)
    )
    yield f"{state} " + _("package {package}: {last}").format(package=package["package"], last=last)
    if package["error"] is not None:
        yield "    " + text_of(package["error"])


def _feed_lines(zone: tzinfo, feed: dict[str, Any]) -> Iterator[str]:
    state = {"fresh": _("[ok]"), "late": _("[LATE]"), "failed": _("[FAILED]"), "never": _("[NONE]")}[feed["state"]]
    made = _("no file yet") if feed["made_at"] is None else _("{point}, made {time}").format(
        point=feed["point"], time=show_time(datetime.fromisoformat(feed["made_at"]), zone)
    )
    yield f"{state} " + _("feed {feed}: {made}").format(feed=feed["feed"], made=made)
    if feed["error"] is not None:
        yield "    " + text_of(feed["error"])


def _desk_lines(desk: dict[str, Any]) -> Iterator[str]:
    """Yield where the receptions of a desk lie besides here."""
    have = [each["site"] for each in desk["deposits"] if each["error"] is None and each["bytes"] == desk["bytes"]]
    where = _("also at {sites}").format(sites=", ".join(have)) if have else _("AT THIS SITE ALONE")
    yield _("receptions of {tenant} at desk {desk}: {where}").format(where=where, **desk)
    for each in desk["deposits"]:
        if each["error"] is not None:
            yield f"    {each['site']}: {text_of(each['error'])}"


def _peer_lines(peer: dict[str, Any]) -> Iterator[str]:
    line = _("link to {peer}: up") if peer["link"] == "up" else _("link to {peer}: down")
    line = line.format(peer=peer["id"])
    if peer["round_trip_seconds"] is not None:
        line += f", {peer['round_trip_seconds'] * 1000:.0f} ms"
    if peer["limit_bytes_per_second"] is not None:
        line += ", " + _("limit {rate}").format(rate=show_rate(peer["limit_bytes_per_second"]))
    if peer["queue_bytes"]:
        line += ", " + _("waiting: {size}").format(size=show_size(peer["queue_bytes"]))
    yield line
    sending = peer["sending"]
    if sending is not None:
        yield "    " + _("sending {dataset}@{sequence}: {done} of {total}").format(
            dataset=sending["dataset"], sequence=sending["sequence"], done=show_size(sending["bytes_done"]),
            total=show_size(sending["bytes_total"]),
        )
    if peer["error"] is not None:
        yield "    " + text_of(peer["error"])
    for trouble in peer["troubles"]:
        yield f"    {trouble['dataset']}: {text_of(trouble)}"


def _job_line(job: dict[str, Any]) -> str:
    if job["state"] != "running":
        return _("job {number}: {subject} waits").format(**job)
    progress = job["progress"]
    line = _("job {number}: {subject}: {size}, {rate}").format(
        number=job["number"], subject=job["subject"], size=show_size(progress["bytes"]),
        rate=show_rate(progress["bytes_per_second"]),
    )
    if progress["seconds_left"] is not None:
        line += ", " + _("{duration} left").format(duration=show_duration(progress["seconds_left"]))
    return line


def _mark(deadline: str) -> str:
    # Words, not colours alone: pages are printed, and read by people who do not see red.
    return {"met": _("[ok]"), "late": _("[LATE]"), "never": _("[NONE]")}[deadline]


def _point(point: dict[str, Any] | None) -> str:
    if point is None:
        return _("no point")
    text = _("point {sequence}, {age} old").format(
        sequence=point["sequence"], age=show_duration(point["age_seconds"])
    )
    return text + (", " + _("incomplete") if point["incomplete"] else "")


def text_of(error: dict[str, Any]) -> str:
    """Return an error of a document in the person's language."""
    return filled(_(error["message"]), error["fields"])
