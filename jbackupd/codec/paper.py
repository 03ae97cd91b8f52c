"""Bytes that a person can read from paper, type in, and say over the telephone.

    01 MHQ7-B3XK-...-4CAA 2Z9G       line number, up to eight groups of four, a check of the line

A line holds 20 bytes, the last one what is left. The letters are Crockford's base32 (no I, L, O, U;
these are read as 1, 1, 0, V), filled with zero bits at the end. The check is the first two bytes of
the BLAKE3 of the line's number (one byte) and its bytes, so a mistyped, exchanged or repeated line is
told by its number. Case, hyphens and spaces do not matter, full-width characters of a Japanese
keyboard are read as their ASCII ones, and lines that do not begin with a number are skipped.

Source: Crockford, "Base 32"; SLIP-0039 for what goes wrong on paper.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import blake3

from jbackupd.model.errors import ShareError

LINE_BYTES = 20
LINE_CHECK_BYTES = 2
LINES_MAX = 99
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})
_HYPHENS = str.maketrans(dict.fromkeys("-‐‑‒–—―−ーｰ", ""))
"""What the hyphen key gives under Japanese input methods: hyphens, dashes, minus, the long vowel mark."""


def lines_of(data: bytes) -> list[str]:
    """Return bytes as lines to print, plain ASCII.

    Args:
        data: At most LINES_MAX * LINE_BYTES bytes.
    """
    lines = []
    for number, begin in enumerate(range(0, len(data), LINE_BYTES), 1):
        part = data[begin : begin + LINE_BYTES]
        letters = _letters(part)
        groups = "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))
        lines.append(f"{number:02d} {groups} {_letters(_check(number, part))}")
    return lines


def bytes_of(text: str, source: str) -> bytes:
    """Return what numbered lines hold, each line checked; empty if there is none.

    Args:
        text: May hold other lines too.
        source: What messages call the text, for example a file's name.

    Raises:
        ShareError: A line is mistyped, missing or in the wrong place; the message names source and line.
    """
    parts: list[bytes] = []
    for number, letters, check in _numbered(text):
        expected = len(parts) + 1
        part = _bytes_of_letters(letters)
        given = _bytes_of_letters(check)
        if part is None or given != _check(number, part):
            only_number = part is not None and given == _check(expected, part)
            raise ShareError(
                "line {line} of {share} is mistyped", "compare the line with the printed sheet",
                line=expected if only_number else number, share=source,
            )
        if number != expected:
            raise ShareError(
                "line {line} of {share} is missing or in the wrong place", "type every line in order",
                line=expected, share=source,
            )
        parts.append(part)
    return b"".join(parts)


def text_of(data: bytes) -> str:
    """Return a typed file as text, whatever the editor saved it in: UTF-8, UTF-16 with its mark, else cp932."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp932", "replace")


def _numbered(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, letters and check of every line that has them."""
    for line in unicodedata.normalize("NFKC", text).splitlines():
        words = line.upper().translate(_HYPHENS).split()
        if len(words) >= 3 and len(words[0]) <= 2 and words[0].isascii() and words[0].isdigit():
            yield int(words[0]), "".join(words[1:-1]), words[-1]


def _check(number: int, part: bytes) -> bytes:
    return blake3.blake3(bytes((number,)) + part).digest(LINE_CHECK_BYTES)


def _letters(data: bytes) -> str:
    """Return base32 letters, the last one filled with zero bits."""
    count = -(-len(data) * 8 // 5)
    value = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range((count - 1) * 5, -1, -5))


def _bytes_of_letters(letters: str) -> bytes | None:
    """Return the bytes of base32 letters; None where it is not what `_letters` makes."""
    if len(letters) > LINE_BYTES * 2:
        return None
    value = 0
    for letter in letters.translate(_MISREAD):
        digit = _ALPHABET.find(letter)
        if digit < 0:
            return None
        value = value << 5 | digit
    size = len(letters) * 5 // 8
    spare = len(letters) * 5 - size * 8
    if spare >= 5 or value & ((1 << spare) - 1):
        return None
    return (value >> spare).to_bytes(size, "big")
