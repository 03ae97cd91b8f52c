"""State machines as tables: (state, event) -> state; an unknown pair raises."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from jbackupd.model.errors import InvariantError

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class Machine(Generic[S, E]):
    """A named table of transitions; holds no state of its own."""

    def __init__(self, name: str, table: Mapping[tuple[S, E], S]) -> None:
        self.name = name
        self.table = dict(table)

    def allows(self, state: S, event: E) -> bool:
        """Tell whether an event is foreseen in a state."""
        return (state, event) in self.table

    def next(self, state: S, event: E) -> S:
        """Return the state after an event.

        Raises:
            InvariantError: The table does not foresee this event in this state. Callers that take
                events from outside check `allows` first and raise their own typed error.
        """
        try:
            return self.table[state, event]
        except KeyError:
            raise InvariantError(f"{self.name}: {event.value} is not foreseen in {state.value}") from None
