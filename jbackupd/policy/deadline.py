"""How old may it be: RPO in figures. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum


class Deadline(Enum):
    """How a copy stands against its RPO."""

    MET = "met"
    LATE = "late"
    """Older than promised."""
    NEVER = "never"
    """There is none at all."""


def deadline_of(taken_at: datetime | None, rpo: timedelta, now: datetime) -> Deadline:
    """Return how a dataset's newest point stands.

    Args:
        taken_at: When it was taken; None if there is none.
        rpo: How old it may become.
        now: Aware.
    """
    if taken_at is None:
        return Deadline.NEVER
    return Deadline.MET if now - taken_at <= rpo else Deadline.LATE


def worst(deadlines: list[Deadline]) -> Deadline:
    """Return the worst of several; met if there is nothing to be met."""
    order = (Deadline.NEVER, Deadline.LATE)
    return next((deadline for deadline in order if deadline in deadlines), Deadline.MET)
