"""`jbackupd peer`: the other sites, as the daemon sees them."""

from __future__ import annotations

from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.cli.running import running
from jbackupd.cli.status import text_of
from jbackupd.model.errors import PeerError
from jbackupd.model.texts import _
from jbackupd.model.units import show_size


@click.group(help=_("Look at the other sites."))
def peer() -> None:
    """Group of commands."""


@peer.command("list", help=_("List the peers, and how the links stand."))
@pass_frame
def list_peers(frame: Frame) -> None:
    """List the peers of the running daemon."""
    asked = running(frame)
    peers = asked.call("status")["peers"]
    asked.warn()

    def text() -> None:
        for each in peers:
            link = _("up") if each["link"] == "up" else _("down")
            waiting = _("waiting: {size}").format(size=show_size(each["queue_bytes"]))
            click.echo(f"{each['id']:<20} {link:<6} {waiting}")
            if each["error"] is not None:
                click.echo("  " + text_of(each["error"]))

    frame.emit({"peers": peers}, text)


@peer.command(help=_("Measure the way to a peer, or to all; dials if there is no link."))
@click.argument("name", required=False, metavar="[PEER]")
@pass_frame
def ping(frame: Frame, name: str | None) -> int:
    """Measure round trips; exit code 8 when a peer cannot be reached."""
    asked = running(frame)
    found = asked.call("peer.ping", peer=name)["peers"]
    asked.warn()

    def text() -> None:
        for each in found:
            click.echo(f"{each['peer']}: {_answer(each)}")

    frame.emit({"peers": found}, text)
    return PeerError.exit_code if any("error" in each for each in found) else 0


def _answer(found: dict[str, Any]) -> str:
    if "error" in found:
        return text_of(found["error"])
    return f"{found['round_trip_seconds'] * 1000:.1f} ms"
