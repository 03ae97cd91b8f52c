"""How sound a vault is: what status and metrics are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jbackupd.model.errors import JbackupdError
from jbackupd.vault.soundness import Coverage


@dataclass(frozen=True)
class CheckFacts:
    """What is known of one vault, own or held.

    Attributes:
        coverage: How much was read within the span that the configuration wants.
        last_look: When an object was last read.
        error: Why the last try of this daemon could not look.
        healed_objects: That this daemon has taken again from a peer since its start.
    """

    coverage: Coverage = field(default_factory=Coverage)
    last_look: datetime | None = None
    next_run: datetime | None = None
    error: JbackupdError | None = None
    healed_objects: int = 0


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """Return how much was verified lately, for machines."""
    oldest = coverage.oldest
    return {
        "objects": coverage.objects, "recent_objects": coverage.recent, "coverage": round(coverage.ratio, 4),
        "unsound_objects": coverage.unsound, "never_read_objects": coverage.never,
        "oldest": None if oldest is None else oldest.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
