"""What a clerk typed into the one box, understood: every word has one or more meanings."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from jbackupd.desk.days import days_of
from jbackupd.desk.folding import fold_address, fold_kana, fold_name, fold_number, is_kana
from jbackupd.model.errors import UsageError
from jbackupd.model.wareki import parse_day

WORDS_MAX = 6
TYPED_CHARACTERS_MAX = 100
DIGITS_MIN = 4
"""So many digits may be a part of a number; fewer are in every third number."""
_LIKE_A_DATE = re.compile(
    r"(?:(?:西暦)?\d{4}|(?:明治?|大正?|昭和?|平成?|令和?|[MTSHR])(?:\d{1,2}|元))[年./-]\d{1,2}[月./-]\d{1,2}日?",
    re.IGNORECASE,
)


class Kind(Enum):
    """What a word may mean; also the words of the audit log."""

    NUMBER = "number"
    HOUSEHOLD = "household"
    BIRTH = "birth"
    KANA = "kana"
    NAME = "name"
    PART = "number-part"
    ADDRESS = "address"


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
    """Read a search: kana, kanji, numbers, addresses, birth dates and parts of them, several words separated by blanks.

    Raises:
        UsageError: Nothing was typed, too much, or a word is neither a name nor a date nor a number.
    """
    words = unicodedata.normalize("NFKC", typed).split() if len(typed) <= TYPED_CHARACTERS_MAX else []
    if not typed.strip():
        raise UsageError("nothing to search for", "type a name in kana or kanji, a birth date, a number or an address")
    if not 1 <= len(words) <= WORDS_MAX:
        raise UsageError("the search is too long", "type a name, a birth date or an address, nothing more")
    # Names keep their exact code points: they are folded from what was typed, not from its normal form.
    exact = typed.split()
    pairs = zip(words, exact if len(exact) == len(words) else words, strict=True)
    return Query(typed.strip(), tuple(
        _meanings(word, original, alone=len(words) == 1) for word, original in pairs
    ))


def _meanings(word: str, original: str, *, alone: bool) -> tuple[Meaning, ...]:
    if word.isdigit():
        return _digits(word, alone=alone)
    address = fold_address(original)
    lies = (Meaning(Kind.ADDRESS, address),) if len(address) > 1 else ()
    days = days_of(word)
    if days is not None:
        # 1200-3 may be a lot, and 1993-01 too.
        return (Meaning(Kind.BIRTH, str(days)), *(lies if word[0].isdigit() and "-" in word else ()))
    if is_kana(word):
        # Some names are written in kana: the name itself is compared as well.
        return (Meaning(Kind.KANA, fold_kana(word)), Meaning(Kind.NAME, fold_name(original)), *lies)
    if _LIKE_A_DATE.fullmatch(word):
        parse_day(word)  # says what is wrong with it
    folded = fold_name(original)
    if any(char.isalpha() or unicodedata.category(char) == "Co" for char in folded):
        return (Meaning(Kind.NAME, folded), *lies)
    if any(char.isdigit() for char in address) and lies:
        return lies
    raise UsageError(
        "{word!r} is neither a name nor a date nor a number nor an address",
        "type a name in kana or kanji, a birth date, a number or an address", word=original[:40],
    )


def _digits(word: str, *, alone: bool) -> tuple[Meaning, ...]:
    number = fold_number(word)
    meanings = [Meaning(Kind.NUMBER, number), Meaning(Kind.HOUSEHOLD, number)]
    days = days_of(word)
    if days is not None:
        meanings.insert(0, Meaning(Kind.BIRTH, str(days)))
    if len(number) >= DIGITS_MIN:
        meanings.append(Meaning(Kind.PART, number))
    elif not alone:
        # Beside a name or a street it may be a house number; alone it would be half of the town.
        meanings.append(Meaning(Kind.ADDRESS, number))
    return tuple(meanings)
