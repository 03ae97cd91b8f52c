"""Answering a search: who fits every word, in the order in which they are shown."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jbackupd.desk.query import Kind, Meaning
from jbackupd.desk.textindex import Lines, Rank

Words = tuple[tuple[Meaning, ...], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Everybody who fits.

    Attributes:
        ids: Rows of residents, the best first, then by reading.
        best: How well the first fits.
    """

    ids: Sequence[int]
    best: Rank


class Lookup:
    """The texts of a database, in memory: 10 MB for 100,000 residents. May be used from several threads.

    Args:
        texts: As `textindex.write_index` wrote them.
    """

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self._ids = array("I", texts["ids"])
        self._place = {id_: place for place, id_ in enumerate(self._ids)}
        self._name = Lines(texts["name"], texts["name_given"])
        self._kana = Lines(texts["kana"], texts["kana_given"])
        self._number = Lines(texts["number"])
        self._household = Lines(texts["household"])
        self._address = Lines(texts["address"])

    def answer(self, words: Words, born: Mapping[str, Sequence[int]]) -> Answer:
        """Return who fits every word in one of its meanings.

        Args:
            born: For each value of a birth date, the rows of who was born then.
        """
        fitting: dict[int, Rank] | None = None
        for word in words:
            ranks = self._ranks(word, born)
            if fitting is None:
                fitting = ranks
            else:
                fitting = {place: max(rank, ranks[place]) for place, rank in fitting.items() if place in ranks}
        found = fitting or {}
        best = min(found.values(), default=Rank.EXACT)
        # Numbers, not pairs: thousands may fit, and sorting pairs took a third of such an answer's time.
        places = sorted([rank * len(self._ids) + place for place, rank in found.items()])
        return Answer(array("I", [self._ids[place % len(self._ids)] for place in places]), best)

    def _ranks(self, word: Sequence[Meaning], born: Mapping[str, Sequence[int]]) -> dict[int, Rank]:
        """Return everybody who fits a word, by place, with the best of its meanings."""
        found: dict[int, Rank] = {}
        for meaning in word:
            for place, rank in self._hits(meaning, born):
                if place not in found or rank < found[place]:
                    found[place] = rank
        return found

    def _hits(self, meaning: Meaning, born: Mapping[str, Sequence[int]]) -> Iterator[tuple[int, Rank]]:
        value = meaning.value
        if not value:
            return
        if meaning.kind is Kind.BIRTH:
            rank = Rank.BEGINS if ".." in value else Rank.EXACT
            yield from ((self._place[id_], rank) for id_ in born[value])
        elif meaning.kind is Kind.ADDRESS:
            yield from ((place, Rank.ADDRESS) for place in self._address.places(value))
        elif meaning.kind is Kind.PART:
            yield from ((place, Rank.INSIDE) for place, _ in self._number.hits(value))
        elif meaning.kind in (Kind.NUMBER, Kind.HOUSEHOLD):
            lines = self._number if meaning.kind is Kind.NUMBER else self._household
            yield from ((place, Rank.EXACT) for place in lines.wholes(value))
        elif meaning.kind is Kind.KANA and len(value) == 1:
            # One sound is inside every third name, which takes 60 ms to say and helps nobody.
            yield from self._kana.beginnings(value)
        else:
            yield from (self._kana if meaning.kind is Kind.KANA else self._name).hits(value)
