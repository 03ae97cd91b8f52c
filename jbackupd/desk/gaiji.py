"""Characters that a screen may lack (外字, variation sequences): shown from the operator's font, else with their code.

What was delivered stands in the page unchanged, so that a clerk's own font shows it too and a copy keeps it; marks are
drawn by the style sheet. Source for the layout of `cmap`: OpenType specification 1.9, formats 4, 12 and 14.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from markupsafe import Markup, escape

from jbackupd.model.errors import ConfigError

FONT_PATH = "/static/gaiji-font"
STYLE_PATH = "/static/gaiji.css"
STYLE = (
    f'@font-face {{ font-family: "desk-gaiji"; src: url("{FONT_PATH}"); }}\n'
    '.gaiji { font-family: "desk-gaiji", sans-serif; }\n'
)
FONT_BYTES_MAX = 64 << 20
"""The whole 文字情報基盤 (60,000 characters) has 25 MB."""
_CHARACTERS_MAX = 200_000
_SUBTABLES_MAX = 64
_KINDS = {b"\0\1\0\0": "font/ttf", b"true": "font/ttf", b"OTTO": "font/otf"}
_PRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_MARKED = re.compile(f"[{_PRIVATE}]|.[{_SELECTORS}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Font:
    """A font file and what it has shapes for.

    Attributes:
        characters: Code points; those of a table beyond a limit are not counted.
        variations: Pairs of a code point and a variation selector.
    """

    data: bytes
    media_type: str
    characters: frozenset[int]
    variations: frozenset[tuple[int, int]]

    def shows(self, text: str) -> bool:
        """Tell whether it has a shape for one character, with or without a selector."""
        codes = tuple(map(ord, text))
        return codes in self.variations if len(codes) == 2 else codes[0] in self.characters


def load_font(path: str) -> Font:
    """Read a TrueType or OpenType font.

    Raises:
        ConfigError: It cannot be read, or is no such font.
    """
    try:
        with open(path, "rb") as file:
            return parse_font(file.read(FONT_BYTES_MAX + 1))
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise ConfigError(
            "unable to use the font {path}",
            "give a TrueType or OpenType font (.ttf, .otf), not a collection or a web font", path=path,
        ) from error


def parse_font(data: bytes) -> Font:
    """Return a font with what it has shapes for.

    Raises:
        ValueError, IndexError, struct.error: It is none.
    """
    kind = _KINDS.get(data[:4])
    if kind is None or len(data) > FONT_BYTES_MAX:
        raise ValueError("no font")
    (tables,) = struct.unpack_from(">H", data, 4)
    places = {data[at : at + 4]: struct.unpack_from(">II", data, at + 8) for at in range(12, 12 + 16 * tables, 16)}
    begin, length = places.get(b"cmap", (0, 0))
    cmap = data[begin : begin + length]
    (count,) = struct.unpack_from(">H", cmap, 2)
    if count > _SUBTABLES_MAX:
        raise ValueError("too many subtables")
    characters: set[int] = set()
    variations: set[tuple[int, int]] = set()
    for number in range(count):
        (offset,) = struct.unpack_from(">I", cmap, 8 + 8 * number)
        (form,) = struct.unpack_from(">H", cmap, offset)
        table = cmap[offset:]
        # A damaged count may name billions: each subtable is read only so far.
        if form == 14:
            variations.update(islice(_variations(table), _CHARACTERS_MAX))
        elif form in (4, 12):
            characters.update(islice(_segments(table) if form == 4 else _groups(table), _CHARACTERS_MAX))
    return Font(data, kind, frozenset(characters), frozenset(variations))


def _segments(table: bytes) -> Iterator[int]:
    """Yield the code points of a format 4 table that lead to a shape."""
    count = struct.unpack_from(">H", table, 6)[0] // 2
    ends, begins, deltas, ranges = (
        struct.unpack_from(f">{count}H", table, 14 + 2 * count * part + (2 if part else 0)) for part in range(4)
    )
    for index, (begin, end, delta, offset) in enumerate(zip(begins, ends, deltas, ranges, strict=True)):
        for code in range(begin, min(end, 0xFFFE) + 1):
            if not offset:
                glyph = (code + delta) & 0xFFFF
            else:
                (glyph,) = struct.unpack_from(">H", table, 16 + 6 * count + 2 * index + offset + 2 * (code - begin))
            if glyph:
                yield code


def _groups(table: bytes) -> Iterator[int]:
    (count,) = struct.unpack_from(">I", table, 12)
    for number in range(count):
        begin, end, _glyph = struct.unpack_from(">III", table, 16 + 12 * number)
        yield from range(begin, min(end, 0x10FFFF) + 1)


def _variations(table: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sequences of a format 14 table, those that look as without a selector among them."""
    (count,) = struct.unpack_from(">I", table, 6)
    for number in range(count):
        at = 10 + 11 * number
        selector = int.from_bytes(table[at : at + 3])
        default, other = struct.unpack_from(">II", table, at + 3)
        if default:
            (ranges,) = struct.unpack_from(">I", table, default)
            for place in range(default + 4, default + 4 + 4 * ranges, 4):
                first = int.from_bytes(table[place : place + 3])
                yield from ((code, selector) for code in range(first, first + table[place + 3] + 1))
        if other:
            (mappings,) = struct.unpack_from(">I", table, other)
            for place in range(other + 4, other + 4 + 5 * mappings, 5):
                yield int.from_bytes(table[place : place + 3]), selector


def mark_gaiji(text: str, font: Font | None = None) -> Markup:
    """Return a text in which 外字 and variation sequences are marked; without a shape, with their code."""
    if text.isascii() or _MARKED.search(text) is None:
        return escape(text)
    pieces, done = [], 0
    for match in _MARKED.finditer(text):
        code = " ".join(f"U+{ord(char):04X}" for char in match[0])
        known = "gaiji" if font and font.shows(match[0]) else "gaiji coded"
        pieces += [
            escape(text[done : match.start()]),
            Markup('<span class="{}" title="外字 {}" data-code="{}">{}</span>').format(known, code, code, match[0]),
        ]
        done = match.end()
    return Markup("").join([*pieces, escape(text[done:])])
