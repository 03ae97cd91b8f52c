"""`jbackupd points hold|unhold|forecast`: what must stay, and what goes when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time, time_text
from jbackupd.cli.reclaim import reasons_text
from jbackupd.model.errors import NotFoundError, UsageError
from jbackupd.model.ids import DatasetId, PointSelector
from jbackupd.model.texts import _
from jbackupd.model.units import parse_duration

DAYS_MAX = 3660


@click.command(help=_("Keep a point whatever retention says, until it is let go."))
@click.argument("point")
@click.option("--reason", required=True, metavar="TEXT", help=_("why, for who comes later"))
@pass_frame
def hold(frame: Frame, point: str, reason: str) -> None:
    """Hold a point; works beside a running daemon."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.holding import hold_point

    held = hold_point(frame.settings(), PointSelector.parse(point), reason, SystemClock())
    frame.emit({"point": held.label, "name": held.name.hex(), "held": True, "reason": reason}, lambda: None)
    frame.say(_("{point} is held: {reason}").format(point=held.label, reason=reason))


@click.command(help=_("Let a held point go: retention decides about it again."))
@click.argument("point")
@pass_frame
def unhold(frame: Frame, point: str) -> None:
    """End a hold."""
    from jbackupd.service.holding import unhold_point

    released = unhold_point(frame.settings(), PointSelector.parse(point))
    frame.emit({"point": released.label, "name": released.name.hex(), "held": False}, lambda: None)
    frame.say(_("{point} is no longer held.").format(point=released.label))


@click.command(help=_("Show which points retention will remove, and when."))
@click.argument("dataset", required=False)
@click.option("--within", default="400d", metavar="DURATION", help=_("how far to look ahead (default 400d)"))
@click.option("--no-new-points", is_flag=True, help=_("as if no further point were taken"))
@pass_frame
def forecast(frame: Frame, dataset: str | None, within: str, no_new_points: bool) -> None:
    """Play the retention ahead, with points taken as often as now; nothing is changed."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.outlook import forecasts

    ahead = parse_duration(within)
    if ahead > timedelta(days=DAYS_MAX):
        raise UsageError("{text!r} is too far ahead", "look at most {days} days ahead", text=within, days=DAYS_MAX)
    wanted = DatasetId.parse(dataset) if dataset else None
    found = forecasts(frame.settings(), wanted, SystemClock().now(), ahead, with_new_points=not no_new_points)
    if wanted is not None and not found:
        raise NotFoundError("{dataset} has no point", "take one with 'jbackupd backup {dataset}'", dataset=wanted)
    documents = [
        {
            "dataset": str(each.dataset), "points": each.points, "every_seconds": each.every_seconds,
            "removals": [
                {
                    "point": f"{each.dataset}@{removal.point.sequence}", "taken_at": time_text(removal.point.taken_at),
                    "removed_at": time_text(removal.at), "reason": removal.reason.value,
                }
                for removal in each.removals
            ],
        }
        for each in found
    ]
    frame.emit({"within_seconds": int(ahead.total_seconds()), "datasets": documents}, lambda: _show(documents, frame))


def _show(documents: list[dict[str, Any]], frame: Frame) -> None:
    from datetime import datetime

    zone = frame.settings().site.zone
    for document in documents:
        for each in document["removals"]:
            click.echo(_("{point} of {taken} goes on {time}: {why}").format(
                point=each["point"], taken=show_time(datetime.fromisoformat(each["taken_at"]), zone),
                time=show_time(datetime.fromisoformat(each["removed_at"]), zone), why=reasons_text([each["reason"]]),
            ))
        left = document["points"] - len(document["removals"])
        click.echo(_("{dataset}: {points} points, {left} of them are still there then").format(
            dataset=document["dataset"], points=document["points"], left=left
        ))
