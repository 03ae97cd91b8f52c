"""A table as PostgreSQL keeps it, so that a dump made without a server is in the order of a real one.

An update leaves a dead row and writes the new one elsewhere: into room that an earlier VACUUM freed, else at the
end. A dump walks the table in that order, so a changed row also moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

UPDATED_PART, INSERTED_PART, DELETED_PART = 0.01, 0.002, 0.001


class Heap:
    """Rows at places; a place that died today can be used from tomorrow."""

    def __init__(self, rows: list[str]) -> None:
        self._places: list[str | None] = list(rows)
        self._free: list[int] = []
        self._first_size = len(rows)

    def __iter__(self) -> Iterator[str]:
        return (row for row in self._places if row is not None)

    def advance(
        self, random: Random, update: Callable[[list[str]], list[str]], insert: Callable[[int], list[str]],
    ) -> None:
        """Let a day pass: 1 % of the rows updated, 0.2 % inserted, 0.1 % deleted, then a VACUUM.

        Args:
            update: Gets rows, returns their new versions.
            insert: Gets a number, returns so many new rows.
        """
        living = [place for place, row in enumerate(self._places) if row is not None]
        updated, deleted = round(len(living) * UPDATED_PART), round(len(living) * DELETED_PART)
        gone = random.sample(living, updated + deleted)
        versions = update([row for place in gone[:updated] if (row := self._places[place]) is not None])
        for place in gone:
            self._places[place] = None
        for row in (*versions, *insert(round(self._first_size * INSERTED_PART))):
            self._put(row)
        self._free = sorted((*self._free, *gone), reverse=True)

    def _put(self, row: str) -> None:
        if self._free:
            self._places[self._free.pop()] = row
        else:
            self._places.append(row)
