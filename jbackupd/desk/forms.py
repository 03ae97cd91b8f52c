"""What a clerk typed into a form, read: values as a journal keeps them, or what is wrong beside each field. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from jbackupd.desk.fields import is_personal_number
from jbackupd.desk.folding import is_kana, to_katakana
from jbackupd.format.intake import COUNT_MAX, NAME_CHARACTERS_MAX, REASON_CHARACTERS_MAX, Person, is_plain, is_value
from jbackupd.format.intakekinds import About, FieldType, FormField, KindSpec
from jbackupd.model.errors import UsageError
from jbackupd.model.wareki import parse_day

PERSON_FIELDS = ("person_name", "person_kana", "person_birth", "person_number")
"""Names of the inputs for somebody who was not chosen from the register."""
_TIME = re.compile(r"(\d{1,2})(?:[:時](\d{1,2})分?|(\d\d))")
_TWELVE_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){11}(?!\d)", re.ASCII)


@dataclass
class Read:
    """A form, read.

    Attributes:
        values: What is right, by the field's name; fields that were left empty are not in it.
        problems: What is wrong, by the field's name.
    """

    values: dict[str, str] = field(default_factory=dict)
    problems: dict[str, UsageError] = field(default_factory=dict)

    def take(self, name: str, read: Callable[[], str]) -> None:
        """Keep a value, or why it is none."""
        try:
            value = read()
        except UsageError as error:
            self.problems[name] = error
        else:
            if value:
                self.values[name] = value


def read_fields(spec: KindSpec, typed: Mapping[str, str], today: date) -> Read:
    """Read the fields of a kind's form.

    Args:
        today: In Japan.
    """
    found = Read()
    for one in spec.fields:
        found.take(one.name, lambda one=one: read_value(one, typed.get(one.name, ""), today))  # type: ignore[misc]
    return found


def read_value(one: FormField, text: str, today: date) -> str:
    """Return a field's value as a journal keeps it; empty if nothing was typed and nothing need be.

    Raises:
        UsageError: It cannot stand there; the hint says what can.
    """
    plain = text.replace("\r\n", "\n").strip()
    if not plain:
        if one.required:
            raise _missing(one)
        return ""
    match one.type:
        case FieldType.DAY:
            return _day(plain, today if one.past else None)
        case FieldType.TIME:
            value = _time(plain)
        case FieldType.COUNT:
            value = _count(plain)
        case FieldType.CHOICE:
            value = plain
        case _:
            value = _text(plain, one.length_max, lines=one.type is FieldType.TEXT)
    if not is_value(one, value):
        raise UsageError("this is not one of the answers", "choose one")
    return value


def read_person(spec: KindSpec, typed: Mapping[str, str], today: date) -> tuple[Person | None, dict[str, UsageError]]:
    """Return the person whom a clerk typed in, and what is wrong; somebody new needs a birth date.

    Args:
        today: In Japan.
    """
    found = Read()
    name, kana, birth, number = PERSON_FIELDS
    found.take(name, lambda: _required(_text(typed.get(name, "").strip(), NAME_CHARACTERS_MAX)))
    found.take(kana, lambda: _kana(typed.get(kana, "").strip()))
    found.take(birth, lambda: _birth(typed.get(birth, "").strip(), today, required=spec.about is About.NEW))
    found.take(number, lambda: _number(typed.get(number, "")))
    if found.problems:
        return None, found.problems
    values = found.values
    return Person(values[name], values.get(number, ""), values.get(kana, ""), values.get(birth, "")), {}


def read_reason(text: str) -> str:
    """Return why an entry is corrected or cancelled.

    Raises:
        UsageError: Nothing was typed, or it cannot stand in a journal.
    """
    plain = text.strip()
    if not plain:
        raise UsageError("a reason is needed", "write in a few words what was wrong")
    return _text(plain, REASON_CHARACTERS_MAX)


def _missing(one: FormField) -> UsageError:
    if one.type is FieldType.CHOICE:
        return UsageError("nothing is chosen", "choose one")
    if one.type is FieldType.DAY:
        return UsageError("this field is needed", "write for example 4050101, H5.1.1 or 1993-01-01")
    return UsageError("this field is needed", "where nothing is known, write 不詳")


def _required(text: str) -> str:
    if not text:
        raise UsageError("this field is needed", "where nothing is known, write 不詳")
    return text


def _text(text: str, length_max: int, *, lines: bool = False) -> str:
    if len(text) > length_max:
        raise UsageError("this is {count} characters long", "at most {most} are kept", count=len(text), most=length_max)
    if not is_plain(text, length_max, lines=lines):
        raise UsageError("this holds a character that cannot be kept", "type it again")
    folded = unicodedata.normalize("NFKC", text)
    if any(is_personal_number("".join(filter(str.isdigit, run))) for run in _TWELVE_DIGITS.findall(folded)):
        raise UsageError("this looks like a personal number (個人番号)", "the desk never takes them: leave it out")
    return text


def _kana(text: str) -> str:
    if text and not is_kana(text):
        raise UsageError("a reading is written in kana", "write for example イマリ タロウ")
    return to_katakana(_text(text, NAME_CHARACTERS_MAX))


def _birth(text: str, today: date, *, required: bool) -> str:
    if not text and required:
        raise UsageError("this field is needed", "write for example 4050101, H5.1.1 or 1993-01-01")
    return _day(text, today) if text else ""


def _number(text: str) -> str:
    number = unicodedata.normalize("NFKC", text).strip()
    if number and not (number.isascii() and number.isalnum() and len(number) <= 20):
        raise UsageError("{text!r} is not a resident number", "leave it empty if it is not known", text=number[:20])
    if is_personal_number(number):
        raise UsageError("this looks like a personal number (個人番号)", "the desk never takes them: leave it out")
    return number


def _day(text: str, not_after: date | None) -> str:
    day = parse_day(text)
    if not_after is not None and day > not_after:
        raise UsageError("this day lies in the future", "today is {today}", today=not_after.isoformat())
    return day.isoformat()


def _time(text: str) -> str:
    match = _TIME.fullmatch(unicodedata.normalize("NFKC", text))
    hour, minute = (int(match[1]), int(match[2] or match[3])) if match else (24, 0)
    if hour > 23 or minute > 59:
        raise UsageError("{text!r} is not a time of day", "write for example 4:10 or 16:05", text=text[:20])
    return f"{hour:02d}:{minute:02d}"


def _count(text: str) -> str:
    digits = unicodedata.normalize("NFKC", text).removesuffix("人").removesuffix("名")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9 and int(digits) <= COUNT_MAX):
        raise UsageError("{text!r} is not a number of persons", "write for example 4", text=text[:20])
    return str(int(digits))
