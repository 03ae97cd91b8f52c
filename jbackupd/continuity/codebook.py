"""An officer makes a book of codes: promises for the sites, and the lines of the page that stays with the officer."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.codec.dictated import draw_digits
from jbackupd.continuity.officer import OfficerKey
from jbackupd.format.promise import (
    PROMISES_MAX,
    SALT_BYTES,
    Promise,
    SignedPromise,
    commitment_of,
    sign_promise,
)
from jbackupd.model.errors import UsageError
from jbackupd.model.ids import SiteId


@dataclass(frozen=True, slots=True)
class Matter:
    """What may have to be approved: `acting` acts for `lost` from `epoch` on."""

    lost: SiteId
    acting: SiteId
    epoch: int


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of the page, the only place where the code stands."""

    promise: SignedPromise
    code: str = field(repr=False)


def matters_of(lost: Iterable[SiteId], acting: Sequence[SiteId], epochs: Sequence[int]) -> list[Matter]:
    """Return everything that may have to be approved, by site, epoch and who acts.

    Args:
        lost: Sites that may be lost.
        acting: Sites that may act for them; none acts for itself.
        epochs: From which ones on.
    """
    return [
        Matter(home, other, epoch) for home in sorted(set(lost)) for epoch in sorted(set(epochs))
        for other in sorted(set(acting)) if other != home
    ]


def make_book(
    officer: OfficerKey, matters: Sequence[Matter], *, each: int, made_at: datetime, valid_until: datetime
) -> list[CodeLine]:
    """Return fresh codes with their promises; takes 0.2 s a code.

    Args:
        each: How many codes a matter: a declaration that was withdrawn has used one.

    Raises:
        UsageError: There is nothing to approve, too much for one book, or an epoch that no loss has.
    """
    count = len(matters) * each
    if not 1 <= count <= PROMISES_MAX:
        raise UsageError(
            "a book of codes has 1 to {most} lines, not {count}", "name fewer sites or epochs",
            most=PROMISES_MAX, count=count,
        )
    if valid_until <= made_at or min(matter.epoch for matter in matters) < 2:
        raise UsageError("the codes would never be valid", "epochs of losses begin with 2; let them end later")
    lines = []
    wanted = (matter for matter in matters for _again in range(each))
    for number, matter in enumerate(wanted, 1):
        code, salt = draw_digits(), secrets.token_bytes(SALT_BYTES)
        promise = Promise(
            officer.officer, matter.lost, matter.acting, matter.epoch, number, made_at, valid_until, salt,
            commitment_of(code, salt),
        )
        lines.append(CodeLine(sign_promise(promise, officer.signer), code))
    return lines
