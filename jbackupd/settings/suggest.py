"""Did you mean: the known word that a misspelt one stands for."""

from __future__ import annotations

from collections.abc import Iterable


def edit_distance(left: str, right: str) -> int:
    """Return how many insertions, deletions, replacements and swaps of neighbours turn left into right.

    Source: optimal string alignment, the usual restricted Damerau-Levenshtein recurrence.
    """
    before: list[int] = []
    above = list(range(len(right) + 1))
    for row, a in enumerate(left, start=1):
        current = [row]
        for column, b in enumerate(right, start=1):
            cost = min(above[column] + 1, current[column - 1] + 1, above[column - 1] + (a != b))
            if row > 1 and column > 1 and a == right[column - 2] and b == left[row - 2]:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        before, above = above, current
    return above[-1]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is close enough to be meant, or None.

    One slip in short words, two from five letters, three from nine; case and `_`/`-` do not count,
    and leaving the end off is one slip.
    """
    folded = _fold(word)[:64]
    ranked = sorted((_slips(folded, _fold(candidate)), candidate) for candidate in known)
    if not ranked or ranked[0][0] > 1 + (len(folded) >= 5) + (len(folded) >= 9):
        return None
    return ranked[0][1]


def _slips(word: str, candidate: str) -> int:
    return 1 if len(word) >= 3 and candidate.startswith(word) else edit_distance(word, candidate)


def _fold(word: str) -> str:
    return word.lower().replace("_", "-")
