"""How long a site waits before it acts for another one: pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from jbackupd.format.declaration import Declaration
from jbackupd.model.errors import RefusedError
from jbackupd.model.ids import SiteId


@dataclass(frozen=True, slots=True)
class Wait:
    """What is left of a waiting time.

    Attributes:
        until: When it ends; aware UTC.
        since: The last contact with the lost site; the declaration's moment where none is known.
    """

    until: datetime
    since: datetime


def wait_of(
    declaration: Declaration, own: SiteId, *, wait: timedelta | None, last_contact: datetime | None, now: datetime
) -> Wait | None:
    """Return how long a site must still wait before a declaration makes it act; None if it need not.

    Only a loss waits, and only at the site that would act: a hand-over is released by the site that acts, and every
    other site, the lost one above all, stops or believes at once.

    Args:
        own: The site that decides.
        last_contact: With the lost site, by this site; now where there is a link.
    """
    statement = declaration.statement
    if declaration.needs_release or statement.acting != own or wait is None:
        return None
    since = last_contact or statement.made_at
    return Wait(since + wait, since) if now < since + wait else None


def check_all_approved(declaration: Declaration, officers: Collection[str]) -> None:
    """Check that nobody is left who could object to going on without waiting.

    Raises:
        RefusedError: An officer who is known here has not approved; all are named.
    """
    missing = sorted(set(officers) - {approval.officer for approval in declaration.officers})
    if missing:
        raise RefusedError(
            "the declaration {id} does not count without waiting: {officers} have not approved it",
            "let every officer approve it, or wait", id=declaration.id, officers=", ".join(missing),
        )
