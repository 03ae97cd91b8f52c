"""The records of an intake journal, before they are sealed: JSON objects in UTF-8. See docs/format/intake.md.

    begin     at, version, tenant, desk, label
    receive   at, number, account, nonce, kind, as_of, persons, fields
    correct   at, number, account, nonce, first, reason, persons, fields
    cancel    at, number, account, nonce, first, reason

A number is YEAR-LABEL-PREFIX-SERIAL, as in 2026-伊万里-死亡-0001. The year is that of the reception in Japan; serials
count from 1 for each year and prefix, without a gap. A correction holds all persons and fields anew.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import msgspec

from jbackupd.format.intakekinds import PREFIXES, SPECS, About, FieldType, FormField, Kind
from jbackupd.model.errors import FormatError

PERSONS_MAX = 30
NAME_CHARACTERS_MAX = 100
NUMBER_CHARACTERS_MAX = 20
LABEL_CHARACTERS_MAX = 12
REASON_CHARACTERS_MAX = 200
COUNT_MAX = 9999
_NUMBER = re.compile(rf"(\d{{4}})-([^\s-]{{1,{LABEL_CHARACTERS_MAX}}})-({'|'.join(PREFIXES)})-(\d{{4,7}})", re.ASCII)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody whom a reception is about, as the clerk saw or typed it.

    Attributes:
        number: 宛名番号; empty where it is not known.
        birth: A day as 1993-01-01, or what the register had instead.
    """

    name: str
    number: str = ""
    kana: str = ""
    birth: str = ""


class Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="begin"):
    """Whose journal it is: the first record, and only the first."""

    at: datetime
    tenant: str
    desk: str
    label: str
    version: Literal[1] = 1


class Reception(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="receive"):
    """Something was received.

    Attributes:
        account: Who took it in.
        nonce: Of the form; one form is one reception, however often it is sent.
        as_of: The moment that the register showed which the clerk saw (基準日時).
        persons: The first is the one whom it is mainly about.
    """

    at: datetime
    number: str
    account: str
    nonce: str
    kind: Kind
    as_of: datetime
    persons: tuple[Person, ...]
    fields: dict[str, str]


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="correct"):
    """What a reception says from now on, and why.

    Attributes:
        first: Number of the reception.
    """

    at: datetime
    number: str
    account: str
    nonce: str
    first: str
    reason: str
    persons: tuple[Person, ...]
    fields: dict[str, str]


class Cancellation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="cancel"):
    """A reception no longer holds."""

    at: datetime
    number: str
    account: str
    nonce: str
    first: str
    reason: str


Entry = Reception | Correction | Cancellation
Record = Begin | Entry
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, taken apart."""

    year: int
    label: str
    prefix: str
    serial: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.label}-{self.prefix}-{self.serial:04d}"

    @classmethod
    def parse(cls, text: str) -> Number | None:
        """Read a number as a journal holds it; None if it is none."""
        match = _NUMBER.fullmatch(text)
        number = cls(int(match[1]), match[2], match[3], int(match[4])) if match else None
        return number if number is not None and str(number) == text and number.serial else None


def encode_record(record: Record) -> bytes:
    """Return a record's plaintext."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> Record:
    """Read a record's plaintext.

    Raises:
        FormatError: It is not one that this program writes.
    """
    try:
        record = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed() from error
    if not _is_sound(record):
        raise _malformed()
    return record


def is_nonce(text: str) -> bool:
    """Tell whether a text may be a form's nonce."""
    return _NONCE.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Tell whether a text may name a desk in its numbers: 1 to 12 letters or digits of any script."""
    return 0 < len(text) <= LABEL_CHARACTERS_MAX and all(char.isalnum() for char in text)


def is_plain(text: str, length_max: int, *, lines: bool = False) -> bool:
    """Tell whether a text may stand in a journal: no control characters; private ones (外字) are fine."""
    allowed = "\n" if lines else ""
    return len(text) <= length_max and all(
        char in allowed or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in text
    )


def is_value(field: FormField, text: str) -> bool:
    """Tell whether a text is what a journal keeps for a field that was filled in."""
    match field.type:
        case FieldType.DAY:
            return _is_day(text)
        case FieldType.TIME:
            return _TIME.fullmatch(text) is not None
        case FieldType.COUNT:
            return text.isascii() and text.isdigit() and str(int(text[:9])) == text and int(text) <= COUNT_MAX
        case FieldType.CHOICE:
            return field.choice(text) is not None
        case _:
            return bool(text) and is_plain(text, field.length_max, lines=field.type is FieldType.TEXT)


def are_values(kind: Kind, fields: Mapping[str, str]) -> bool:
    """Tell whether fields may stand in a journal for a kind: all that are required, none that is unknown."""
    spec = SPECS[kind]
    known = {field.name: field for field in spec.fields}
    return all(name in known and is_value(known[name], text) for name, text in fields.items()) and all(
        field.name in fields for field in spec.fields if field.required
    )


def are_persons(kind: Kind, persons: tuple[Person, ...]) -> bool:
    """Tell whether persons may stand in a journal for a kind."""
    numbers = [person.number for person in persons if person.number]
    if not 1 <= len(persons) <= PERSONS_MAX or len(set(numbers)) != len(numbers):
        return False
    if SPECS[kind].about is About.REGISTERED and len(numbers) != len(persons):
        return False
    return all(map(_is_person, persons))


def _is_person(person: Person) -> bool:
    texts = (person.name, person.kana, person.birth)
    return bool(person.name) and all(is_plain(text, NAME_CHARACTERS_MAX) for text in texts) and is_plain(
        person.number, NUMBER_CHARACTERS_MAX
    )


def _is_sound(record: Record) -> bool:
    if record.at.tzinfo is None or not 2000 <= record.at.year < 9999:
        return False
    if isinstance(record, Begin):
        return is_label(record.label)
    if Number.parse(record.number) is None or not is_nonce(record.nonce):
        return False
    if isinstance(record, Reception):
        return (
            record.as_of.tzinfo is not None and are_values(record.kind, record.fields)
            and are_persons(record.kind, record.persons)
        )
    # What a correction says is checked where its first reception is known.
    return Number.parse(record.first) is not None and 0 < len(record.reason) <= REASON_CHARACTERS_MAX and is_plain(
        record.reason, REASON_CHARACTERS_MAX
    )


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _malformed() -> FormatError:
    return FormatError(
        "an intake journal holds a malformed record", "it may be of a newer version; keep the file as it is"
    )
