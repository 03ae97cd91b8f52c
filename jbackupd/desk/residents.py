"""Looking residents up: the one reader of the desk's data."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jbackupd.desk.database import DATABASE_VERSION, Facts
from jbackupd.desk.folding import fold_number
from jbackupd.desk.query import Kind, Meaning, Query
from jbackupd.model.errors import DamageError, NotFoundError

_SHOWN = (
    "id", "number", "household", "name", "kana", "birth", "birth_key", "sex", "state", "address", "town", "lot",
    "building", "relation", "position", "domicile", "head", "restricted",
)
_SELECT = f"select {', '.join(_SHOWN)} from resident where"  # noqa: S608 - column names of ours
_ORDER = "order by state <> '1', kana_key, name_key, number_key limit ?"
_AFTER = "\U0010ffff"
"""Sorts behind every character that a folded value may hold."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident as the extract has it; addresses are not masked yet (see masking.py).

    Attributes:
        id: Row in this database; means nothing elsewhere.
        birth: As it was delivered; `birthday` where that is a date.
        state: "1" resident, "2" moved away, "3" dead, "9" deleted; else as delivered.
        position: Order within the household; None if unknown.
        restricted: Support measures (支援措置) hold for this person or another of the household.
    """

    id: int
    number: str
    household: str
    name: str
    kana: str
    birth: str
    birthday: date | None
    sex: str
    state: str
    address: str
    town: str
    lot: str
    building: str
    relation: str
    position: int | None
    domicile: str
    head: str
    restricted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        residents: Sorted by reading; at most as many as were asked for.
        more: Whether there are others beyond them.
        inside: Whether the words were found only inside names, not at their beginning.
    """

    residents: tuple[Resident, ...]
    more: bool = False
    inside: bool = False


class Residents:
    """The one reader of a desk database; may be used from several threads.

    Raises:
        NotFoundError: There is no such file.
        DamageError: It is not a desk database of a known version.
    """

    def __init__(self, path: str) -> None:
        if not os.path.exists(path):
            raise NotFoundError(
                "unable to open the desk's data {path}: it does not exist", "load a resident extract first", path=path
            )
        self._path = path
        self._lock = threading.Lock()
        uri = f"file:{_uri_path(path)}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        self.facts = self._read_facts()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def search(self, query: Query, *, limit: int) -> Found:
        """Return the residents who fit every word; where names begin so, else where they contain it."""
        for inside in (False, True):
            where, values = _conditions(query, inside=inside)
            rows = self._select(f"{_SELECT} {where} {_ORDER}", (*values, limit + 1))
            if rows:
                return Found(tuple(rows[:limit]), len(rows) > limit, inside)
        return Found(())

    def resident(self, row: int) -> Resident:
        """Return one resident.

        Raises:
            NotFoundError: There is none.
        """
        rows = self._select(f"{_SELECT} id = ?", (row,))
        if not rows:
            raise NotFoundError("this resident is not in the data", "search again")
        return rows[0]

    def by_number(self, number: str) -> Resident | None:
        """Return the resident with a 宛名番号, however many zeros are in front of it; None if there is none."""
        rows = self._select(f"{_SELECT} number_key = ? limit 2", (fold_number(number),))
        return next((row for row in rows if row.number == number), rows[0] if rows else None)

    def household(self, resident: Resident) -> tuple[Resident, ...]:
        """Return all members of a resident's household in their order, the resident among them."""
        if not resident.household:
            return (resident,)
        return tuple(self._select(
            f"{_SELECT} household_key = ? order by state <> '1', position is null, position, number_key",
            (fold_number(resident.household),),
        ))

    def _select(self, statement: str, values: Sequence[object]) -> list[Resident]:
        with self._lock, _reading(self._path):
            return [_resident(row) for row in self._connection.execute(statement, values)]

    def _read_facts(self) -> Facts:
        with self._lock, _reading(self._path):
            meta = dict(self._connection.execute("select name, value from meta"))
        if meta.get("version") != str(DATABASE_VERSION):
            raise DamageError(
                "{path} is not a desk database of this version", "load the extract again", path=self._path
            )
        flags = meta["restrictions_as_of"]
        return Facts(
            datetime.fromisoformat(meta["as_of"]), meta["loaded_from"],
            datetime.fromisoformat(flags) if flags else None, int(meta["rows"]),
        )


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DamageError(
            "unable to read the desk's data {path}: {reason}", "load the extract again", path=path, reason=str(error)
        ) from error


def _uri_path(path: str) -> str:
    return os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _resident(row: Sequence[Any]) -> Resident:
    values = dict(zip(_SHOWN, row, strict=True))
    key = values.pop("birth_key")
    values["restricted"] = bool(values["restricted"])
    return Resident(**values, birthday=date.fromisoformat(key) if key else None)


def _conditions(query: Query, *, inside: bool) -> tuple[str, list[str]]:
    """Return the condition for all words, and its values."""
    clauses: list[str] = []
    values: list[str] = []
    for word in query.words:
        parts = [_condition(meaning, inside=inside) for meaning in word]
        clauses.append("(" + " or ".join(clause for clause, _ in parts) + ")")
        values += [value for _, more in parts for value in more]
    return " and ".join(clauses), values


def _condition(meaning: Meaning, *, inside: bool) -> tuple[str, list[str]]:
    value = meaning.value
    if meaning.kind is Kind.NUMBER:
        return "number_key = ?", [value]
    if meaning.kind is Kind.HOUSEHOLD:
        return "household_key = ?", [value]
    if meaning.kind is Kind.BIRTH:
        return "birth_key = ?", [value]
    whole, given = ("kana_key", "kana_given_key") if meaning.kind is Kind.KANA else ("name_key", "given_key")
    if inside:
        return f"instr({whole}, ?)", [value]
    return f"({whole} >= ? and {whole} < ? or {given} >= ? and {given} < ?)", [value, value + _AFTER] * 2
