"""`jbackupd vault`: make a tenant's vault and keys, look at a vault, rebuild its catalog."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli import reclaim, repair
from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import NotFoundError, UsageError
from jbackupd.model.ids import ObjectKind, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.settings.schema import Settings

_SHARES = re.compile(r"([0-9]{1,2})-of-([0-9]{1,2})")


@click.group(help=_("Create a tenant's vault, look at it, rebuild its catalog."))
def vault() -> None:
    """Group of commands."""


for _command in (reclaim.reclaim, reclaim.freeze, reclaim.unfreeze, reclaim.usage, repair.repair):
    vault.add_command(_command)


@vault.command(help=_("Make a tenant's vault and keys; writes the shares of its recovery key into a folder."))
@click.argument("tenant")
@click.option("--shares", required=True, metavar="K-of-N", help=_("how many shares open the key, of how many"))
@click.option("--share-dir", required=True, metavar="DIR", help=_("a new folder for the shares"))
@click.option("--sheets", is_flag=True, help=_("also write a sheet to print for each share"))
@pass_frame
def init(frame: Frame, tenant: str, shares: str, share_dir: str, sheets: bool) -> None:
    """Make identity if absent, keys, shares and vault; nothing that exists is overwritten."""
    from jbackupd.service.wiring import create_vault

    threshold, count = parse_shares(shares)
    settings = frame.settings()
    wanted = configured_tenant(settings, tenant)
    made = create_vault(settings, wanted, threshold=threshold, count=count, share_folder=share_dir, sheets=sheets)
    document = {
        "tenant": wanted,
        "site": settings.site.id,
        "card": made.card,
        "threshold": threshold,
        "shares": made.shares,
        "sheets": made.sheets,
    }

    def text() -> None:
        for path in (*made.shares, *made.sheets):
            click.echo(path)

    frame.emit(document, text)
    frame.say(_("The vault of {tenant} is made. Any {threshold} of the {count} shares open its recovery key.").format(
        tenant=wanted, threshold=threshold, count=count
    ))
    frame.say(_(
        "Now give each share to another person, on paper or on a medium of its own, to be kept locked and in different "
        "places. Then remove the folder: whoever has {threshold} of the files can read everything."
    ).format(threshold=threshold))
    frame.say(_("Hand this site's card to the other sites: {card}").format(card=made.card))


def parse_shares(text: str) -> tuple[int, int]:
    """Return threshold and count of K-of-N.

    Raises:
        UsageError: It has another form, or makes no sense.
    """
    match = _SHARES.fullmatch(text)
    threshold, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 2 <= threshold <= count <= 16:
        raise UsageError(
            "{text!r} does not say how the key is shared", "write for example 2-of-3; 2 to 16 shares, K at least 2",
            text=text,
        )
    return threshold, count


def configured_tenant(settings: Settings, name: str) -> TenantId:
    """Return a tenant's name.

    Raises:
        NotFoundError: It is not in the configuration.
    """
    tenant = settings.tenant(TenantId(name))
    if tenant is None:
        known = ", ".join(tenant.id for tenant in settings.tenants) or "-"
        raise NotFoundError(
            "there is no tenant {tenant} in the configuration", "it has: {known}; add a [[tenant]]",
            tenant=name, known=known,
        )
    return tenant.id


@vault.command(help=_("Show what the vaults of this site hold."))
@click.argument("tenant", required=False)
@pass_frame
def info(frame: Frame, tenant: str | None) -> None:
    """Count objects and bytes by kind, and the points of every dataset; needs no keys."""
    from jbackupd.service.wiring import tenants_here
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    tenants = [TenantId(tenant)] if tenant else tenants_here(PosixFiles(settings.site.state))
    vaults = [_vault_fields(settings, name) for name in tenants]
    frame.emit({"vaults": vaults}, lambda: _show_vaults(vaults))


def _vault_fields(settings: Settings, tenant: TenantId) -> dict[str, Any]:
    from jbackupd.model.ids import ObjectRef
    from jbackupd.service.wiring import existing_store, point_lists
    from jbackupd.storage.files import PosixFiles

    store = existing_store(PosixFiles(settings.site.state), tenant)
    (points,) = point_lists(settings, tenant)
    objects: dict[str, dict[str, int]] = {}
    for kind in ObjectKind:
        sizes = [store.size(ObjectRef(kind, name)) for name in store.names(kind)]
        objects[kind.name.lower()] = {"count": len(sizes), "bytes": sum(sizes)}
    return {
        "tenant": tenant,
        "own": settings.tenant(tenant) is not None,
        "objects": objects,
        "bytes": sum(kind["bytes"] for kind in objects.values()),
        "datasets": [
            {"dataset": str(dataset), "points": len(points.listed(dataset))} for dataset in points.datasets()
        ],
    }


def _show_vaults(vaults: list[dict[str, Any]]) -> None:
    for fields in vaults:
        owner = _("own") if fields["own"] else _("held for another site")
        click.echo(f"{fields['tenant']}  {show_size(fields['bytes'])}  ({owner})")
        for kind, counted in fields["objects"].items():
            click.echo(f"  {kind:<8} {counted['count']:>8}  {show_size(counted['bytes'])}")
        for dataset in fields["datasets"]:
            click.echo("  " + _("{dataset}: {points} points").format(**dataset))


@vault.command("rebuild-catalog", help=_("Make a tenant's catalog anew from its vault."))
@click.argument("tenant")
@pass_frame
def rebuild_catalog(frame: Frame, tenant: str) -> int:
    """Rebuild the catalog; exit code 4 names objects that could not be read."""
    from jbackupd.service.wiring import rebuild_catalog as rebuild

    found = rebuild(frame.settings(), TenantId(tenant))
    damaged = [
        {"kind": ref.kind.name.lower(), "object": ref.name.hex(), "message": str(error)} for ref, error in found.damaged
    ]
    document = {"tenant": tenant, "packs": found.learned, "closed": found.closed, "damaged": damaged}

    def text() -> None:
        for ref, error in found.damaged:
            click.echo(f"{ref.kind.name.lower()} {ref.name.hex()}: {error.render(_(error.message))}")
        click.echo(
            _("{packs} packs read; {closed} cannot be opened here; damaged: {damaged}").format(
                packs=found.learned, closed=found.closed, damaged=len(damaged)
            )
        )

    frame.emit(document, text)
    return found.damaged[0][1].exit_code if found.damaged else 0
