"""`jbackupd desk journal deposits|adopt|erase-deposits`: journals that other sites have deposited here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.journal import as_tenant, state_of
from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import SiteId, TenantId, is_word
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.deposits import Deposit


@click.command(help=_("List the journals that other sites have deposited here, sealed."))
@pass_frame
def deposits(frame: Frame) -> None:
    """List what lies here for other sites."""
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.deposits import Deposits

    found = Deposits(PosixFiles(frame.settings().site.state)).all()

    def text() -> None:
        for each in found:
            click.echo(_("{tenant}: {label} ({desk} at {site}), {size}").format(
                tenant=each.head.tenant, label=each.head.label, desk=each.head.desk, site=each.head.site,
                size=show_size(each.bytes_here),
            ))
        if not found:
            frame.say(_("no other site has deposited a journal here"))

    frame.emit({"deposits": [_document(each) for each in found]}, text)


@click.command(help=_("Take in what a lost site's desks had deposited here; needs the tenant's shares."))
@click.argument("site", metavar="SITE")
@click.option(
    "--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share; give as many as needed")
)
@click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
@pass_frame
def adopt(frame: Frame, site: str, shares: tuple[str, ...], tenant: str | None) -> None:
    """Open deposits and take them in."""
    from jbackupd.cli.key import read_shares
    from jbackupd.codec.hpke import RecipientSecret
    from jbackupd.service.adopting import recovery_seed
    from jbackupd.service.deposited import adopt_deposit, deposits_of

    files, site_key = state_of(frame)
    owner = _owner(files, tenant)
    recovery = RecipientSecret(recovery_seed(owner, read_shares(shares)))
    now = datetime.now(UTC)
    brought = [
        adopt_deposit(files, each, recovery, site_key, now) for each in deposits_of(files, owner, _site(site))
    ]
    document = {"tenant": owner, "journals": [
        {"desk": each.desk, "label": each.label, "entries": each.records, "new": each.new} for each in brought
    ]}

    def text() -> None:
        for each in brought:
            click.echo(counted(
                "{label}: {count} entry, {new} of them new here", "{label}: {count} entries, {new} of them new here",
                each.records, label=each.label, new=each.new,
            ))

    frame.emit(document, text)


@click.command("erase-deposits", help=_("Destroy what a site had deposited here, once its receptions are home."))
@click.argument("site", metavar="SITE")
@click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
@click.option("--yes", is_flag=True, help=_("do not ask"))
@pass_frame
def erase_deposits(frame: Frame, site: str, tenant: str | None, *, yes: bool) -> None:
    """Destroy deposits, head first."""
    from jbackupd.service.deposited import deposits_of
    from jbackupd.vault.deposits import Deposits

    files, _site_key = state_of(frame)
    found = deposits_of(files, _owner(files, tenant), _site(site))
    if not yes:
        if frame.json:
            raise UsageError("nobody can be asked here", "add --yes")
        question = counted(
            "destroy {count} deposited journal of {site}? Its site may need it", "destroy {count} deposited journals "
            "of {site}? Their site may need them", len(found), site=site,
        )
        if not click.confirm(question, err=True):
            raise RefusedError("nothing was destroyed")
    for each in found:
        Deposits(files).erase(each)
    frame.emit({"erased": [_document(each) for each in found]}, lambda: click.echo(counted(
        "{count} deposited journal of {site} was destroyed", "{count} deposited journals of {site} were destroyed",
        len(found), site=site,
    )))


def _document(deposit: Deposit) -> dict[str, Any]:
    head = deposit.head
    return {
        "tenant": head.tenant, "site": head.site, "desk": head.desk, "label": head.label,
        "journal": head.journal.hex(), "bytes": deposit.bytes_here, "recovery_key": head.recipient.hex(),
    }


def _owner(files: PosixFiles, given: str | None) -> TenantId:
    """Return whose deposits are meant.

    Raises:
        NotFoundError: There are none.
        UsageError: There are several, and none was named.
    """
    from jbackupd.vault.deposits import Deposits

    if given is not None:
        return as_tenant(given)
    known = sorted({each.head.tenant for each in Deposits(files).all()})
    if not known:
        raise NotFoundError("no other site has deposited a journal here", "see 'jbackupd desk journal list'")
    if len(known) > 1:
        raise UsageError(
            "there are journals of each of {tenants}", "choose one with --tenant", tenants=", ".join(known)
        )
    return known[0]


def _site(text: str) -> SiteId:
    if not is_word(text):
        raise UsageError("{text!r} is not a site's name", "see 'jbackupd desk journal deposits'", text=text)
    return SiteId(text)
