"""`jbackupd vault repair`: take what is damaged or missing again from where it is sound; say what nobody has."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, path_fields, show_path
from jbackupd.cli.progress import Progress
from jbackupd.model.errors import EXIT_OK, DamageError, JbackupdError, NoDaemonError, NotFoundError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.engine.affected import Affected
    from jbackupd.engine.repair import Broken
    from jbackupd.settings.schema import Settings

NOTHING_DONE: dict[str, Any] = {"healed": 0, "healed_bytes": 0, "places": [], "failures": {}}
FILES_SHOWN = 50
"""On a terminal; --json names every file."""


@click.command(help=_("Take damaged and missing objects again from another site or folder; say what nobody has."))
@click.argument("tenant", required=False)
@click.option("--from", "place", metavar="SITE|DIR", help=_("only from this site, or from this folder of a vault"))
@click.option("--dry-run", is_flag=True, help=_("only show what is damaged or missing, and what is affected"))
@pass_frame
def repair(frame: Frame, tenant: str | None, place: str | None, dry_run: bool) -> int:
    """Repair one vault or all of this site; exit code 4 names what is left, with the points and files."""
    from jbackupd.service.repairing import broken_objects

    settings = frame.settings()
    documents = []
    for name in _tenants(settings, tenant):
        broken = broken_objects(settings, name)
        done = NOTHING_DONE
        if broken and not dry_run:
            done = _repair(frame, settings, name, place)
            broken = broken_objects(settings, name)
        documents.append({"tenant": name, **done, **_left(settings, name, broken)})
    frame.emit({"dry_run": dry_run, "vaults": documents}, lambda: _show(documents))
    return DamageError.exit_code if any(document["broken"] for document in documents) else EXIT_OK


def _tenants(settings: Settings, tenant: str | None) -> list[TenantId]:
    from jbackupd.service.wiring import tenants_here
    from jbackupd.storage.files import PosixFiles

    there = tenants_here(PosixFiles(settings.site.state))
    if tenant is None:
        return there
    if tenant not in there:
        raise NotFoundError(
            "there is no vault of {tenant} here", "the vaults of this site: {known}", tenant=tenant,
            known=", ".join(there) or "-",
        )
    return [TenantId(tenant)]


def _repair(
    frame: Frame, settings: Settings, tenant: TenantId, place: str | None
) -> dict[str, Any]:
    """Repair from a folder in this process; from other sites by the daemon, which has the lines."""
    from jbackupd.service.client import call

    if place is not None and (os.sep in place or os.path.isdir(place)):
        return _repair_from_folder(frame, settings, tenant, place)
    if place is not None and SiteId(place) not in {peer.id for peer in settings.peers}:
        raise NotFoundError(
            "{place} is neither another site nor a folder", "the other sites: {known}", place=place,
            known=", ".join(peer.id for peer in settings.peers) or "-",
        )
    try:
        return call(settings.site.state, "repair", tenant=tenant, site=place)
    except NoDaemonError:
        # What is affected is told all the same.
        frame.say(_("The other sites were not asked: no daemon runs here. Start it, or name a folder: --from DIR"))
        return NOTHING_DONE


def _repair_from_folder(
    frame: Frame, settings: Settings, tenant: TenantId, folder: str
) -> dict[str, Any]:
    import asyncio
    import functools

    from jbackupd.engine.repair import repair as run
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.leases import reading
    from jbackupd.service.repairing import broken_objects, folder_place, note_healed, repaired_document
    from jbackupd.service.verifying import stores_of

    store, _points = stores_of(settings, tenant)
    place = folder_place(folder, tenant)
    with Progress(_("repairing"), quiet=frame.quiet) as progress, reading(settings.site.state, tenant):
        find = functools.partial(broken_objects, settings, tenant)
        done = asyncio.run(run(store, find, [place], on_bytes=progress.update))
    note_healed(store, done, SystemClock())
    return repaired_document(done)


def _left(settings: Settings, tenant: TenantId, broken: list[Broken]) -> dict[str, Any]:
    """Return what is not whole, for machines: the objects, the points that need them, the files."""
    from jbackupd.service.repairing import affected_by

    files: list[Affected] = []
    reason: str | None = None
    try:
        files = list(affected_by(settings, tenant, broken))
    except JbackupdError as error:
        # A site that only stores cannot look into points: the objects and points say what there is to say.
        reason = str(error)
    return {
        "broken": [
            {
                "kind": each.ref.kind.name.lower(), "object": each.ref.name.hex(), "code": each.error.code,
                "points": list(each.points),
            }
            for each in broken
        ],
        "affected": [
            {"point": each.point, "closed": each.is_closed, **(path_fields(each.path) if each.path is not None else {})}
            for each in files
        ],
        "affected_unknown": reason,
    }


def _show(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        if document["healed"]:
            click.echo(counted(
                "{tenant}: {count} object is sound again, {size}, from {places}",
                "{tenant}: {count} objects are sound again, {size}, from {places}", document["healed"],
                tenant=document["tenant"], size=show_size(document["healed_bytes"]),
                places=", ".join(document["places"]),
            ))
        for name, error in document["failures"].items():
            click.echo(_("{place} could not help: {reason}").format(place=name, reason=error))
        if document["broken"]:
            _show_left(document)
        elif not document["healed"]:
            click.echo(_("{tenant}: nothing is missing, and nothing is known to be damaged").format(
                tenant=document["tenant"]
            ))


def _show_left(document: dict[str, Any]) -> None:
    click.echo(counted(
        "{tenant}: {count} object is damaged or missing:", "{tenant}: {count} objects are damaged or missing:",
        len(document["broken"]), tenant=document["tenant"],
    ))
    for each in document["broken"]:
        click.echo(f"  {each['kind']} {each['object']}")
        if each["points"]:
            click.echo("    " + _("needed by: {points}").format(points=", ".join(each["points"])))
    files = document["affected"]
    for each in files[:FILES_SHOWN]:
        if "path" in each:
            path = base64.b64decode(each["path_b64"]) if "path_b64" in each else each["path"].encode()
            click.echo(_("not whole: {path} in {point}").format(path=show_path(path), point=each["point"]))
        elif each["closed"]:
            click.echo(_("{point}: this site no longer keeps its key; which files are affected is not known").format(
                point=each["point"]
            ))
        else:
            click.echo(_("not whole: every file in {point}").format(point=each["point"]))
    if len(files) > FILES_SHOWN:
        click.echo(_("... and {count} more; --json names all").format(count=len(files) - FILES_SHOWN))
    if document["affected_unknown"] is not None:
        click.echo(_("which files are affected is not known here: {reason}").format(
            reason=document["affected_unknown"]
        ))
    elif not files:
        click.echo(_("no file of any point is affected"))
    click.echo(_("Everything else can be restored. The next backup stores again what the source still has."))
