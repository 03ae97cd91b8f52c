"""What a clerk typed into the one box, understood: every word has one or more meanings."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import Enum

from jbackupd.desk.folding import fold_kana, fold_name, fold_number, is_kana
from jbackupd.model.errors import UsageError
from jbackupd.model.wareki import parse_day

WORDS_MAX = 6
TYPED_CHARACTERS_MAX = 100


class Kind(Enum):
    """What a word may mean; also the words of the audit log."""

    NUMBER = "number"
    HOUSEHOLD = "household"
    BIRTH = "birth"
    KANA = "kana"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One meaning of a word: what to compare, and the folded value to compare with."""

    kind: Kind
    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """All words of a search; a resident is found who fits every word in one of its meanings.

    Attributes:
        typed: As it was typed, shown again above the results.
        words: Meanings of each word.
    """

    typed: str
    words: tuple[tuple[Meaning, ...], ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every kind of meaning in the query, in the order of the enumeration."""
        found = {meaning.kind for word in self.words for meaning in word}
        return tuple(kind for kind in Kind if kind in found)

    def normal_text(self) -> str:
        """Return the same text for the same search, however it was typed; for the audit digest."""
        return " ".join(sorted(f"{word[0].kind.value}={word[0].value}" for word in self.words))


def understand(typed: str) -> Query:
    """Read a search: kana, kanji, numbers and birth dates, several words separated by blanks.

    Raises:
        UsageError: Nothing was typed, too much, or a word is neither a name nor a date nor a number.
    """
    words = unicodedata.normalize("NFKC", typed).split() if len(typed) <= TYPED_CHARACTERS_MAX else []
    if not typed.strip():
        raise UsageError("nothing to search for", "type a name in kana or kanji, a birth date or a number")
    if not 1 <= len(words) <= WORDS_MAX:
        raise UsageError("the search is too long", "type a name and a birth date, nothing more")
    # Names keep their exact code points: they are folded from what was typed, not from its normal form.
    exact = typed.split()
    pairs = zip(words, exact if len(exact) == len(words) else words, strict=True)
    return Query(typed.strip(), tuple(_meanings(word, original) for word, original in pairs))


def _meanings(word: str, original: str) -> tuple[Meaning, ...]:
    if word.isdigit():
        return _digits(word)
    birth = _birth(word)
    if birth is not None:
        return (Meaning(Kind.BIRTH, birth.isoformat()),)
    if is_kana(word):
        # Some names are written in kana: the name itself is compared as well.
        return (Meaning(Kind.KANA, fold_kana(word)), Meaning(Kind.NAME, fold_name(original)))
    if looks_like_date(word):
        parse_day(word)  # says what is wrong with it
    folded = fold_name(original)
    if not any(char.isalpha() or unicodedata.category(char) == "Co" for char in folded):
        raise UsageError(
            "{word!r} is neither a name nor a date nor a number",
            "type a name in kana or kanji, a birth date or a number", word=original[:40],
        )
    return (Meaning(Kind.NAME, folded),)


def _digits(word: str) -> tuple[Meaning, ...]:
    number = fold_number(word)
    meanings = [Meaning(Kind.NUMBER, number), Meaning(Kind.HOUSEHOLD, number)]
    birth = _birth(word)
    if birth is not None:
        meanings.insert(0, Meaning(Kind.BIRTH, birth.isoformat()))
    return tuple(meanings)


def _birth(word: str) -> date | None:
    try:
        return parse_day(word)
    except UsageError:
        return None


def looks_like_date(word: str) -> bool:
    """Tell whether a word that is no date was meant as one: digits with marks, or an era with digits."""
    digits = sum(char.isdigit() for char in word)
    return digits >= 3 and any(mark in word for mark in "年月日./-") and word[-1] in "日0123456789"
