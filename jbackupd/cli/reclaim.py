"""`jbackupd vault reclaim|freeze|unfreeze|usage`: what a vault keeps, what goes, what takes its room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time, time_text
from jbackupd.model.errors import EXIT_INCOMPLETE, EXIT_OK, BusyError, DamageError, NotFoundError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _, to_translate
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.model.clock import Clock
    from jbackupd.settings.schema import Settings

REASONS = {
    "newest": to_translate("the newest"),
    "few": to_translate("one of the least number"),
    "held": to_translate("held"),
    "waiting": to_translate("not yet at every peer"),
    "young": to_translate("too young to go"),
    "last": to_translate("one of the last"),
    "daily": to_translate("daily"),
    "weekly": to_translate("weekly"),
    "monthly": to_translate("monthly"),
    "yearly": to_translate("yearly"),
    "no-rule": to_translate("no rule removes it"),
    "too-old": to_translate("its upper bound is passed"),
    "not-kept": to_translate("no rule keeps it"),
}


@click.command(help=_("Remove the points that retention gives up, and what nobody needs any more."))
@click.argument("tenant", required=False)
@click.option("--dry-run", is_flag=True, help=_("only show what would go"))
@click.option("--clock-is-right", is_flag=True, help=_("you have looked at the clock: believe it"))
@pass_frame
def reclaim(frame: Frame, tenant: str | None, dry_run: bool, clock_is_right: bool) -> int:
    """Reclaim one vault or all own ones; exit code 3 when something was left to the next run."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.client import call
    from jbackupd.service.reclaimdocuments import preview

    settings = frame.settings()
    tenants = _tenants(settings, tenant)
    if dry_run:
        documents = [preview(settings, name, SystemClock().now()) for name in tenants]
        frame.emit({"dry_run": True, "vaults": documents}, lambda: _show_preview(documents))
        return EXIT_OK
    try:
        documents = _reclaim_here(settings, tenants, SystemClock(), clock_is_right)
    except BusyError:
        # The daemon has the state folder: let it do the work between two points.
        asked = call(settings.site.state, "reclaim", tenants=tenants, clock_is_right=clock_is_right)
        documents = asked["vaults"]
    frame.emit({"dry_run": False, "vaults": documents}, lambda: _show_done(documents))
    if any(document["damaged"] for document in documents):
        return DamageError.exit_code
    left = any(document["postponed_bytes"] or document["frozen"] for document in documents)
    return EXIT_INCOMPLETE if left else EXIT_OK


def _reclaim_here(
    settings: Settings, tenants: list[TenantId], clock: Clock, believe_clock: bool
) -> list[dict[str, Any]]:
    from jbackupd.service.lock import state_lock
    from jbackupd.service.reclaimdocuments import reclaimed_document
    from jbackupd.service.reclaiming import reclaim as run
    from jbackupd.service.wiring import clear_leftovers, open_epochs, open_site

    with state_lock(settings.site.state):
        site = open_site(settings)
        epochs = open_epochs(site)
        clear_leftovers(site.files)
        return [
            reclaimed_document(run(site, tenant, epochs, now=clock.now(), believe_clock=believe_clock))
            for tenant in tenants
        ]


def _tenants(settings: Settings, tenant: str | None) -> list[TenantId]:
    """Return one tenant of this site, or all that have a vault."""
    from jbackupd.cli.vault import configured_tenant
    from jbackupd.service.wiring import tenants_here
    from jbackupd.storage.files import PosixFiles

    if tenant is not None:
        return [configured_tenant(settings, tenant)]
    return [name for name in tenants_here(PosixFiles(settings.site.state)) if settings.tenant(name) is not None]


def reasons_text(reasons: list[str]) -> str:
    """Return why a point stays or goes, for people."""
    return ", ".join(_(REASONS[reason]) for reason in reasons)


def _show_preview(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        for each in document["would_remove"]:
            click.echo(_("{point} would go: {why}").format(point=each["point"], why=reasons_text(each["reasons"])))
        _show_overdue(document)
        click.echo(_("{tenant}: {count} points would go, {stays} stay; {size} would be freed").format(
            tenant=document["tenant"], count=len(document["would_remove"]), stays=document["stays"],
            size=show_size(document["would_free_bytes"]),
        ))
        if document["clock_doubted_since"] is not None:
            click.echo(_("The clock may have jumped since {time}: nothing would be removed unasked.").format(
                time=document["clock_doubted_since"]
            ))


def _show_done(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        for each in document["removed"]:
            click.echo(_("{point} was given up: {why}").format(point=each["point"], why=reasons_text(each["reasons"])))
        _show_overdue(document)
        click.echo(_("{tenant}: {count} points given up, {stays} stay; {size} freed, {packs} packs rewritten").format(
            tenant=document["tenant"], count=len(document["removed"]), stays=document["stays"],
            size=show_size(document["freed_bytes"]), packs=document["rewritten_packs"],
        ))
        for each in document["damaged"]:
            click.echo(_("not written anew: {reason}").format(reason=each["message"]))
        if document["postponed_bytes"]:
            click.echo(_("{size} more go with the next run: somebody has been reading since before.").format(
                size=show_size(document["postponed_bytes"])
            ))
        if document["frozen"]:
            click.echo(_("It was frozen meanwhile; the rest is left as it is."))


def _show_overdue(document: dict[str, Any]) -> None:
    for each in document["overdue"]:
        click.echo(_("{point} should be gone by its upper bound, but stays: {why}").format(
            point=each["point"], why=reasons_text(each["reasons"])
        ))


@click.command(help=_("Stop all removal of a vault until it is unfrozen."))
@click.argument("tenant")
@click.option("--reason", required=True, metavar="TEXT", help=_("why, for who comes later"))
@pass_frame
def freeze(frame: Frame, tenant: str, reason: str) -> None:
    """Freeze; holds from the next object on, also for a run that is under way."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.holding import freeze as begin

    begin(frame.settings(), TenantId(tenant), reason, SystemClock())
    frame.emit({"tenant": tenant, "frozen": True, "reason": reason}, lambda: None)
    frame.say(_("Nothing is removed of {tenant} from now on.").format(tenant=tenant))


@click.command(help=_("Let retention remove things of a vault again."))
@click.argument("tenant")
@pass_frame
def unfreeze(frame: Frame, tenant: str) -> None:
    """End a freeze."""
    from jbackupd.service.holding import unfreeze as end

    end(frame.settings(), TenantId(tenant))
    frame.emit({"tenant": tenant, "frozen": False}, lambda: None)
    frame.say(_("What retention gives up is removed of {tenant} again.").format(tenant=tenant))


@click.command(help=_("Show what takes the room in the vaults of this site."))
@click.argument("tenant", required=False)
@pass_frame
def usage(frame: Frame, tenant: str | None) -> None:
    """Count bytes by dataset, and what reclaim would free; needs no keys and no lock."""
    from jbackupd.service.vaultusage import usage_of
    from jbackupd.service.wiring import point_lists
    from jbackupd.vault.holds import Holds
    from jbackupd.vault.retentionstate import load_state

    settings = frame.settings()
    documents = []
    for points in point_lists(settings, TenantId(tenant) if tenant else None):
        found, state, frozen = usage_of(points.store, points), load_state(points.store), Holds(points.store).frozen()
        documents.append({
            "tenant": points.store.folder.rpartition("/")[2], "bytes": found.bytes,
            "reclaimable_bytes": found.reclaimable_bytes, "point_bytes": found.point_bytes,
            "frozen": frozen.reason if frozen is not None else None,
            "last_reclaim_at": time_text(state.believed_at) if state.believed_at is not None else None,
            "removed_points": state.removed_points, "freed_bytes": state.freed_bytes,
            "datasets": [
                {
                    "dataset": str(dataset), "points": each.points, "removed_points": each.removed_points,
                    "bytes": each.bytes, "own_bytes": each.own_bytes, "newest_bytes": each.newest_bytes,
                }
                for dataset, each in sorted(found.datasets.items())
            ],
        })
    if not documents:
        raise NotFoundError("there is no vault at this site", "make one with 'jbackupd vault init TENANT'")
    frame.emit({"vaults": documents}, lambda: _show_usage(documents, frame))


def _show_usage(documents: list[dict[str, Any]], frame: Frame) -> None:
    from datetime import datetime

    for document in documents:
        click.echo(_("{tenant}  {size}, of which {free} can be reclaimed").format(
            tenant=document["tenant"], size=show_size(document["bytes"]),
            free=show_size(document["reclaimable_bytes"]),
        ))
        for each in document["datasets"]:
            line = _("{dataset}: {points} points, {size}; {own} of it its alone, the newest point {newest}")
            click.echo("  " + line.format(
                dataset=each["dataset"], points=each["points"], size=show_size(each["bytes"]),
                own=show_size(each["own_bytes"]), newest=show_size(each["newest_bytes"]),
            ))
        if document["last_reclaim_at"] is not None:
            when = show_time(datetime.fromisoformat(document["last_reclaim_at"]), frame.settings().site.zone)
            click.echo("  " + _("last reclaim {time}; {points} points and {size} so far").format(
                time=when, points=document["removed_points"], size=show_size(document["freed_bytes"])
            ))
        if document["frozen"] is not None:
            click.echo("  " + _("frozen: {reason}").format(reason=document["frozen"]))
