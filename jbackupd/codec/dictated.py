"""Numbers that one person reads to another over the telephone: twenty digits in groups of four, the last one a check.

Nineteen digits are drawn (63 bits). The twentieth finds every single wrong digit and every two neighbours that were
exchanged: what people mishear (四 and 七, 一 and 七) and mistype is told at once, before anything is tried.

Source: H. M. Damm, Totally anti-symmetric quasigroups for all orders n, Discrete Mathematics 307 (2007); its table of
order 10.
"""

from __future__ import annotations

import secrets
import unicodedata

from jbackupd.model.errors import UsageError

GROUPS = 5
GROUP_DIGITS = 4
DIGITS = GROUPS * GROUP_DIGITS
_TABLE = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip


def draw_digits() -> str:
    """Return DIGITS digits: random ones, and their check."""
    drawn = f"{secrets.randbelow(10 ** (DIGITS - 1)):0{DIGITS - 1}d}"
    return drawn + check_digit(drawn)


def check_digit(digits: str) -> str:
    """Return the digit that goes behind others; of digits with their check it is "0"."""
    state = "0"
    for digit in digits:
        state = _TABLE[int(state)][int(digit)]
    return state


def is_dictated(text: str) -> bool:
    """Tell whether a text is DIGITS digits, the last one their check."""
    return len(text) == DIGITS and text.isascii() and text.isdigit() and check_digit(text) == "0"


def show_digits(digits: str) -> str:
    """Return digits in groups, to be read out."""
    return "-".join(digits[at : at + GROUP_DIGITS] for at in range(0, DIGITS, GROUP_DIGITS))


def parse_digits(typed: str) -> str:
    """Return the digits that somebody typed: of any width, with any hyphens, dots or blanks between them.

    Raises:
        UsageError: A group is too short or too long, a character is no digit, or the check does not fit: a digit was
            misheard or mistyped. What was typed is not repeated.
    """
    groups = "".join(_plain(character) for character in typed).split()
    for number, group in enumerate(groups, 1):
        if len(groups) == GROUPS and len(group) != GROUP_DIGITS:
            raise UsageError(
                "group {number} of the code has {count} digits, not {wanted}", "ask for that group again",
                number=number, count=len(group), wanted=GROUP_DIGITS,
            )
    digits = "".join(groups)
    if len(digits) != DIGITS:
        raise UsageError(
            "the code has {count} digits, not {wanted}", "read it back group by group", count=len(digits), wanted=DIGITS
        )
    if check_digit(digits) != "0":
        raise UsageError(
            "a digit of the code is wrong: misheard or mistyped", "read it back group by group; nothing was tried"
        )
    return digits


def _plain(character: str) -> str:
    value = unicodedata.decimal(character, None)
    if value is not None:
        return str(value)
    if unicodedata.category(character) in ("Pd", "Zs", "Po", "Cc") or character in "ー−":
        return " "
    raise UsageError("a code is made of digits only", "read it back group by group")
