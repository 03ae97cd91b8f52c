"""`jbackupd limit`: how much of a line is used, changed while it is in use."""

from __future__ import annotations

from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.cli.running import running
from jbackupd.model.texts import _
from jbackupd.model.units import parse_rate, show_rate


@click.group(help=_("Show and change how much of a line is used."))
def limit() -> None:
    """Group of commands."""


@limit.command(help=_("Show the limits in force."))
@pass_frame
def show(frame: Frame) -> None:
    """Show the limits of all peers."""
    _emit(frame, _asked(frame, "limit.show"))


@limit.command("set", help=_("Change a peer's limit at once, until the daemon stops or takes its configuration anew."))
@click.argument("name", metavar="PEER")
@click.argument("rate")
@pass_frame
def set_limit(frame: Frame, name: str, rate: str) -> None:
    """Set a rate such as 10Mbit/s; 0 holds the line without closing it."""
    _change(frame, name, 0 if rate == "0" else parse_rate(rate))


@limit.command(help=_("Let a peer be sent to as fast as the line carries."))
@click.argument("name", metavar="PEER")
@pass_frame
def off(frame: Frame, name: str) -> None:
    """Remove a limit."""
    _change(frame, name, None)


def _change(frame: Frame, peer: str, bytes_per_second: int | None) -> None:
    _emit(frame, _asked(frame, "limit.set", peer=peer, bytes_per_second=bytes_per_second))


def _asked(frame: Frame, verb: str, **arguments: Any) -> dict[str, Any]:
    asked = running(frame)
    answer = asked.call(verb, **arguments)
    asked.warn()
    return answer


def _emit(frame: Frame, document: dict[str, Any]) -> None:
    def text() -> None:
        for each in document["limits"]:
            line = f"{each['peer']}: {_rate(each['bytes_per_second'])}"
            if each["bytes_per_second"] != each["configured_bytes_per_second"]:
                line += " " + _("(configured: {rate})").format(rate=_rate(each["configured_bytes_per_second"]))
            click.echo(line)

    frame.emit(document, text)


def _rate(bytes_per_second: float | None) -> str:
    if bytes_per_second is None:
        return _("no limit")
    return show_rate(bytes_per_second) if bytes_per_second else _("held")
