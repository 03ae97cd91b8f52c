"""`jbackupd key`: what keys a tenant has here, recover them from shares, split them anew."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.codec.shares import Share, split
from jbackupd.model.errors import DamageError, NotFoundError, StorageError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _

if TYPE_CHECKING:
    from jbackupd.vault.recovered import Opened

SHARE_FILE_BYTES_MAX = 1 << 16


@click.group(help=_("Recovery keys and their shares."))
def key() -> None:
    """Group of commands."""


@key.command(help=_("Show which keys a tenant's vault has, without opening any."))
@click.argument("tenant")
@pass_frame
def show(frame: Frame, tenant: str) -> int:
    """Count key objects by what they are for, and tell whether this site has keys of its own."""
    from jbackupd.service.wiring import existing_store
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.keydirectory import KeySurvey
    from jbackupd.vault.keyringfile import path_of

    files = PosixFiles(frame.settings().site.state)
    survey = KeySurvey.of(existing_store(files, TenantId(tenant)))
    document = {
        "tenant": tenant, "keyring": files.exists(path_of(TenantId(tenant))), "recovery_key": survey.recovery_key,
        "epochs": survey.epochs, "sessions": survey.sessions, "damaged": [str(error) for error in survey.damaged],
    }

    def text() -> None:
        click.echo(_("{tenant}: recovery key {key}, key epochs {epochs}, {sessions} session keys").format(
            tenant=tenant, key=survey.recovery_key or "-", epochs=", ".join(survey.epochs) or "-",
            sessions=survey.sessions,
        ))
        click.echo(
            _("This site has a keyring of its own.") if document["keyring"]
            else _("This site has no keyring: it holds the vault sealed.")
        )
        for error in survey.damaged:
            click.echo(error.render(_(error.message)))

    frame.emit(document, text)
    return DamageError.exit_code if survey.damaged else 0


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
    opened = keys.open_all()
    if keep:
        adopt_keys(frame.settings(), TenantId(tenant), keys, SystemClock())
    document: dict[str, Any] = {
        "tenant": tenant, "shares": len(given), "sessions_opened": len(opened.keys),
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
    for error in opened.damaged:
        click.echo(error.render(_(error.message)))


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
    from jbackupd.service.adopting import open_keys, recovery_seed
    from jbackupd.service.founding import write_shares

    threshold, count = parse_shares(shares)
    seed = recovery_seed(TenantId(tenant), read_shares(given))
    open_keys(frame.settings(), TenantId(tenant), seed)
    made = split(seed, threshold=threshold, count=count, label=tenant)
    texts, pages = write_shares(share_dir, made, datetime.now(UTC) if sheets else None)
    document = {
        "tenant": tenant, "threshold": threshold, "set": made[0].set_id.hex(), "shares": texts, "sheets": pages,
    }
    frame.emit(document, lambda: click.echo("\n".join((*texts, *pages))))
    frame.say(_("The old shares still open the vault: collect and destroy them."))


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
