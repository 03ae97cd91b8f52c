"""`jbackupd key`: what keys a tenant has here, recover them from shares, split them anew."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.codec.shares import Share, combine, split
from jbackupd.model.errors import NotFoundError, StorageError
from jbackupd.model.ids import ObjectKind, ObjectRef, TenantId
from jbackupd.model.texts import _


@click.group(help=_("Recovery keys and their shares."))
def key() -> None:
    """Group of commands."""


@key.command(help=_("Show which keys a tenant's vault has, without opening any."))
@click.argument("tenant")
@pass_frame
def show(frame: Frame, tenant: str) -> None:
    """Count key objects by what they are for."""
    from jbackupd.format.key import KeyRole

    objects = _key_objects(frame, TenantId(tenant))
    epochs = sorted(found.label for found in objects if found.role is KeyRole.EPOCH)
    sessions = sum(found.role is KeyRole.SESSION for found in objects)
    document = {"tenant": tenant, "epochs": epochs, "sessions": sessions}
    frame.emit(document, lambda: click.echo(_("{tenant}: key epochs {epochs}, {sessions} session keys").format(
        tenant=tenant, epochs=", ".join(epochs), sessions=sessions
    )))


@key.command(help=_("Prove that shares open a tenant's vault; shows nothing secret."))
@click.argument("tenant")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@pass_frame
def recover(frame: Frame, tenant: str, shares: tuple[str, ...]) -> None:
    """Combine shares and open every session key with the result."""
    from jbackupd.format.key import KeyRole
    from jbackupd.service.wiring import recovered_keys

    given = read_shares(shares)
    keys = recovered_keys(frame.settings(), TenantId(tenant), given)
    sessions = [found.id for found in _key_objects(frame, TenantId(tenant)) if found.role is KeyRole.SESSION]
    for session in sessions:
        keys.session_key(session)
    document: dict[str, Any] = {"tenant": tenant, "shares": len(given), "sessions_opened": len(sessions)}
    frame.emit(document, lambda: click.echo(
        _("The {shares} shares open the vault of {tenant}: {sessions} session keys, all of them.").format(
            tenant=tenant, shares=len(given), sessions=len(sessions)
        )
    ))


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
    from jbackupd.service.founding import write_shares
    from jbackupd.service.wiring import recovered_keys

    threshold, count = parse_shares(shares)
    old = read_shares(given)
    recovered_keys(frame.settings(), TenantId(tenant), old)
    made = split(combine(old), threshold=threshold, count=count, label=tenant)
    texts, pages = write_shares(share_dir, made, datetime.now(UTC) if sheets else None)
    document = {"tenant": tenant, "threshold": threshold, "shares": texts, "sheets": pages}
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
            with open(path, encoding="utf-8", errors="replace") as file:
                found.append(Share.from_text(file.read(1 << 16), source=os.path.basename(path)))
        except FileNotFoundError as error:
            raise NotFoundError("unable to read {path}: it does not exist", "name the right file", path=path) from error
        except OSError as error:
            raise StorageError("unable to read {path}: {reason}", path=path, reason=error.strerror) from error
    return found


def _key_objects(frame: Frame, tenant: TenantId) -> list[Any]:
    from jbackupd.format.key import decode_key
    from jbackupd.service.wiring import existing_store
    from jbackupd.storage.files import PosixFiles

    store = existing_store(PosixFiles(frame.settings().site.state), tenant)
    return [
        decode_key(store.read_checked(ObjectRef(ObjectKind.KEY, name))) for name in store.names(ObjectKind.KEY)
    ]
