"""Looking residents up: the one reader of the desk's data."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jbackupd.desk.database import DATABASE_VERSION, Facts, uri_path
from jbackupd.desk.folding import fold_number
from jbackupd.desk.lookup import Answer, Lookup, Words
from jbackupd.desk.query import Kind, Query
from jbackupd.desk.textindex import Rank
from jbackupd.model.errors import DamageError, NotFoundError

_SHOWN = (
    "id", "number", "household", "name", "kana", "birth", "birth_key", "sex", "state", "address", "town", "lot",
    "building", "relation", "position", "domicile", "head", "ward", "shelter", "support", "restricted",
)
_SELECT = f"select {', '.join(_SHOWN)} from resident where"  # noqa: S608 - column names of ours
_AT_ONCE = 500
"""Values in one statement; SQLite stands 999 in every build."""
_REMEMBERED = 64
"""Searches whose whole answer is kept, 4 bytes a person: the next page, and going back, cost nothing."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident as the extract has it; addresses are not masked yet (see masking.py).

    Attributes:
        id: Row in this database; means nothing elsewhere.
        birth: As it was delivered; `birthday` where that is a date.
        state: "1" resident, "2" moved away, "3" dead, "9" deleted; else as delivered.
        position: Order within the household; None if unknown.
        ward: 行政区.
        shelter: 避難所 that the municipality has assigned.
        support: 避難行動要支援者, who needs help to get away.
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
    ward: str
    shelter: str
    support: bool
    restricted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        residents: The best first, then by reading; at most as many as were asked for.
        total: How many fit in all.
        best: How well the first of all fits.
    """

    residents: tuple[Resident, ...]
    total: int = 0
    best: Rank = Rank.EXACT

    @property
    def more(self) -> bool:
        """Whether there are others beyond them."""
        return self.total > len(self.residents)

    @property
    def inside(self) -> bool:
        """Whether the words were found only inside names, not at their beginning."""
        return self.best is Rank.INSIDE


class Residents:
    """The one reader of a desk database; may be used from several threads.

    Args:
        source: Path of the database, or its bytes: then nothing of it is ever on a disk.

    Raises:
        NotFoundError: There is no such file.
        DamageError: It is not a desk database of a known version.
    """

    def __init__(self, source: str | bytes) -> None:
        self._path = source if isinstance(source, str) else ":memory:"
        self._lock = threading.Lock()
        self._connection = _opened(source) if isinstance(source, str) else _in_memory(source)
        self.facts = self._read_facts()
        self._lookup = Lookup(self._read_texts())
        self._answers: OrderedDict[Words, Answer] = OrderedDict()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def search(self, query: Query, *, limit: int, skip: int = 0) -> Found:
        """Return the residents who fit every word, the best first; `skip` leaves out those of earlier pages."""
        answer = self._answer(query.words)
        ids = answer.ids[skip : skip + limit]
        return Found(self.people(ids), len(answer.ids), answer.best)

    def people(self, ids: Sequence[int]) -> tuple[Resident, ...]:
        """Return residents by their rows, in the order in which they are asked for."""
        found = {
            one.id: one
            for some in (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))
            for one in self._select(f"{_SELECT} id in ({','.join('?' * len(some))})", some)
        }
        return tuple(found[id_] for id_ in ids)

    def rows(self, condition: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return rows of a statement of ours about residents."""
        with self._lock, _reading(self._path):
            return self._connection.execute(condition, values).fetchall()

    def _answer(self, words: Words) -> Answer:
        with self._lock:
            known = self._answers.get(words)
            if known is not None:
                self._answers.move_to_end(words)
                return known
        born = {
            meaning.value: self._born(meaning.value) for word in words for meaning in word if meaning.kind is Kind.BIRTH
        }
        answer = self._lookup.answer(words, born)
        with self._lock:
            self._answers[words] = answer
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return answer

    def _born(self, days: str) -> list[int]:
        first, _, last = days.partition("..")
        found = self.rows("select id from resident where birth_key between ? and ?", (first, last or first))
        return [row[0] for row in found]

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

    def _read_texts(self) -> dict[str, bytes]:
        with self._lock, _reading(self._path):
            return dict(self._connection.execute("select name, value from search"))

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
            bool(meta["restrictions_unreadable"]),
        )


def _opened(path: str) -> sqlite3.Connection:
    if not os.path.exists(path):
        raise NotFoundError(
            "unable to open the desk's data {path}: it does not exist", "load a resident extract first", path=path
        )
    uri = f"file:{uri_path(path)}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)


def _in_memory(data: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.deserialize(data)
    connection.execute("pragma query_only = on")
    return connection


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DamageError(
            "unable to read the desk's data {path}: {reason}", "load the extract again", path=path, reason=str(error)
        ) from error


def _resident(row: Sequence[Any]) -> Resident:
    values = dict(zip(_SHOWN, row, strict=True))
    key = values.pop("birth_key")
    values["restricted"], values["support"] = bool(values["restricted"]), bool(values["support"])
    return Resident(**values, birthday=date.fromisoformat(key) if key else None)
