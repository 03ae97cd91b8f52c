"""Finding words anywhere in names, readings, numbers and addresses: one long text for each, searched from end to end.

A text holds one line per resident, in the order in which residents are shown; 100,000 readings are 1 MB and take
half a millisecond to walk through, at whatever place in a name the word stands and however short it is. An index of
trigrams finds nothing for one or two characters, which half of all family names are; docs/design/0017-desk.md has
the figures.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from enum import IntEnum
from itertools import accumulate

TEXTS = ("name", "kana", "number", "household", "address")


class Rank(IntEnum):
    """How well somebody fits a word; the best come first."""

    EXACT = 0
    BEGINS = 1
    INSIDE = 2
    ADDRESS = 3


def write_index(connection: sqlite3.Connection, *, addresses: bool) -> None:
    """Write the texts of a database that is complete otherwise.

    Args:
        addresses: False if nobody's address may be found. A restricted person's never is: a hit would tell it.
    """
    rows = connection.execute(
        "select id, name_key, kana_key, number_key, household_key, iif(restricted or not ?, '', address_key), "
        "name_given_at, kana_given_at from resident order by state <> '1', kana_key, name_key, number_key", (addresses,)
    )
    ids = array("I")
    given = array("H"), array("H")
    lines: tuple[list[str], ...] = tuple([] for _ in TEXTS)
    for row in rows:
        ids.append(row[0])
        for text, value in zip(lines, row[1:-2], strict=True):
            text.append(value)
        for offsets, value in zip(given, row[-2:], strict=True):
            offsets.append(min(value, 0xFFFF))
    values = {"ids": ids.tobytes(), "name_given": given[0].tobytes(), "kana_given": given[1].tobytes()}
    values |= {
        name: "\n".join(text).encode("utf-8", "surrogatepass") for name, text in zip(TEXTS, lines, strict=True)
    }
    connection.executemany("insert into search values (?, ?)", values.items())


class Lines:
    """One text, and where each resident's line begins in it.

    Args:
        text: Lines without a line feed within, as `write_index` wrote them.
        given_at: Where in each line the given name begins; none for texts without names.
    """

    def __init__(self, text: bytes, given_at: bytes = b"") -> None:
        # Each line begins and ends with a line feed: a word and a line feed is a whole line.
        self._text = "\n" + text.decode("utf-8", "surrogatepass") + "\n"
        self._starts = array("I", accumulate((len(line) + 1 for line in self._text[1:-1].split("\n")), initial=1))
        self._given_at = array("H", given_at)

    def hits(self, word: str) -> Iterator[tuple[int, Rank]]:
        """Yield every line that holds a word, in their order, and how well it fits."""
        text, starts = self._text, self._starts
        at = text.find(word)
        while at >= 0:
            line = bisect_right(starts, at) - 1
            yield line, self._rank(word, line, starts[line])
            at = text.find(word, starts[line + 1])

    def places(self, word: str) -> Iterator[int]:
        """Yield every line that holds a word whose numbers are whole: 1-2 is not in 11-2 and not in 1-25."""
        text, starts = self._text, self._starts
        at = text.find(word)
        while at >= 0:
            end = at + len(word)
            if (word[0].isdigit() and text[at - 1].isdigit()) or (word[-1].isdigit() and text[end].isdigit()):
                at = text.find(word, at + 1)
                continue
            line = bisect_right(starts, at) - 1
            yield line
            at = text.find(word, starts[line + 1])

    def beginnings(self, word: str) -> Iterator[tuple[int, Rank]]:
        """Yield every line that begins with a word, and how well it fits."""
        at = self._text.find(f"\n{word}")
        while at >= 0:
            line = bisect_right(self._starts, at + 1) - 1
            yield line, self._rank(word, line, self._starts[line])
            at = self._text.find(f"\n{word}", at + 1)

    def wholes(self, word: str) -> Iterator[int]:
        """Yield every line that is exactly this."""
        whole = f"\n{word}\n"
        at = self._text.find(whole)
        while at >= 0:
            yield bisect_right(self._starts, at + 1) - 1
            at = self._text.find(whole, at + 1)

    def _rank(self, word: str, line: int, start: int) -> Rank:
        if self._text.startswith(word, start):
            return Rank.EXACT if self._text[start + len(word)] == "\n" else Rank.BEGINS
        given = bool(self._given_at) and self._text.startswith(word, start + self._given_at[line])
        return Rank.BEGINS if given else Rank.INSIDE
