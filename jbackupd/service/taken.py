"""What taking a point brings, and who takes one. Loads no loop: `backup --local` has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from jbackupd.model.ids import DatasetId


@dataclass(frozen=True, slots=True)
class Taken:
    """What a backup has brought.

    Attributes:
        incomplete: Something in scope could not be taken.
        source_bytes: Size of what was taken.
        result: For the journal and for commands; numbers, words and lists of them.
    """

    incomplete: bool
    source_bytes: int
    result: dict[str, Any] = field(default_factory=dict)


class Take(Protocol):
    """Takes a point of a dataset (wiring fills it in)."""

    def __call__(
        self, dataset: DatasetId, progress: Callable[[int, int], None], stopped: Callable[[], bool], /
    ) -> Taken:
        """Block until the point is committed.

        Args:
            dataset: Which.
            progress: Called with bytes and files, often; raises TryLaterError when the run must end.
            stopped: Asked now and then; true when the run must end.

        Raises:
            JbackupdError: There is no new point.
        """
        ...
