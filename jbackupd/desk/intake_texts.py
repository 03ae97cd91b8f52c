"""How receptions read on pages: words of kinds, fields and answers in the page's language."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from jbackupd.desk.intake import address_of
from jbackupd.format.intakekinds import SPECS, Choice, FieldType, FormField, Kind, KindSpec
from jbackupd.model.texts import language
from jbackupd.model.wareki import JST, show_day

_SAFETY = next(field for field in SPECS[Kind.SAFETY].fields if field.name == "safety")


def word(thing: KindSpec | FormField | Choice) -> str:
    """Return what a kind, a field or an answer is called."""
    return thing.word if language() == "ja" else thing.label


def value_text(value: str, field: FormField) -> str:
    """Return a field's value for people; days in both calendars."""
    if field.type is FieldType.CHOICE:
        choice = field.choice(value)
        return word(choice) if choice else value
    return day_text(value) if field.type is FieldType.DAY else value


def day_text(text: str | date) -> str:
    """Return a day in both calendars; a text that is none as it is."""
    if isinstance(text, date):
        return show_day(text)
    try:
        return show_day(date.fromisoformat(text))
    except ValueError:
        return text


def clock_text(moment: datetime, whole: bool) -> str:
    """Return the time of a reception in Japan, with the day where several days are listed."""
    local = moment.astimezone(JST)
    return f"{local:%Y-%m-%d %H:%M}" if whole else f"{local:%H:%M}"


def safety_text(code: str) -> str:
    """Return a mark of safety; nothing where there is none."""
    return value_text(code, _SAFETY) if code else ""


INTAKE_FILTERS: dict[str, Callable[..., Any]] = {
    "word": word, "value": value_text, "day": day_text, "clock": clock_text, "entry_address": address_of,
    "safety": safety_text,
}
