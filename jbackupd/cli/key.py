"""`jbackupd key`: what keys a tenant has here, recover them from shares, rehearse, split them anew, rotate them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.keyerase import erase
from jbackupd.cli.output import Frame, pass_frame, show_path, show_time
from jbackupd.codec.shares import Share
from jbackupd.model.errors import DamageError, NotFoundError, StorageError, UsageError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.vault.keydirectory import KeySurvey
    from jbackupd.vault.recovered import Opened

SHARE_FILE_BYTES_MAX = 1 << 16
REHEARSAL_AGE_MAX = timedelta(days=365)


@click.group(help=_("Recovery keys and their shares."))
def key() -> None:
    """Group of commands."""


key.add_command(erase)


@key.command(help=_("Show a tenant's recovery key, shares and key epochs, without opening any."))
@click.argument("tenant")
@pass_frame
def show(frame: Frame, tenant: str) -> int:
    """Show recovery key, shares and epochs; exit code 4 names key objects that are damaged."""
    from jbackupd.service.keybook import key_document

    document, survey = key_document(frame.settings(), TenantId(tenant))
    frame.emit(document, lambda: _show_keys(frame, document, survey))
    return DamageError.exit_code if survey.damaged else 0


def _show_keys(frame: Frame, document: dict[str, Any], survey: KeySurvey) -> None:
    """Write how a tenant's keys stand for people."""
    click.echo(_("{tenant}: recovery key {key}").format(tenant=document["tenant"], key=document["recovery_key"] or "-"))
    if document["recovery_since"]:
        click.echo("  " + _("recovery key number {number}, since {time}").format(
            number=document["recovery_number"], time=_when(frame, document["recovery_since"])
        ))
    if document["without_recovery_key"]:
        click.echo("  " + _("not yet at: {sites}. Keep the old shares until a new point is there.").format(
            sites=", ".join(document["without_recovery_key"])
        ))
    share_set, rehearsal = document["share_set"], document["last_rehearsal"]
    click.echo("  " + (
        _("shares: {threshold} of {count}, set {set}, made {time}").format(
            **{**share_set, "time": _when(frame, share_set["made_at"])}
        ) if share_set else _("shares: made where this site does not know of")
    ))
    click.echo("  " + (
        _rehearsed(frame, rehearsal["at"]) if rehearsal
        else _("never rehearsed here: 'jbackupd key rehearse {tenant}'").format(tenant=document["tenant"])
    ))
    for epoch in document["epochs"]:
        click.echo(_epoch_line(frame, epoch))
    for erasure in document["erasures"]:
        click.echo(_erasure_line(frame, erasure))
    click.echo(
        _("This site has a keyring of its own.") if document["keyring"]
        else _("This site has no keyring: it holds the vault sealed.")
    )
    for error in survey.damaged:
        click.echo(error.render(_(error.message)))


def _rehearsed(frame: Frame, at: str) -> str:
    line = _("last rehearsal here: {time}").format(time=_when(frame, at))
    if datetime.now(UTC) - datetime.fromisoformat(at) > REHEARSAL_AGE_MAX:
        line += " - " + _("more than a year ago: rehearse again")
    return line


def _epoch_line(frame: Frame, epoch: dict[str, Any]) -> str:
    """Return what is known of an epoch on one line."""
    parts = [_("{sessions} session keys, {points} points, {packs} packs, {size}").format(
        **{**epoch, "size": show_size(epoch["pack_bytes"])}
    )]
    if epoch["begun_at"]:
        parts.append(_("from {time}").format(time=_when(frame, epoch["begun_at"])))
    if epoch["current"]:
        parts.append(_("current"))
    if epoch["erased_at"]:
        parts.append(_("erased on {time}").format(time=_when(frame, epoch["erased_at"])))
        parts += [_("still pending at {site}").format(site=site) for site in epoch["pending_at"]]
    elif not epoch["recipients"]:
        parts.append(_("its key is not here"))
    return f"  {epoch['name']}: " + ", ".join(parts)


def _erasure_line(frame: Frame, erasure: dict[str, Any]) -> str:
    """Return what a record of an erasure says on one line."""
    told = _("erasure of {epoch} on {time}: {lost} points lost, {kept} kept, asked by {who}: {why}")
    return "  " + told.format(
        epoch=erasure["epoch"], time=_when(frame, erasure["erased_at"]), lost=len(erasure["points_lost"]),
        kept=erasure["points_kept"], who=show_path((erasure["asked_by"] or "-").encode()),
        why=show_path((erasure["reason"] or "-").encode()),
    )


def _when(frame: Frame, text: str) -> str:
    return show_time(datetime.fromisoformat(text), frame.settings().site.zone)


@key.command(help=_("Prove that shares open a tenant's vault; shows nothing secret. With --keep, keep the keys here."))
@click.argument("tenant")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--keep", is_flag=True, help=_("write this site's keyring anew, so that it goes on with the vault"))
@pass_frame
def recover(frame: Frame, tenant: str, shares: tuple[str, ...], keep: bool) -> int:
    """Combine shares and open every session key with the result; exit code 4 names what does not open."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.adopting import adopt_keys, open_keys, recovery_seed

    given = read_shares(shares)
    keys = open_keys(frame.settings(), TenantId(tenant), recovery_seed(TenantId(tenant), given))
    keys.require_in_force()
    opened = keys.open_all()
    if keep:
        adopt_keys(frame.settings(), TenantId(tenant), keys, SystemClock())
    document: dict[str, Any] = {
        "tenant": tenant, "shares": len(given), "sessions_opened": len(opened.keys), "sessions_erased": opened.erased,
        "damaged": [str(error) for error in opened.damaged], "kept": keep,
    }
    frame.emit(document, lambda: _show_opened(tenant, len(given), opened))
    if keep:
        frame.say(_("This site has keys of {tenant} again; now start the daemon.").format(tenant=tenant))
    return DamageError.exit_code if opened.damaged else 0


def _show_opened(tenant: str, shares: int, opened: Opened) -> None:
    template = (
        _("The {shares} shares open the vault of {tenant}: {sessions} session keys, but not all of them.")
        if opened.damaged
        else _("The {shares} shares open the vault of {tenant}: {sessions} session keys, all of them.")
    )
    click.echo(template.format(shares=shares, tenant=tenant, sessions=len(opened.keys)))
    if opened.erased:
        click.echo(_("{count} session keys were erased with their epoch.").format(count=opened.erased))
    for error in opened.damaged:
        click.echo(error.render(_(error.message)))


@key.command(help=_("Prove that shares open the recovery key in force; changes nothing, notes the date."))
@click.argument("tenant")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@pass_frame
def rehearse(frame: Frame, tenant: str, shares: tuple[str, ...]) -> int:
    """Open everything and keep nothing; the date is noted at this site, a failure too."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.keeping import rehearse as rehearsed

    given = read_shares(shares)
    found = rehearsed(frame.settings(), TenantId(tenant), given, SystemClock())
    document: dict[str, Any] = {
        "tenant": tenant, "recovery_key": found.recovery_key, "set": found.set_id, "shares": len(given),
        "sessions_opened": len(found.opened.keys), "sessions_erased": found.opened.erased,
        "damaged": [str(error) for error in found.opened.damaged],
    }
    frame.emit(document, lambda: _show_opened(tenant, len(given), found.opened))
    return DamageError.exit_code if found.opened.damaged else 0


@key.command(help=_("Split a tenant's recovery key anew: other holders, another K-of-N."))
@click.argument("tenant")
@click.option("--share", "given", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--shares", required=True, metavar="K-of-N", help=_("how many shares open the key, of how many"))
@click.option("--share-dir", required=True, metavar="DIR", help=_("a new folder for the shares"))
@click.option("--sheets", is_flag=True, help=_("also write a sheet to print for each share"))
@pass_frame
def shares(frame: Frame, tenant: str, given: tuple[str, ...], shares: str, share_dir: str, sheets: bool) -> None:
    """Write a new set of shares of the same key; the old set stays good until it is destroyed."""
    from jbackupd.cli.vault import parse_shares
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.keeping import share_anew

    threshold, count = parse_shares(shares)
    made = share_anew(
        frame.settings(), TenantId(tenant), read_shares(given), threshold=threshold, count=count, folder=share_dir,
        sheets=sheets, clock=SystemClock(),
    )
    document = {
        "tenant": tenant, "threshold": threshold, "set": made.set_id, "shares": made.texts, "sheets": made.sheets,
    }
    frame.emit(document, lambda: click.echo("\n".join((*made.texts, *made.sheets))))
    frame.say(_("The old shares still open the vault: collect and destroy them."))


@key.command(help=_("Begin a new key epoch at once; with --recovery, go over to another recovery key."))
@click.argument("tenant")
@click.option("--recovery", is_flag=True, help=_("make a new recovery key with new shares; needs the old ones"))
@click.option("--share", "given", multiple=True, metavar="FILE", help=_("a share of the recovery key in force"))
@click.option("--shares", metavar="K-of-N", help=_("how many new shares open the new key, of how many"))
@click.option("--share-dir", metavar="DIR", help=_("a new folder for the new shares"))
@click.option("--sheets", is_flag=True, help=_("also write a sheet to print for each share"))
@pass_frame
def rotate(
    frame: Frame, tenant: str, recovery: bool, given: tuple[str, ...], shares: str | None, share_dir: str | None,
    sheets: bool,
) -> None:
    """Later points are sealed to the new epoch; with --recovery everything is sealed to the new recovery key."""
    if recovery:
        if not given or shares is None or share_dir is None:
            raise UsageError(
                "a new recovery key needs shares of the old one and a place for the new ones",
                "add --share FILE for each old share, --shares K-of-N and --share-dir DIR",
            )
        _rotate_recovery(frame, tenant, given, shares, share_dir, sheets)
        return
    if given or shares or share_dir or sheets:
        raise UsageError("shares belong to a new recovery key", "add --recovery, or leave out the other options")
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.keeping import begin_epoch

    epoch = begin_epoch(frame.settings(), TenantId(tenant), SystemClock())
    frame.emit({"tenant": tenant, "epoch": epoch, "asked": epoch is None}, lambda: click.echo(epoch or "-"))
    frame.say(
        _("The daemon begins a new epoch with the next point of {tenant}.").format(tenant=tenant) if epoch is None
        else _("The epoch {epoch} of {tenant} has begun: later points are sealed to it.").format(
            epoch=epoch, tenant=tenant
        )
    )


def _rotate_recovery(
    frame: Frame, tenant: str, given: tuple[str, ...], shares: str, share_dir: str, sheets: bool
) -> None:
    from jbackupd.cli.vault import parse_shares
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.keeping import change_recovery

    threshold, count = parse_shares(shares)
    done = change_recovery(
        frame.settings(), TenantId(tenant), read_shares(given), threshold=threshold, count=count, folder=share_dir,
        sheets=sheets, clock=SystemClock(),
    )
    document = {
        "tenant": tenant, "recovery_key": done.recovery_key, "recovery_number": done.number, "epoch": done.epoch,
        "threshold": threshold, "set": done.shares.set_id, "shares": done.shares.texts, "sheets": done.shares.sheets,
    }
    frame.emit(document, lambda: click.echo("\n".join((*done.shares.texts, *done.shares.sheets))))
    frame.say(_("Everything is sealed to the new recovery key. Now take a point of {tenant}: it brings the new keys to "
                "the other sites.").format(tenant=tenant))
    frame.say(_("KEEP the old shares until 'jbackupd key show {tenant}' names no site that lacks the new key, then "
                "destroy them: what is sealed from now on they never open, but whoever has them and an old copy of the "
                "vault reads what is older.").format(tenant=tenant))


def read_shares(paths: tuple[str, ...]) -> list[Share]:
    """Read share files.

    Raises:
        NotFoundError: One is not there.
        ShareError: One is damaged; the message names it and the line.
    """
    found = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read(SHARE_FILE_BYTES_MAX)
        except FileNotFoundError as error:
            raise NotFoundError("unable to read {path}: it does not exist", "name the right file", path=path) from error
        except OSError as error:
            raise StorageError("unable to read {path}: {reason}", path=path, reason=error.strerror) from error
        found.append(Share.from_file(data, source=os.path.basename(path)))
    return found
