"""Where each key of a TOML document stands, since no TOML library tells the line of a value.

The scanner reads only documents that the TOML parser has accepted, so it need not refuse anything:
it follows headers, keys, strings, arrays and inline tables, and notes the line of every key and
array element.
"""

from __future__ import annotations

import re

import tomli

from jbackupd.settings.problem import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = {
    # Three quotes first; up to two more quotes may stand directly before the closing three.
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}"),
    '"': re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    "'": re.compile(r"'[^'\n]*'"),
}
_PLAIN = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every table, key and array element.

    Args:
        text: A document that `tomli.loads` accepts.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        # The parser reads CRLF as LF too.
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._lines: dict[KeyPath, int] = {}
        self._table_arrays: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip(_BLANK):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Move over a pattern; tell whether anything is left."""
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _note(self, path: KeyPath) -> None:
        """Note a key and, where they were only implied, the tables around it."""
        line = self._here()
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _header(self) -> KeyPath:
        repeated = self._text.startswith("[[", self._at)
        self._at += 2 if repeated else 1
        *parents, last = self._keys()
        path: KeyPath = ()
        for part in parents:
            path = self._inside((*path, part))
        path = (*path, last)
        if repeated:
            self._table_arrays[path] = self._table_arrays.get(path, -1) + 1
        path = self._inside(path)
        self._note(path)
        self._at += 2 if repeated else 1
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        """Return the newest element of an array of tables, any other table as it is."""
        return (*path, self._table_arrays[path]) if path in self._table_arrays else path

    def _keys(self) -> list[str]:
        """Read a dotted key up to what follows it."""
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at] in "\"'":
                begin = self._at
                self._string()
                keys.append(str(next(iter(tomli.loads(self._text[begin : self._at] + "=0")))))
            else:
                begin = self._at
                self._skip(_BARE_KEY)
                keys.append(self._text[begin : self._at])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        path = (*table, *self._keys())
        self._note(path)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._list(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_PLAIN)

    def _string(self) -> None:
        quote = next(quote for quote in _STRINGS if self._text.startswith(quote, self._at))
        self._skip(_STRINGS[quote])

    def _list(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip(_BLANK) and self._text[self._at] != "]":
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip(_BLANK) and self._text[self._at] != "}":
            self._pair(path)
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
        self._at += 1
