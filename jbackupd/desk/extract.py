"""Loading a resident extract: CSV, allowed columns only, into a new desk database.

Everything is checked while it flows; the database gets its name only when the last line was right.
"""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import BinaryIO

from jbackupd.desk.database import Facts, Row, build_database
from jbackupd.desk.fields import ColumnMap, ExtractEncoding, Field, is_personal_number, personal_number_refused
from jbackupd.desk.folding import fold_address, fold_kana, fold_name, fold_number, given_part
from jbackupd.desk.restrictions import Restrictions, is_flagged
from jbackupd.model.errors import FormatError, InvariantError, UsageError
from jbackupd.model.texts import to_translate
from jbackupd.model.wareki import parse_day

LINE_BYTES_MAX = 1 << 20
"""A resident has a few hundred bytes; a longer line is not a resident, and memory stays bounded."""
_UNUSABLE = to_translate("the extract is not usable as it is; nothing was loaded")
_NO_HEADER = to_translate(
    "make the extract with a header line, or correct the column map and the encoding; nothing was loaded"
)
_BATCH_ROWS = 2000
_PROOF_VALUES = 2000
"""Values of a column after which it is known not to be 個人番号: chance gives one in nine the right digit."""
_PROOF_VALUES_MIN = 3
_STATES = {
    "住民": "1", "現存": "1", "転出": "2", "死亡": "3", "消除": "9", "01": "1", "02": "2", "03": "3", "09": "9",
}


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded.

    Attributes:
        rows: Residents.
        restricted: Residents whose own flag is set.
        restrictions_trusted: False if all addresses are masked, because flags are missing or too old.
        unclear_births: Dates of birth that are no dates (不詳); shown as delivered, not searchable.
        ignored: Columns that were left out.
        seconds: How long it took.
    """

    rows: int
    restricted: int
    restrictions_trusted: bool
    unclear_births: int
    ignored: tuple[str, ...]
    as_of: datetime
    seconds: float


def load_extract(
    source: BinaryIO, *, mapping: ColumnMap, database: str, as_of: datetime, loaded_from: str,
    restrictions_as_of: datetime | None = None, restrictions: Restrictions | None = None,
) -> LoadReport:
    """Build a desk database from a resident extract; blocking, in bounded memory.

    Args:
        source: CSV with a header line, in the encoding that the map declares.
        mapping: Which column fills which field.
        database: Path of the new database; an older one is replaced at the very end.
        as_of: The moment that the data shows, aware.
        loaded_from: Where it came from, for people.
        restrictions_as_of: The moment that the flags of 支援措置 show, if it is another one than the data's.
        restrictions: A table of its own of who is under 支援措置. Its moment counts then; a flag of either holds.

    Raises:
        RefusedError: A column holds 個人番号, or is neither mapped nor ignored.
        ConfigError: The map does not fit the extract.
        FormatError: There is no header line or no resident, a line is not in the declared encoding, or has
            too few or too many columns.
        DamageError: Two residents have the same number.
        NoSpaceError, StorageError: The database could not be written.
    """
    if as_of.tzinfo is None or (restrictions_as_of is not None and restrictions_as_of.tzinfo is None):
        raise InvariantError("moments of an extract are aware")
    begun = time.perf_counter()
    lines = _Lines(source, mapping.encoding)
    reader = csv.reader(lines, strict=True)
    headers = _next_row(reader, lines) or []
    lines.headers = headers
    _check_header_line(headers, mapping)
    layout = _Layout(headers, mapping.resolve(headers), restrictions)
    has_flags = Field.RESTRICTED in layout.positions
    flags_as_of = (restrictions_as_of or as_of) if has_flags else None
    if restrictions is not None:
        flags_as_of = restrictions.as_of

    def facts() -> Facts:
        # A table that knows nobody of these residents is another municipality's, or has other numbers.
        foreign = restrictions is not None and not (restrictions.numbers is not None and layout.listed)
        return Facts(as_of, loaded_from, flags_as_of, rows=0, restrictions_unreadable=foreign)

    count = build_database(database, layout.rows(_residents(reader, lines, len(headers))), facts)
    return LoadReport(
        count, layout.restricted, facts().restrictions_trusted, layout.unclear_births,
        tuple(header for header in headers if header in mapping.ignore), as_of, time.perf_counter() - begun,
    )


class _Lines:
    """The extract's lines, decoded strictly; remembers where it is."""

    def __init__(self, source: BinaryIO, encoding: ExtractEncoding) -> None:
        self._source = source
        self._encoding = encoding
        self.number = 0
        self.headers: Sequence[str] = ()

    def __iter__(self) -> Iterator[str]:
        while line := self._source.readline(LINE_BYTES_MAX):
            self.number += 1
            if len(line) == LINE_BYTES_MAX:
                raise FormatError("line {line} of the extract is too long", _UNUSABLE, line=self.number)
            if self.number == 1 and self._encoding == "utf-8":
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield self._decode(line)

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            # Commas and quotes cannot be the second byte of a character in either encoding.
            before = next(csv.reader([line[: error.start].decode(self._encoding)]), [""])
            index = max(len(before) - 1, 0)
            column = self.headers[index] if index < len(self.headers) else str(index + 1)
            raise FormatError(
                "line {line}, column {column!r} of the extract is not {encoding}: byte {byte}",
                "declare the encoding that the extract really has; nothing was loaded",
                line=self.number, column=column, encoding=self._encoding, byte=f"0x{line[error.start]:02x}",
            ) from error


def _next_row(reader: Iterator[list[str]], lines: _Lines) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise FormatError(
            "line {line} of the extract is not CSV: {reason}", _UNUSABLE, line=lines.number, reason=str(error)
        ) from error


def _check_header_line(headers: Sequence[str], mapping: ColumnMap) -> None:
    """Refuse a file whose first line names none of the map's columns.

    Such a line is a resident: an error about its single columns would write a person's data into journals and logs.
    """
    if not any(header.strip() for header in headers):
        raise FormatError("the extract is empty, or its first line is", _NO_HEADER)
    if not any(header in mapping.columns for header in headers):
        raise FormatError(
            "the first line of the extract is no header line: none of the {count} mapped columns is in it", _NO_HEADER,
            count=len(mapping.columns),
        )


def _residents(reader: Iterator[list[str]], lines: _Lines, width: int) -> Iterator[list[str]]:
    """Yield the rows, of which there must be one: a desk that finds nobody is worse than a step that failed."""
    rows = _checked_rows(reader, lines, width)
    first = next(rows, None)
    if first is None:
        raise FormatError("the extract has a header line and no resident", _UNUSABLE)
    yield first
    yield from rows


def _checked_rows(reader: Iterator[list[str]], lines: _Lines, width: int) -> Iterator[list[str]]:
    while (row := _next_row(reader, lines)) is not None:
        if len(row) == width:
            yield row
        elif row:
            raise FormatError(
                "line {line} of the extract has {found} columns, the header has {wanted}", _UNUSABLE,
                line=lines.number, found=len(row), wanted=width,
            )


class _Layout:
    """Turns the extract's rows into the database's, and counts on the way."""

    def __init__(
        self, headers: Sequence[str], positions: dict[Field, int], restrictions: Restrictions | None
    ) -> None:
        self.positions = positions
        self._restricted = (restrictions.numbers if restrictions else None) or frozenset()
        self._take = itemgetter(*(positions.get(field, -1) for field in Field))
        self._headers = headers
        self._watch = {index: [0, 0] for index in range(len(headers))}
        self.restricted = 0
        self.listed = 0
        self.unclear_births = 0

    def rows(self, rows: Iterator[list[str]]) -> Iterator[Row]:
        """Yield database rows.

        Raises:
            RefusedError: A column turns out to hold 個人番号.
        """
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            self._watch_numbers(batch)
            yield from map(self._row, batch)
        self._judge(_PROOF_VALUES_MIN)

    def _watch_numbers(self, batch: list[list[str]]) -> None:
        for index, counts in self._watch.items():
            values = [value for row in batch if (value := row[index])]
            counts[0] += len(values)
            counts[1] += sum(map(is_personal_number, values))
        self._judge(_PROOF_VALUES)

    def _judge(self, values_min: int) -> None:
        for index, (seen, valid) in list(self._watch.items()):
            if seen >= values_min:
                if 2 * valid > seen:
                    raise personal_number_refused(self._headers[index])
                del self._watch[index]

    def _row(self, row: list[str]) -> Row:
        row.append("")  # what fields without a column hold
        (
            number, household, name, kana, birth, sex, state, address, town, lot, building, relation, position,
            domicile, head, ward, shelter, support, flag,
        ) = self._take(row)
        birth_key, number_key = _birth_key(birth), fold_number(number)
        name_key, kana_key = fold_name(name), fold_kana(kana)
        listed = number_key in self._restricted
        restricted = is_flagged(flag) or listed
        self.listed += listed
        self.restricted += restricted
        self.unclear_births += bool(birth.strip()) and not birth_key
        return (
            number, number_key, household, fold_number(household) if household else "",
            name, name_key, len(name_key) - len(_fold_given_name(given_part(name))),
            kana, kana_key, len(kana_key) - len(_fold_given_kana(given_part(kana))),
            " ".join((_fold_place(address), fold_address(town + lot), _fold_place(building))),
            birth, birth_key, sex, _STATES.get(state.strip(), state.strip()), address, town, lot, building, relation,
            int(position) if position.isascii() and position.isdigit() else None, domicile, head,
            ward.strip(), shelter.strip(), is_flagged(support), restricted,
        )


# Given names and places repeat, family names in front of given names do not.
_fold_given_name = lru_cache(maxsize=1 << 15)(fold_name)
_fold_given_kana = lru_cache(maxsize=1 << 15)(fold_kana)
_fold_place = lru_cache(maxsize=1 << 12)(fold_address)


@lru_cache(maxsize=1 << 15)
def _birth_key(text: str) -> str:
    try:
        return parse_day(text).isoformat() if text else ""
    except UsageError:
        return ""
