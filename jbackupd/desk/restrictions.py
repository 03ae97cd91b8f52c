"""Who is under support measures (支援措置), from a table of its own: 宛名番号 and a flag, as of a moment of its own.

Municipalities keep these apart from the register, and change them more often. A table that cannot be used does not stop
the desk: it makes it show no address at all, which is what an officer would do with a list that he cannot read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from jbackupd.desk.fields import ExtractEncoding
from jbackupd.desk.folding import fold_number
from jbackupd.model.errors import FormatError, JbackupdError

UNRESTRICTED = frozenset({"", "0", "00", "無", "なし", "無し", "非該当", "対象外", "false", "no"})
TABLE_BYTES_MAX = 64 << 20
"""A million lines; a longer file is no such table."""


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a table says.

    Attributes:
        numbers: Folded 宛名番号 of those under support measures; None if it could not be read.
        as_of: The moment that it shows, aware.
        problem: Why it could not be read.
    """

    numbers: frozenset[str] | None
    as_of: datetime
    problem: JbackupdError | None = None


def is_flagged(value: str) -> bool:
    """Tell whether a flag's value means yes: whatever does not clearly mean no."""
    return value.strip().lower() not in UNRESTRICTED


def read_restrictions(
    source: BinaryIO, *, number: str, flag: str | None, encoding: ExtractEncoding, as_of: datetime
) -> Restrictions:
    """Read a table; one that cannot be read says so in what is returned.

    Args:
        source: CSV with a header line.
        number: The column of 宛名番号.
        flag: The column of the flag; None if everybody in the table is under support measures.
        as_of: The moment that it shows, aware.
    """
    try:
        text = source.read(TABLE_BYTES_MAX + 1)
        if len(text) > TABLE_BYTES_MAX:
            raise FormatError("the table of support measures is too long", "give a table of numbers and flags")
        rows = csv.DictReader(io.StringIO(text.decode(encoding).removeprefix("\ufeff"), newline=""), strict=True)
        return Restrictions(frozenset(_numbers(rows, number, flag)), as_of)
    except (OSError, ValueError, csv.Error) as error:
        problem = FormatError(
            "unable to read the table of support measures: {reason}", "give the right file and encoding",
            reason=type(error).__name__,
        )
        return Restrictions(None, as_of, problem)
    except FormatError as error:
        return Restrictions(None, as_of, error)


def _numbers(rows: csv.DictReader[str], number: str, flag: str | None) -> Iterator[str]:
    for name in (number, *((flag,) if flag else ())):
        if name not in (rows.fieldnames or ()):
            raise FormatError(
                "the table of support measures has no column {column!r}", "give its columns as they are", column=name
            )
    for row in rows:
        yield from _flagged(row, number, flag)


def _flagged(row: Mapping[str | None, str | list[str] | None], number: str, flag: str | None) -> Iterator[str]:
    value, said = row[number], row[flag] if flag else "1"
    # A line that is too short or too long may lack or shift the flag: nobody knows whose.
    if None in row or not isinstance(value, str) or not isinstance(said, str) or not value.strip():
        raise FormatError("a line of the table of support measures is not whole", "give a whole table")
    if is_flagged(said):
        yield fold_number(value)
