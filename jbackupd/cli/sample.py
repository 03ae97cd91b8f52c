"""`jbackupd sample`: restore a sample of the newest points for nobody, compare it, remove it (復元確認)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import DamageError
from jbackupd.model.ids import DatasetId
from jbackupd.model.texts import _, counted

if TYPE_CHECKING:
    from datetime import tzinfo

INCOMPLETE = 3


@click.command(help=_("Restore a sample of the newest points for nobody, compare it, and remove it again."))
@click.argument("dataset", required=False)
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def sample(frame: Frame, dataset: str | None, local: bool) -> int:
    """Sample one dataset, or all of this site; exit code 4 if one cannot be restored, 3 if one could not be tried."""
    wanted = [str(DatasetId.parse(dataset))] if dataset else [str(one.id) for one in frame.settings().datasets]
    results = {name: _here(frame, name) if local else running(frame).call("sample", dataset=name) for name in wanted}
    zone = frame.settings().site.zone

    def text() -> None:
        for name, result in results.items():
            click.echo(line(name, result, zone))

    frame.emit({"samples": [{"dataset": name, **result} for name, result in results.items()]}, text)
    states = {result["state"] for result in results.values()}
    return DamageError.exit_code if "failed" in states else INCOMPLETE if "unproved" in states else 0


def line(name: str, result: dict[str, Any], zone: tzinfo) -> str:
    """Return what a sample came to on one line."""
    word = {"proved": _("restore proved"), "unproved": _("restore not proved"), "failed": _("CANNOT BE RESTORED")}
    parts = [f"{name}: {word[result['state']]}"]
    if result.get("at") is not None and result["state"] == "proved":
        at = datetime.fromisoformat(result["at"].replace("Z", "+00:00"))
        of = counted("{files} of {count} file", "{files} of {count} files", result["total_files"],
                     files=result["files"])
        parts.append(f"{result['point']}, {of}, {show_time(at, zone)}")
    if result["reason"]:
        parts.append(result["reason"])
    return "; ".join(parts)


def _here(frame: Frame, name: str) -> dict[str, Any]:
    import time

    import msgspec

    from jbackupd.service import sampling
    from jbackupd.service.lock import state_lock

    settings = frame.settings()
    with state_lock(settings.site.state):
        result = sampling.sample(settings, DatasetId.parse(name), datetime.now(UTC), clock=time.monotonic)
    found: dict[str, Any] = msgspec.to_builtins(result)
    return found
