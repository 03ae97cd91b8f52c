"""How retention stands in a vault: what status and metrics are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jbackupd.model.errors import JbackupdError


@dataclass(frozen=True)
class ReclaimFacts:
    """How retention stands in one vault, for status and metrics.

    Attributes:
        last_run: When the last one ended well.
        next_run: None where no dataset has a retention.
        error: Why the last try of this daemon did nothing.
        overdue_points: That stay although their upper bound is passed.
    """

    last_run: datetime | None = None
    next_run: datetime | None = None
    error: JbackupdError | None = None
    removed_points: int = 0
    freed_bytes: int = 0
    held_points: int = 0
    overdue_points: int = 0
    frozen: str | None = None
