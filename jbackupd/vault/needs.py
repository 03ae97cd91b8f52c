"""What the points of a chain need: folded once, then followed step by step in either direction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jbackupd.format.point import step_back, step_on
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import NO_OBJECT, ObjectName, ObjectRef

if TYPE_CHECKING:
    from jbackupd.vault.vault import StoredPoint


class Needs:
    """What the points of one chain need. Safe for several threads.

    Where it stands is remembered: a vault of a million objects and a thousand points is folded once, and what
    the next point adds costs only that. The differences can be undone, since each was checked when it was applied.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._name = NO_OBJECT
        self._needed: set[ObjectRef] = set()

    def at(self, chain: Sequence[StoredPoint], sequence: int) -> set[ObjectRef]:
        """Return what the point of a sequence number needs; for 0 nothing. The set is the caller's.

        Args:
            chain: Checked, from the first point on; at least `sequence` long.

        Raises:
            FormatError: A difference does not apply.
        """
        with self._lock:
            # Nearer to the begin than to where it stands, or the chain is another one than it was.
            if not self._stands_on(chain) or sequence < self._sequence - sequence:
                self._stand_at(0, NO_OBJECT, set())
            try:
                self._go_to(chain, sequence)
            except FormatError:
                self._stand_at(0, NO_OBJECT, set())
                raise
            return set(self._needed)

    def _stands_on(self, chain: Sequence[StoredPoint]) -> bool:
        if not self._sequence:
            return True
        return self._sequence <= len(chain) and chain[self._sequence - 1].name == self._name

    def _go_to(self, chain: Sequence[StoredPoint], sequence: int) -> None:
        for point in chain[self._sequence : sequence]:
            step_on(self._needed, point.header)
        for point in reversed(chain[sequence : self._sequence]):
            step_back(self._needed, point.header)
        self._stand_at(sequence, chain[sequence - 1].name if sequence else NO_OBJECT, self._needed)

    def _stand_at(self, sequence: int, name: ObjectName, needed: set[ObjectRef]) -> None:
        self._sequence, self._name, self._needed = sequence, name, needed
