"""Who is under support measures (支援措置), from a table of its own: 宛名番号 and a flag, as of a moment of its own.

Municipalities keep these apart from the register, and change them more often. A table that cannot be used does not stop
the desk: it makes it show no address at all, which is what an officer would do with a list that he cannot read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from jbackupd.desk.fields import ExtractEncoding, Field
from jbackupd.desk.folding import fold_number
from jbackupd.model.errors import FormatError, JbackupdError

NUMBER, FLAG = Field.NUMBER.value, Field.RESTRICTED.value
ONE_NIGHT_SECONDS = 6 * 3600
"""Files of one night's export lie closer together."""
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
    source: BinaryIO, *, encoding: ExtractEncoding, as_of: datetime
) -> Restrictions:
    """Read a table; one that cannot be read says so in what is returned.

    Args:
        source: CSV whose header line has 宛名番号 and 支援措置; other columns are not looked at.
        as_of: The moment that it shows, aware.
    """
    try:
        text = source.read(TABLE_BYTES_MAX + 1)
        if len(text) > TABLE_BYTES_MAX:
            raise FormatError("the table of support measures is too long", "give a table of numbers and flags")
        rows = csv.DictReader(io.StringIO(text.decode(encoding).removeprefix("\ufeff"), newline=""), strict=True)
        return Restrictions(frozenset(_numbers(rows)), as_of)
    except (OSError, ValueError, csv.Error) as error:
        problem = FormatError(
            "unable to read the table of support measures: {reason}", "give the right file and encoding",
            reason=type(error).__name__,
        )
        return Restrictions(None, as_of, problem)
    except FormatError as error:
        return Restrictions(None, as_of, error)


def no_table(as_of: datetime) -> Restrictions:
    """Return what a table says that is not where it should be."""
    problem = FormatError("there is no table of support measures", "give the right file")
    return Restrictions(None, as_of, problem)


def moment_of_table(as_of: datetime, *, table_written: float, extract_written: float) -> datetime:
    """Return the moment that a table in a point shows: the point's, unless it was made long before the extract.

    An export that stopped weeks ago leaves a file behind that each point takes along.

    Args:
        as_of: The point's.
        table_written: When its file was written, seconds since 1970; the same for the extract's.
    """
    if extract_written - table_written <= ONE_NIGHT_SECONDS:
        return as_of
    return min(as_of, datetime.fromtimestamp(table_written, UTC))


def _numbers(rows: csv.DictReader[str]) -> Iterator[str]:
    for name in (NUMBER, FLAG):
        if (rows.fieldnames or []).count(name) != 1:
            raise FormatError(
                "the table of support measures has no column {column!r}", "give its columns as they are", column=name
            )
    for row in rows:
        number, flag = row[NUMBER], row[FLAG]
        # A line that is too short or too long may lack or shift the flag: nobody knows whose.
        if None in row or None in row.values() or not number.strip():
            raise FormatError("a line of the table of support measures is not whole", "give a whole table")
        if is_flagged(flag):
            yield fold_number(number)
