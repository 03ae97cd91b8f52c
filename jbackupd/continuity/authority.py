"""Who acts for a site, by the declarations about it: pure rules over what one site knows.

A line of declarations begins with the site itself, epoch 1. Each later one has a higher epoch and names who acts from
then on. Three kinds of them pass the authority on:

    loss        another site acts; nobody asked the one before, it is lost or cut off
    hand-over   another site acts; it counts only with the release of the one before, which stops before it signs
    return      the site acts for itself again; it counts only with that release too

Where the one that must release is declared lost itself, nobody waits for it.

Two declarations with one epoch are a conflict: whoever knows both acts for neither, until a higher one says who does.
Unless both name the same site: then the second one says nothing new, and nothing of it is kept. A code that was told by
telephone is no secret, so anybody could put it under any number of such statements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from jbackupd.format.declaration import Declaration
from jbackupd.model.ids import SiteId

FIRST_EPOCH = 1
"""The epoch of a site that was never declared lost."""


class Verdict(Enum):
    """What a site does with a declaration whose approvals are enough."""

    TAKE = "take"
    KNOWN = "known"
    OLD = "old"
    CONFLICT = "conflict"
    TWIN = "twin"
    """Another one with the same epoch and the same site that acts."""
    UNRELEASED = "unreleased"
    """A hand-over or return that the site which acts now has not signed."""
    GAP = "gap"
    """A hand-over or return of which it is not known whom it relieves: the declarations before it are missing here."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """All that one site knows of who acts for a home.

    Attributes:
        declarations: In force one after the other, epochs rising.
        conflicts: Others with the same epoch as one of them, kept and shown.
    """

    home: SiteId
    declarations: tuple[Declaration, ...] = ()
    conflicts: tuple[Declaration, ...] = ()

    @property
    def newest(self) -> Declaration | None:
        """The one in force; None where there never was one."""
        return self.declarations[-1] if self.declarations else None

    @property
    def epoch(self) -> int:
        """The epoch in force."""
        return self.newest.statement.epoch if self.newest is not None else FIRST_EPOCH

    @property
    def acting(self) -> SiteId:
        """The site that acts, by the newest declaration; see `disputed`."""
        return self.newest.statement.acting if self.newest is not None else self.home

    @property
    def disputed(self) -> Declaration | None:
        """Another declaration with the epoch in force: then nobody acts; None where there is none."""
        return next((other for other in self.conflicts if other.statement.epoch == self.epoch), None)

    @property
    def own_epoch(self) -> int:
        """The highest epoch under which the home itself acted: what it says of itself, also when it is lost."""
        own = (d.statement.epoch for d in self.declarations if d.statement.acting == self.home)
        return max(own, default=FIRST_EPOCH)

    def acted(self, epoch: int) -> bool:
        """Tell whether the home acts now and acted under an epoch: its points of then count."""
        if self.acting != self.home:
            return False
        return epoch == FIRST_EPOCH or any(
            d.statement.epoch == epoch and d.statement.acting == self.home for d in self.declarations
        )

    def before(self, declaration: Declaration) -> SiteId | None:
        """Return who acted before a declaration; None if that is not known here."""
        known = {d.signed: position for position, d in enumerate(self.declarations)}
        position = known.get(declaration.signed)
        if position is None:
            return self.acting if declaration.statement.epoch == self.epoch + 1 else None
        if position:
            return self.declarations[position - 1].statement.acting
        return self.home if declaration.statement.epoch == FIRST_EPOCH + 1 else None


def judge(known: Lineage, given: Declaration, *, released: bool, acting_lost: bool) -> Verdict:
    """Return what a site does with a declaration.

    Args:
        released: It carries the release of the site that acts by `known`.
        acting_lost: That site is declared lost itself, by what is known here.
    """
    signed = {d.signed for d in (*known.declarations, *known.conflicts)}
    statement = given.statement
    if given.signed in signed:
        return Verdict.KNOWN
    rivals = [d for d in (*known.declarations, *known.conflicts) if d.statement.epoch == statement.epoch]
    if rivals:
        same = any(d.statement.acting == statement.acting for d in rivals)
        return Verdict.TWIN if same else Verdict.CONFLICT
    if statement.epoch <= known.epoch:
        return Verdict.OLD
    if given.needs_release:
        if statement.epoch != known.epoch + 1:
            return Verdict.GAP
        if not released and not acting_lost:
            return Verdict.UNRELEASED
    return Verdict.TAKE


def taken(known: Lineage, given: Declaration, verdict: Verdict) -> Lineage:
    """Return what is known after a declaration was taken, or kept as a conflict."""
    match verdict:
        case Verdict.TAKE:
            return replace(known, declarations=(*known.declarations, given))
        case Verdict.CONFLICT:
            return replace(known, conflicts=(*known.conflicts, given))
        case _:
            return known
