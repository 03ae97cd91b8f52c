"""`jbackupd feed`: residents as files for other systems, by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.deciding import login
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.texts import _, counted

if TYPE_CHECKING:
    from jbackupd.settings.schema import Feed


@click.group(help=_("Residents as files for other systems (被災者支援システム)."))
def feed() -> None:
    """Hold the commands of feeds."""


@feed.command("list", help=_("List the feeds of this site and their newest files."))
@pass_frame
def list_feeds(frame: Frame) -> None:
    """List feeds; needs no daemon."""
    feeds = frame.settings().feeds

    def text() -> None:
        for one in feeds:
            click.echo(_line(frame, one))
        if not feeds:
            frame.say(_("the configuration has no [[feed]]"))

    frame.emit({"feeds": [_document(one) for one in feeds]}, text)


@feed.command(help=_("Make a feed's file now, of the newest point."))
@click.argument("name", metavar="FEED")
@click.option("--by", default="", metavar="NAME", help=_("who does this, for the record; without it the login's name"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def write(frame: Frame, name: str, by: str, local: bool) -> None:
    """Make a file."""
    from jbackupd.service.feeds import feed_named

    wanted = feed_named(frame.settings(), name)
    who = by or login()
    note = _made_here(frame, wanted, who) if local else running(frame).call("feed.write", feed=name, by=who)

    def text() -> None:
        click.echo(counted("{path}: {count} resident of {point}", "{path}: {count} residents of {point}", note["rows"],
                           path=f"{wanted.to}/{wanted.id}.csv", point=note["point"]))
        for line in _warnings(note):
            click.echo(line)

    frame.emit({**note, "file": f"{wanted.to}/{wanted.id}.csv"}, text)


@feed.command(help=_("Look whether a feed's map and columns can be used; makes nothing."))
@click.argument("name", metavar="FEED")
@pass_frame
def check(frame: Frame, name: str) -> None:
    """Check a feed."""
    from jbackupd.desk.feed import feed_columns
    from jbackupd.desk.mapfile import load_map
    from jbackupd.service.feeds import feed_named

    wanted = feed_named(frame.settings(), name)
    mapped = {field.value for field in load_map(wanted.map).columns.values()}
    columns = feed_columns(wanted.columns)
    empty = [header for header, field in columns.items() if field.value not in mapped]
    document = {"feed": name, "columns": list(columns), "never_filled": empty}

    def text() -> None:
        click.echo(_("{feed}: {columns} columns").format(feed=name, columns=len(columns)))
        if empty:
            click.echo(_("never filled, since the map has no column for them: {columns}").format(
                columns=", ".join(empty)
            ))

    frame.emit(document, text)


def _made_here(frame: Frame, wanted: Feed, by: str) -> dict[str, Any]:
    import msgspec

    from jbackupd.desk.audit import audit_folder, open_audit
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.feeding import make_feed
    from jbackupd.service.lock import state_lock
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    with state_lock(settings.site.state):
        audit = open_audit(PosixFiles(settings.site.state), audit_folder(wanted.dataset.tenant), SystemClock())
        note: dict[str, Any] = msgspec.to_builtins(make_feed(settings, wanted, audit, datetime.now(UTC), by=by))
    return note


def _warnings(note: dict[str, Any]) -> list[str]:
    found = []
    if note["masked"]:
        found.append(counted("{count} of them without address: support measures (支援措置)",
                             "{count} of them without address: support measures (支援措置)", note["masked"]))
    if note["restrictions"] != "trusted":
        found.append(_("nobody knows who is under support measures: no address was written"))
    if note["replaced"]:
        found.append(counted(
            "{count} character is not in {encoding}: see the file .replaced.csv",
            "{count} characters are not in {encoding}: see the file .replaced.csv", note["replaced"],
            encoding=note["encoding"],
        ))
    return found


def _document(one: Feed) -> dict[str, Any]:
    import msgspec

    from jbackupd.service.feeding import last_note

    note = last_note(one)
    return {"id": one.id, "dataset": str(one.dataset), "to": one.to, "schedule": str(one.schedule),
            "last": None if note is None else msgspec.to_builtins(note)}


def _line(frame: Frame, one: Feed) -> str:
    from jbackupd.service.feeding import last_note

    note = last_note(one)
    if note is None:
        return _("{feed}: no file yet ({schedule})").format(feed=one.id, schedule=one.schedule)
    return counted(
        "{feed}: {count} resident of {point}, made {time} by {by}",
        "{feed}: {count} residents of {point}, made {time} by {by}", note.rows, feed=one.id, point=note.point,
        time=show_time(note.made_at, frame.settings().site.zone), by=note.by,
    )
