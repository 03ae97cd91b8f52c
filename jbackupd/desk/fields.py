"""What the desk may hold of a resident: the allow-list, and the map from an extract's columns to it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from jbackupd.model.errors import ConfigError, RefusedError

ExtractEncoding = Literal["cp932", "utf-8"]
ENCODINGS: tuple[ExtractEncoding, ...] = ("cp932", "utf-8")


class Field(Enum):
    """Everything the desk may hold. 個人番号 is not here, and nothing else may be added by configuration."""

    NUMBER = "宛名番号"
    HOUSEHOLD = "世帯番号"
    NAME = "氏名"
    KANA = "フリガナ"
    BIRTH = "生年月日"
    SEX = "性別"
    STATE = "住民状態"
    ADDRESS = "住所"
    TOWN = "町字"
    LOT = "番地号"
    BUILDING = "方書"
    RELATION = "続柄"
    POSITION = "記載順位"
    DOMICILE = "本籍"
    HEAD = "筆頭者"
    WARD = "行政区"
    SHELTER = "避難所"
    SUPPORT = "避難行動要支援者"
    RESTRICTED = "支援措置"


REQUIRED = (Field.NUMBER, Field.NAME)
PERSONAL_NUMBER_HEADERS = ("個人番号", "マイナンバー", "mynumber", "individualnumber")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column of an extract fills which field.

    Attributes:
        columns: CSV header to field.
        ignore: Headers that are known and left out.
        encoding: The extract's declared encoding.
    """

    columns: Mapping[str, Field]
    ignore: frozenset[str] = frozenset()
    encoding: ExtractEncoding = "cp932"

    @classmethod
    def parse(
        cls, columns: Mapping[str, str], *, ignore: Iterable[str] = (), encoding: str = "cp932",
    ) -> ColumnMap:
        """Read a map as an operator writes it: {"CSV header": "field"}.

        Raises:
            ConfigError: A field is unknown, filled twice or missing, or the encoding is unknown.
        """
        if encoding not in ENCODINGS:
            raise ConfigError(
                "unknown encoding {encoding!r} of a resident extract", "write cp932 or utf-8", encoding=encoding
            )
        found = {header: _field(name) for header, name in columns.items()}
        for field in Field:
            headers = [header for header, filled in found.items() if filled is field]
            if len(headers) > 1 or (field in REQUIRED and not headers):
                raise ConfigError(
                    "the field {field} of the resident extract has {count} columns, it must have one",
                    "correct the column map", field=field.value, count=len(headers),
                )
        return cls(found, frozenset(ignore), encoding)

    def resolve(self, headers: Sequence[str]) -> dict[Field, int]:
        """Return the position of each field's column in an extract with these headers.

        Raises:
            RefusedError: A column holds 個人番号 by its name, or is neither mapped nor ignored.
            ConfigError: A mapped column is missing or there twice.
        """
        for header in headers:
            if is_personal_number_header(header):
                raise personal_number_refused(header)
        unknown = [header for header in headers if header not in self.columns and header not in self.ignore]
        if unknown:
            raise RefusedError(
                "the extract's column {column!r} is not in the column map",
                "map it to an allowed field, or list it under `ignore` if the desk does not need it",
                column=unknown[0],
            )
        for header in self.columns:
            if headers.count(header) != 1:
                raise ConfigError(
                    "the extract has {count} columns {column!r}, the column map asks for one",
                    "the extract has these columns: {columns}",
                    count=headers.count(header), column=header, columns=", ".join(headers),
                )
        return {field: headers.index(header) for header, field in self.columns.items()}


def _field(name: str) -> Field:
    try:
        return Field(name)
    except ValueError:
        if is_personal_number_header(name):
            raise personal_number_refused(name) from None
        known = [field.value for field in Field]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise ConfigError(
            "the desk holds no field {field!r}", "allowed fields: {allowed}",
            field=name, allowed=", ".join(near or known),
        ) from None


def is_personal_number_header(header: str) -> bool:
    """Tell whether a column's name says that it holds 個人番号 (マイナンバー)."""
    plain = "".join(
        char for char in unicodedata.normalize("NFKC", header).casefold() if char not in " _-・.　"
    )
    return any(word in plain for word in PERSONAL_NUMBER_HEADERS)


def is_personal_number(value: str) -> bool:
    """Tell whether a value is 12 digits whose last is the right check digit.

    Source: the ministerial ordinance of 2014 on the check digit: 11 - (sum of P_n Q_n mod 11), 0 for 10 and 11.
    """
    if len(value) == 14:
        # As printed on cards: four, four and four digits.
        value = value.replace("-", "").replace(" ", "")
    if len(value) != 12 or not (value.isascii() and value.isdigit()):
        return False
    total = sum(
        int(digit) * (n + 1 if n <= 6 else n - 5) for n, digit in enumerate(reversed(value[:-1]), start=1)
    )
    rest = total % 11
    return int(value[-1]) == (0 if rest <= 1 else 11 - rest)


def personal_number_refused(column: str) -> RefusedError:
    """Return the error for an extract that brings 個人番号 along."""
    return RefusedError(
        "the extract's column {column!r} holds personal numbers (個人番号); the desk never takes them",
        "make the extract without this column; nothing was loaded",
        column=column,
    )
