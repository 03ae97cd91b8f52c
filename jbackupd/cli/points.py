"""`jbackupd points`, `ls` and `cat`: what is in a vault, looked at without changing it."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli import hold
from jbackupd.cli.output import (
    Frame,
    error_document,
    pass_frame,
    path_fields,
    print_document,
    report,
    show_path,
    show_time,
    time_text,
)
from jbackupd.cli.reading import (
    ENCODING,
    below,
    entry_fields,
    header_fields,
    opened_point,
    opened_vault,
    tree_path,
)
from jbackupd.model.errors import EXIT_OK, DamageError, JbackupdError, KeyMissingError, NotFoundError, UsageError
from jbackupd.model.ids import DatasetId, ObjectName
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.vault.vault import StoredPoint, Vault

EXPIRY_AHEAD = timedelta(days=100)
"""Nobody plans further by a list; `points forecast` looks as far as it is told."""
_TYPE_BITS = {EntryType.FILE: stat.S_IFREG, EntryType.FOLDER: stat.S_IFDIR, EntryType.SYMLINK: stat.S_IFLNK}


@click.group(help=_("List and show points."))
def points() -> None:
    """Group of commands."""


for _command in (hold.hold, hold.unhold, hold.forecast):
    points.add_command(_command)


@points.command("list", help=_("List the points of a dataset, or of all."))
@click.argument("dataset", required=False)
@click.option("--removed", "with_removed", is_flag=True, help=_("also those that retention has given up"))
@pass_frame
def list_points(frame: Frame, dataset: str | None, with_removed: bool) -> int:
    """List points; needs no keys and no daemon. Exit code 4 when one is damaged; the others are listed."""
    from jbackupd.service.wiring import point_lists
    from jbackupd.vault.erased import erased_points
    from jbackupd.vault.expiry import Removed, removed_points
    from jbackupd.vault.holds import Hold, Holds

    wanted = DatasetId.parse(dataset) if dataset else None
    listed: list[StoredPoint] = []
    damaged: list[JbackupdError] = []
    erased: dict[ObjectName, datetime] = {}
    removed: dict[ObjectName, Removed] = {}
    holds: dict[ObjectName, Hold] = {}
    for point_list in point_lists(frame.settings(), wanted.tenant if wanted else None):
        for found in point_list.datasets() if wanted is None else [wanted]:
            readable = point_list.listed(found)
            # Whoever must restore needs the numbers of those that are readable, gaps or not.
            listed += readable if point_list.damaged else point_list.chain(found)
        damaged += point_list.damaged.values()
        records = erased_points(point_list.store, point_list.verifiers)
        erased |= {name: record.made_at for name, record in records.items()}
        removed |= removed_points(point_list.store, point_list.verifiers, lenient=True)
        holds |= Holds(point_list.store).all()
    if wanted is not None and not listed and not damaged:
        raise NotFoundError("{dataset} has no point", "take one with 'jbackupd backup {dataset}'", dataset=wanted)
    zone = frame.settings().site.zone
    listed = [point for point in listed if with_removed or point.name not in removed]
    expiring = _expiring(frame, listed)

    def text() -> None:
        for point in listed:
            mark = "  " + _("incomplete") if point.header.incomplete else ""
            if point.name in erased:
                mark += "  " + _("erased on {time}").format(time=show_time(erased[point.name], zone))
            if point.name in removed:
                mark += "  " + _("removed on {time}").format(time=show_time(removed[point.name].made_at, zone))
            elif point.name in holds:
                mark += "  " + _("held: {reason}").format(reason=holds[point.name].reason)
            elif point.label in expiring:
                mark += "  " + _("goes on {time}").format(time=show_time(expiring[point.label], zone))
            click.echo(f"{point.label:<32}  {show_time(point.header.taken_at, zone)}  {point.header.site}{mark}")

    fields = [
        header_fields(point) | {
            "erased_at": time_text(erased[point.name]) if point.name in erased else None,
            "removed_at": time_text(removed[point.name].made_at) if point.name in removed else None,
            "held": holds[point.name].reason if point.name in holds else None,
            "expires_at": time_text(expiring[point.label]) if point.label in expiring else None,
        }
        for point in listed
    ]
    frame.emit({"points": fields, "damaged": [error_document(error)["error"] for error in damaged]}, text)
    for error in damaged if not frame.json else ():
        report(error, as_json=False)
    return damaged[0].exit_code if damaged else EXIT_OK


def _expiring(frame: Frame, listed: list[StoredPoint]) -> dict[str, datetime]:
    """Return when retention will remove which points, within EXPIRY_AHEAD, by their labels."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.outlook import forecasts

    settings = frame.settings()
    ruled = {point.header.dataset for point in listed} & {
        dataset.id for dataset in settings.datasets if not dataset.retention.rules.keeps_everything
    }
    return {
        f"{found.dataset}@{removal.point.sequence}": removal.at
        for dataset in ruled
        for found in forecasts(settings, dataset, SystemClock().now(), EXPIRY_AHEAD, with_new_points=True)
        for removal in found.removals
    }


@points.command(help=_("Show what one point consists of."))
@click.argument("point")
@pass_frame
def show(frame: Frame, point: str) -> None:
    """Show a point's clear part, and its statistics where this site has the keys."""
    from jbackupd.vault.erased import destroyed_objects, erased_points
    from jbackupd.vault.expiry import where_now

    with opened_vault(frame, point) as (vault, stored):
        document = header_fields(stored)
        needed = vault.points.needed(stored.header.dataset, stored.header.sequence)
        needed -= destroyed_objects(vault.store, vault.points.verifiers)
        needed = where_now(vault.store, needed)
        document["needed_objects"] = len(needed)
        document["needed_bytes"] = sum(vault.store.size(ref) for ref in needed)
        document["statistics"] = _statistics(vault, stored)
        erased = erased_points(vault.store, vault.points.verifiers).get(stored.name)
        document["erased_at"] = time_text(erased.made_at) if erased is not None else None
    frame.emit(document, lambda: _show(stored, document, frame.settings().site.zone))


def _statistics(vault: Vault, stored: StoredPoint) -> dict[str, Any] | None:
    try:
        statistics = vault.open_point(stored).body.statistics
    except KeyMissingError:
        return None
    return {
        "files": statistics.files,
        "folders": statistics.folders,
        "symlinks": statistics.symlinks,
        "source_bytes": statistics.source_bytes,
        "new_frames": statistics.new_frames,
        "delta_frames": statistics.delta_frames,
        "unreadable": [
            {**path_fields(missing.path), "reason": missing.reason} for missing in statistics.unreadable
        ],
    }


def _show(stored: StoredPoint, document: dict[str, Any], zone: tzinfo) -> None:
    """Write a point for people."""
    header, statistics = stored.header, document["statistics"]
    rows = [
        (_("point"), stored.label),
        (_("taken"), show_time(header.taken_at, zone)),
        (_("begun"), show_time(header.begun_at, zone)),
        (_("site and epoch"), f"{header.site} {header.epoch}"),
        (_("objects needed"), f"{document['needed_objects']} ({show_size(document['needed_bytes'])})"),
        (_("name"), document["name"]),
    ]
    if document["erased_at"] is not None:
        when = show_time(datetime.fromisoformat(document["erased_at"]), zone)
        rows.append((_("content"), _("erased on {time}").format(time=when)))
    elif statistics is None:
        rows.append((_("content"), _("sealed: this site does not have the key")))
    else:
        counted = _("{files} files, {folders} folders, {symlinks} symlinks, {size}")
        rows.append((_("content"), counted.format(size=show_size(statistics["source_bytes"]), **statistics)))
        rows += [
            (_("not taken"), f"{missing['path']}: {missing['reason']}") for missing in statistics["unreadable"]
        ]
    for label, value in rows:
        click.echo(f"{label}: {value}")


@click.command(help=_("List what a folder of a point holds."))
@click.argument("point")
@click.argument("path", default="")
@click.option("-r", "--recursive", is_flag=True, help=_("everything below"))
@ENCODING
@pass_frame
def ls(frame: Frame, point: str, path: str, recursive: bool, encoding: str) -> None:
    """List entries of a point."""
    zone = frame.settings().site.zone
    fields: list[dict[str, Any]] = []
    is_there = not path.strip("/")
    with opened_point(frame, point) as open_point:
        label = open_point.stored.label
        for entry in below(open_point.entries(), tree_path(path, encoding), recursive=recursive):
            is_there = True
            if frame.json:
                fields.append(entry_fields(entry))
            else:
                # Line by line: a million files need no memory here.
                click.echo(_line(entry, encoding, zone))
    if not is_there:
        raise _no_such_path(label, path)
    if frame.json:
        print_document({"point": label, "entries": fields})


def _line(entry: TreeEntry, encoding: str, zone: tzinfo) -> str:
    moment = datetime.fromtimestamp(entry.mtime_ns // 1_000_000_000, UTC).astimezone(zone)
    name = show_path(entry.path, encoding)
    if entry.type is EntryType.SYMLINK:
        name += " -> " + show_path(entry.target, encoding)
    mode = stat.filemode(_TYPE_BITS[entry.type] | entry.mode)
    return f"{mode} {entry.uid:>5} {entry.gid:>5} {entry.size:>12} {moment:%Y-%m-%d %H:%M} {name}"


@click.command(help=_("Write a file of a point to standard output."))
@click.argument("point")
@click.argument("path")
@ENCODING
@pass_frame
def cat(frame: Frame, point: str, path: str, encoding: str) -> None:
    """Write a file's bytes; exit code 4 if they turn out not to be what was taken."""
    wanted = tree_path(path, encoding)
    with opened_point(frame, point) as open_point:
        label = open_point.stored.label
        entry = next((entry for entry in open_point.entries() if entry.path == wanted), None)
        if entry is None:
            raise _no_such_path(label, path)
        if entry.type is not EntryType.FILE:
            raise UsageError("{path} is not a file", "name a file", path=path)
        digest = open_point.content_hash.file_digest()
        for piece in open_point.read(entry.extents):
            digest.update(piece)
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        if digest.digest() != entry.digest:
            raise DamageError(
                "the content of {path} in {point} is not what was taken",
                "run 'jbackupd verify', then fetch damaged objects again from a peer", path=path, point=label,
            )


def _no_such_path(point: str, path: str) -> NotFoundError:
    return NotFoundError(
        "{point} holds no {path}", "`jbackupd ls -r {point}` shows what there is", point=point, path=path
    )
