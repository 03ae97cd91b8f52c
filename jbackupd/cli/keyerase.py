"""`jbackupd key erase`: destroy the private key of an epoch, after what is needed got other keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.model.errors import UsageError
from jbackupd.model.ids import PointSelector, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.service.erasing import Erasing


@click.command(help=_("Destroy the private key of an epoch: what no retained point needs becomes unreadable for ever."))
@click.argument("tenant")
@click.argument("epoch")
@click.option("--share", "given", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--give-up", "points", multiple=True, metavar="POINT", help=_("a point that may become unreadable"))
@click.option("--asked-by", metavar="NAME", help=_("who wants it, for the record"))
@click.option("--reason", metavar="TEXT", help=_("why, for the record"))
@click.option("--dry-run", is_flag=True, help=_("show what would be kept and what would be lost"))
@click.option("--confirm", metavar="TENANT/EPOCH", help=_("instead of typing the name when asked"))
@pass_frame
def erase(
    frame: Frame, tenant: str, epoch: str, given: tuple[str, ...], points: tuple[str, ...], asked_by: str | None,
    reason: str | None, dry_run: bool, confirm: str | None,
) -> None:
    """Show the plan, have the name typed, erase, and show the record."""
    from jbackupd.cli.key import read_shares
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.erasing import erasing
    from jbackupd.service.keybook import erasure_document

    if not dry_run and not (asked_by and reason):
        raise UsageError("it is not said who wants the erasure, and why", "add --asked-by NAME and --reason TEXT")
    settings = frame.settings()
    give_up = [PointSelector.parse(point) for point in points]
    with erasing(settings, TenantId(tenant), epoch, read_shares(given), give_up) as planned:
        document = _plan_document(tenant, planned)
        if dry_run:
            frame.emit(document | {"dry_run": True}, lambda: click.echo("\n".join(_plan_lines(tenant, planned))))
            planned.plan.check()
            return
        planned.plan.check()
        for line in _plan_lines(tenant, planned):
            frame.say(line)
        _have_name_typed(f"{tenant}/{epoch}", confirm)
        record = planned.erase(settings, asked_by=asked_by or "", reason=reason or "", clock=SystemClock())
    document |= {"dry_run": False, "record": erasure_document(settings, TenantId(tenant), record)}
    when = show_time(record.made_at, settings.site.zone)
    frame.emit(document, lambda: click.echo(
        _("The epoch {epoch} of {tenant} was erased on {time}.").format(epoch=epoch, tenant=tenant, time=when)
    ))
    if planned.pending_at:
        frame.say(_("It is not over yet: {sites} hold copies of its key until their retention ends; see 'jbackupd key "
                    "show {tenant}'. So do backups of this site's state folder.").format(
            sites=", ".join(planned.pending_at), tenant=tenant
        ))


def _have_name_typed(name: str, confirm: str | None) -> None:
    typed = confirm if confirm is not None else click.prompt(_("To erase it for ever, type {name}").format(name=name),
                                                             err=True)
    if typed != name:
        raise UsageError("{typed!r} was typed, not {name}: nothing was erased", typed=typed, name=name)


def _plan_document(tenant: str, planned: Erasing) -> dict[str, Any]:
    plan = planned.plan
    return {
        "tenant": tenant, "epoch": plan.epoch,
        "points_lost": [
            {
                "point": lost.point.label, "files": lost.statistics.files if lost.statistics else None,
                "source_bytes": lost.statistics.source_bytes if lost.statistics else None,
            }
            for lost in plan.lost
        ],
        "points_kept": [point.label for point in plan.kept],
        "points_unreadable": [{"point": point.label, "reason": str(error)} for point, error in plan.unread],
        "packs_lost": len(plan.lost_packs), "bytes_lost": sum(pack.length for pack in plan.lost_packs),
        "packs_kept": len(plan.packs), "packs_rewritten": len(plan.moves),
        "unneeded_bytes": plan.unneeded_bytes, "pending_at": list(planned.pending_at),
    }  # fmt: skip


def _plan_lines(tenant: str, planned: Erasing) -> list[str]:
    """Return the plan for people."""
    plan = planned.plan
    lines = [_("The private key of the epoch {epoch} of {tenant} is destroyed.").format(
        epoch=plan.epoch, tenant=tenant
    )]
    for lost in plan.lost:
        lines.append("  " + (
            _("lost for ever: {point}, {files} files, {size}").format(
                point=lost.point.label, files=lost.statistics.files, size=show_size(lost.statistics.source_bytes)
            ) if lost.statistics else _("lost for ever: {point}").format(point=lost.point.label)
        ))
    lines.append("  " + _("lost for ever: {count} packs, {size}, that no retained point needs").format(
        count=len(plan.lost_packs), size=show_size(sum(pack.length for pack in plan.lost_packs))
    ))
    lines.append("  " + _("lost for ever: {size} of content in all").format(size=show_size(plan.unneeded_bytes)))
    lines.append("  " + _("stays readable: {points} points of this epoch, and all of other epochs").format(
        points=len(plan.kept)
    ))
    if plan.moves:
        lines.append("  " + _("rewritten first: {count} packs").format(count=len(plan.moves)))
    lines += [
        "  " + _("cannot be read now: {point}: {reason}").format(
            point=point.label, reason=error.render(_(error.message))
        )
        for point, error in plan.unread
    ]
    return lines
