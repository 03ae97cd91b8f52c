"""Deposited journals of other sites, opened with the tenant's shares and taken in here. Everything here blocks."""

from __future__ import annotations

from datetime import datetime

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.format.intakefile import IntakeFile
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.service.intake import Brought, take_in
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.deposits import Deposit, Deposits


def deposits_of(files: PosixFiles, tenant: TenantId, site: SiteId | None = None) -> list[Deposit]:
    """Return the deposits of a tenant that hold anything, of one site or of all.

    Raises:
        NotFoundError: There is none.
    """
    found = [
        each for each in Deposits(files).all()
        if each.head.tenant == tenant and site in (None, each.head.site) and each.bytes_here
    ]
    if not found:
        raise NotFoundError(
            "no journal of {tenant} is deposited here", "see 'jbackupd desk journal deposits' at the other sites",
            tenant=tenant,
        )
    return found


def adopt_deposit(
    files: PosixFiles, deposit: Deposit, recovery: RecipientSecret, site_key: bytes, now: datetime
) -> Brought:
    """Take a deposited journal in, as one that was carried here; may be called again when it has grown.

    Args:
        recovery: From the tenant's shares.
        site_key: This site's local key; seals the journal's key from now on.

    Raises:
        KeyringError: It was sealed to another recovery key.
        ChainError: It does not continue what was taken in before; nothing was changed.
    """
    head = deposit.head
    file = IntakeFile(
        head.tenant, head.desk, head.label, head.journal, head.open(recovery), Deposits(files).read(deposit), now
    )
    return take_in(files, head.tenant, file, site_key)
