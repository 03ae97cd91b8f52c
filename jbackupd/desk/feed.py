"""Residents as a file for another system, of a desk's data: the same allow-list, the same masking. Blocking.

The receiving system gets what a clerk would see, never more: 個人番号 cannot be in it, addresses of people under
support measures are left out, and where nobody knows who they are no address is written at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jbackupd.continuity.encodable import MainEncoding, encodable
from jbackupd.desk.fields import Field, is_personal_number_header, personal_number_refused
from jbackupd.desk.masking import Mask, Shown, show
from jbackupd.desk.residents import Resident, Residents
from jbackupd.model.errors import ConfigError, RefusedError

RESIDENT_STATE = "1"
_ADDRESSES = (Field.ADDRESS, Field.TOWN, Field.LOT, Field.BUILDING, Field.WARD, Field.SHELTER)
_FLAGGED = {True: "1", False: "0"}
REPLACED_HEADINGS = ("行", "列", "宛名番号", "元の文字", "符号位置", "置換後")


@dataclass(frozen=True, slots=True)
class Fed:
    """A file of residents.

    Attributes:
        data: The CSV file's bytes, lines ended by CR LF.
        masked: Residents without address, because of support measures or because nobody knows of whom.
        replaced: The side list of characters that the encoding lacks, as CSV in UTF-8; None if there are none.
        replaced_count: How many.
    """

    data: bytes
    rows: int
    masked: int
    replaced: bytes | None
    replaced_count: int


def feed_columns(columns: Mapping[str, str] | None) -> dict[str, Field]:
    """Return the columns of a feed: header to field, in order; all fields under their own names without any.

    Raises:
        ConfigError: There is no such field.
        RefusedError: A column would hold 個人番号.
    """
    if columns is None:
        return {field.value: field for field in Field}
    found: dict[str, Field] = {}
    for header, name in columns.items():
        if is_personal_number_header(header) or is_personal_number_header(name):
            raise personal_number_refused(header)
        try:
            found[header] = Field(name)
        except ValueError:
            raise ConfigError(
                "the desk holds no field {field!r}", "allowed fields: {allowed}", field=name,
                allowed=", ".join(field.value for field in Field),
            ) from None
    return found


def feed_of(
    residents: Residents, columns: Mapping[str, Field], encoding: MainEncoding, *, current_only: bool,
    refuse_unknown: bool,
) -> Fed:
    """Return a desk's residents as a file.

    Args:
        columns: Of `feed_columns`.
        current_only: Leave out who has moved away, died or was deleted.
        refuse_unknown: Make no file where nobody knows who is under support measures.

    Raises:
        RefusedError: Nobody knows, and such a file is not wanted.
    """
    facts = residents.facts
    if refuse_unknown and not facts.restrictions_trusted:
        raise RefusedError(
            "no file is made: nobody knows who is under support measures (支援措置)",
            "see that their table is in the point and not older than the residents",
        )
    text, side = io.StringIO(), io.StringIO()
    lines, replaced = csv.writer(text, lineterminator="\r\n"), csv.writer(side, lineterminator="\r\n")
    lines.writerow([encodable(header, encoding)[0] for header in columns])
    rows = masked = missing = 0
    for shown in _shown(residents, current_only=current_only):
        rows += 1
        masked += shown.mask is not Mask.NONE
        cells = []
        for header, field in columns.items():
            cell, lost = encodable(_cell(shown, field), encoding)
            cells.append(cell)
            for characters, stands in lost:
                missing += 1
                points = " ".join(f"U+{ord(char):04X}" for char in characters)
                replaced.writerow([rows + 1, header, shown.resident.number, characters, points, stands])
        lines.writerow(cells)
    head = io.StringIO()
    csv.writer(head, lineterminator="\r\n").writerow(REPLACED_HEADINGS)
    listed = (head.getvalue() + side.getvalue()).encode("utf-8-sig") if missing else None
    return Fed(text.getvalue().encode(encoding), rows, masked, listed, missing)


def _shown(residents: Residents, *, current_only: bool) -> Iterator[Shown]:
    statement = "select id from resident where state = ? or not ? order by number_key"
    ids = [int(row[0]) for row in residents.rows(statement, (RESIDENT_STATE, current_only))]
    for at in range(0, len(ids), 500):
        for resident in residents.people(ids[at : at + 500]):
            yield show(resident, residents.facts)


def _cell(shown: Shown, field: Field) -> str:
    resident = shown.resident
    if shown.mask is not Mask.NONE and (field in _ADDRESSES or field is Field.DOMICILE):
        return ""
    if field is Field.RESTRICTED:
        # Unknown is not "no": the receiving system must treat such a person as protected.
        return "" if shown.mask is Mask.UNKNOWN else _FLAGGED[resident.restricted]
    if field is Field.SUPPORT:
        return _FLAGGED[resident.support]
    value = _value(resident, field)
    return "" if value is None else str(value)


def _value(resident: Resident, field: Field) -> object:
    names: Sequence[str] = (
        "number", "household", "name", "kana", "birth", "sex", "state", "address", "town", "lot", "building",
        "relation", "position", "domicile", "head", "ward", "shelter", "support", "restricted",
    )
    return getattr(resident, names[list(Field).index(field)])
