"""Lists of the failback queue as CSV in the main system's encoding; what it cannot encode is marked and named. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jbackupd.continuity.encodable import MainEncoding, encodable
from jbackupd.continuity.failback import EVENT_WORDS, STATE_WORDS, ItemState, Task
from jbackupd.continuity.intake import Item
from jbackupd.format.intakekinds import SPECS, FieldType, FormField
from jbackupd.model.wareki import JST

_BEFORE = (
    "状態", "受付番号", "種別", "受付日時", "窓口", "受付者", "基準日時", "行",
    "宛名番号", "氏名", "フリガナ", "生年月日",
)
_AFTER = ("訂正回数", "訂正・取消の理由", "他の受付", "入力者・確認者", "差戻し等の理由")
REPLACED_HEADINGS = ("行", "列", "受付番号", "元の文字", "符号位置", "置換後")


@dataclass(frozen=True, slots=True)
class Replaced:
    """A character that the encoding does not have.

    Attributes:
        line: Of the CSV file, the headings are line 1.
        stands: What stands there instead.
    """

    line: int
    column: str
    number: str
    characters: str
    stands: str

    def cells(self) -> tuple[str, ...]:
        """Return a row of the side list."""
        points = " ".join(f"U+{ord(char):04X}" for char in self.characters)
        return str(self.line), self.column, self.number, self.characters, points, self.stands


@dataclass(frozen=True, slots=True)
class Listed:
    """A list for the main system.

    Attributes:
        data: The CSV file's bytes.
        replaced: What is not in it as it was taken in.
    """

    data: bytes
    rows: int
    replaced: tuple[Replaced, ...]


def task_list(tasks: Sequence[Task], encoding: MainEncoding) -> Listed:
    """Return the items of the queue as CSV, one line for each person of each item."""
    return _list([
        (task.item, STATE_WORDS[task.state], _people(task), task.twins, task.last.reason if task.last else "")
        for task in tasks
    ], encoding)


def item_list(items: Sequence[Item], encoding: MainEncoding) -> Listed:
    """Return receptions that are no items of the queue (安否) as CSV."""
    cancelled = STATE_WORDS[ItemState.WITHDRAWN]
    return _list([(item, cancelled if item.cancelled else "", "", (), "") for item in items], encoding)


_Row = tuple[Item, str, str, Sequence[str], str]


def _list(rows: Sequence[_Row], encoding: MainEncoding) -> Listed:
    kinds = {item.first.kind for item, *_ in rows}
    fields = _columns([field for kind, spec in SPECS.items() if kind in kinds for field in spec.fields])
    headings = (*_BEFORE, *fields, *_AFTER)
    lines = [headings]
    for row in rows:
        lines += _lines(row, fields)
    replaced: list[Replaced] = []
    kept = [
        tuple(_encodable(cell, encoding, replaced, number, heading, line[1]) for heading, cell in
              zip(headings, line, strict=True))
        for number, line in enumerate(lines, start=1)
    ]
    return Listed(_csv(kept).encode(encoding), len(lines) - 1, tuple(replaced))


def replaced_list(replaced: Iterable[Replaced]) -> bytes:
    """Return the side list, in UTF-8 with a mark at its beginning, so that spreadsheets read it."""
    return _csv([REPLACED_HEADINGS, *(one.cells() for one in replaced)]).encode("utf-8-sig")


def _columns(fields: Iterable[FormField]) -> dict[str, None]:
    """Return the headings of the fields in their order; 備考 stands once, at the end."""
    words = {field.word: None for field in fields}
    if "備考" in words:
        del words["備考"]
        words["備考"] = None
    return words


def _lines(row: _Row, fields: Iterable[str]) -> list[tuple[str, ...]]:
    item, state, who, twins, reason = row
    said = {
        field.word: _shown(field, item.fields[field.name]) for field in item.spec.fields if field.name in item.fields
    }
    first = item.first
    times = [f"{moment.astimezone(JST):%Y-%m-%d %H:%M:%S}" for moment in (first.at, first.as_of)]
    changes = " / ".join(f"{later.number}: {later.reason}" for later in item.later)
    after = (str(item.revision), changes, " ".join(twins), who, reason)
    return [
        (state, item.number, item.spec.word, times[0], item.desk, first.account, times[1], str(count), person.number,
         person.name, person.kana, person.birth, *(said.get(word, "") for word in fields), *after)
        for count, person in enumerate(item.persons, start=1)
    ]


def _shown(field: FormField, value: str) -> str:
    choice = field.choice(value) if field.type is FieldType.CHOICE else None
    return choice.word if choice else value


def _people(task: Task) -> str:
    return " / ".join(f"{EVENT_WORDS[note.do]}: {note.by}" for note in task.notes[-2:])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _encodable(
    cell: str, encoding: MainEncoding, replaced: list[Replaced], line: int, column: str, number: str
) -> str:
    """Return a cell that can be encoded, and note what was replaced in it."""
    stands, missing = encodable(cell, encoding)
    replaced += [Replaced(line, column, number, *one) for one in missing]
    return stands
