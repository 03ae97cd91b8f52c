"""A town to lose: 30,000 residents as a cp932 extract, an office tree, and what changes in a day.

The same seed gives the same town, byte for byte; nobody in it is real. Names, streets and numbers
are drawn from lists of frequent ones.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from jbackupd.demo.names import (
    BUILDING_NAMES,
    BUILDINGS,
    DOMICILES,
    FAMILY_NAMES,
    FEMALE_NAMES,
    MALE_NAMES,
    TOWNS,
    seeded,
)
from jbackupd.demo.office import advance_office, make_office
from jbackupd.model.wareki import era_digits

RESIDENTS = 30_000
EXTRACT = "juki/住民抽出.csv"
"""The resident extract, below the town's folder."""
OFFICE = "office"
"""The office tree, below the town's folder."""
ENCODING = "cp932"
COLUMNS = {
    "宛名番号": "宛名番号", "世帯番号": "世帯番号", "氏名": "氏名", "フリガナ": "フリガナ", "生年月日": "生年月日",
    "性別": "性別", "住民状態": "住民状態", "町字名": "町字", "番地号": "番地号", "方書": "方書", "続柄": "続柄",
    "記載順位": "記載順位", "本籍": "本籍", "筆頭者": "筆頭者", "支援措置": "支援措置",
}
"""Columns of the extract and the desk's fields that they fill."""
IGNORE = ("異動年月日", "異動事由")
"""Columns of the extract that the desk does not need."""
FIRST_DAY = date(2026, 11, 22)
"""The day that a new town shows; `advance_day` n leads to the nth day after it."""
CHANGED_PART = 0.01
_HEADER = (*COLUMNS, *IGNORE)
_AT = {name: index for index, name in enumerate(_HEADER)}
_SIZES = (1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5)
# cp932 has no 濵 and names beyond it; such a character comes as 外字, a private code point of the vendor.
_GAIJI = {"濵": "\ue000"}
Row = list[str]


@dataclass(frozen=True, slots=True)
class Town:
    """What was made.

    Attributes:
        extract: Path of the resident extract.
        office: Path of the office tree.
    """

    folder: str
    extract: str
    office: str
    residents: int
    office_files: int


@dataclass(frozen=True, slots=True)
class DayReport:
    """What changed in a day, and one resident who moved within the town: look this one up.

    Attributes:
        changed: Residents whose row changed, new ones included.
        address: The new address in one line.
        query: What to type at the desk: reading and birth date.
    """

    day: date
    changed: int
    moved: int
    died: int
    left: int
    arrived: int
    office_files: int
    number: str
    name: str
    kana: str
    birth: date
    old_address: str
    address: str
    query: str


def make_town(folder: str, *, seed: int = 1, residents: int = RESIDENTS) -> Town:
    """Write a new town into an empty or missing folder."""
    random = seeded(f"town {seed}")
    rows: list[Row] = []
    number, household = 20_000_000, 10_000_000
    while len(rows) < residents:
        household += random.randint(1, 4)
        for row in _household(random, str(household), residents - len(rows)):
            number += random.randint(1, 9)
            row[_AT["宛名番号"]] = str(number)
            rows.append(row)
    _write(folder, rows)
    office = os.path.join(folder, OFFICE)
    return Town(folder, os.path.join(folder, EXTRACT), office, len(rows), make_office(office, seed))


def advance_day(folder: str, *, seed: int = 1, day: int = 1) -> DayReport:
    """Change a town as a day does: one resident in a hundred, and some office files."""
    random = seeded(f"town {seed} day {day}")
    today = FIRST_DAY + timedelta(days=day)
    rows = _read(folder)
    wanted = max(4, round(len(rows) * CHANGED_PART))
    households = _living(rows)
    moved, shown, old_address = _move(random, rows, households, wanted * 4 // 10, today)
    died = _leave(random, households, wanted * 2 // 10, today, "3", "死亡")
    left = _leave(random, households, wanted * 2 // 10, today, "2", "転出")
    arrived = _arrive(random, rows, wanted - moved - died - left, today)
    _write(folder, rows)
    birth = date.fromisoformat(shown[_AT["生年月日"]])
    kana = shown[_AT["フリガナ"]]
    return DayReport(
        today, moved + died + left + arrived, moved, died, left, arrived,
        advance_office(os.path.join(folder, OFFICE), seed, day),
        shown[_AT["宛名番号"]], shown[_AT["氏名"]], kana, birth, old_address, _address(shown),
        f"{kana} {era_digits(birth)}",
    )


def _household(random: Random, household: str, room: int) -> Iterator[Row]:
    """Yield the rows of one household, without their numbers."""
    size = min(random.choice(_SIZES), room)
    family = random.choice(FAMILY_NAMES)
    address = _draw_address(random)
    domicile = f"{random.choice(DOMICILES)}{random.choice(TOWNS)}{random.randint(1, 3000)}番地"
    restricted = "1" if random.random() < 0.003 else "0"
    head_male = random.random() < 0.7
    head_age = random.randint(26, 92) if size < 4 else random.randint(30, 62)
    head_name = ""
    for position in range(1, size + 1):
        male, age, relation = _member(random, position, head_male, head_age)
        given = random.choice(MALE_NAMES if male else FEMALE_NAMES)
        name = f"{family[0]}　{given[0]}"
        head_name = head_name or name
        yield [
            "", household, _in_cp932(name), f"{family[1]}　{given[1]}", _birth(random, age), "1" if male else "2",
            _state(random, age), *address, relation, str(position), domicile, _in_cp932(head_name), restricted, "", "",
        ]


def _member(random: Random, position: int, head_male: bool, head_age: int) -> tuple[bool, int, str]:
    """Return sex, age and relation of a household's nth member."""
    if position == 1:
        return head_male, head_age, "世帯主"
    if position == 2:
        return not head_male, max(20, head_age + random.randint(-6, 6)), "妻" if head_male else "夫"
    male = random.random() < 0.5
    if position == 5:
        return male, min(104, head_age + random.randint(22, 34)), "父" if male else "母"
    return male, max(0, head_age - random.randint(24, 40)), "子"


def _birth(random: Random, age: int) -> str:
    return (FIRST_DAY - timedelta(days=age * 365 + random.randint(1, 364))).isoformat()


def _state(random: Random, age: int) -> str:
    chance = random.random()
    if chance < 0.002 * max(0, age - 60):
        return "3"
    return "2" if chance > 0.95 else "9" if chance > 0.948 else "1"


def _draw_address(random: Random) -> tuple[str, str, str]:
    lot = f"{random.randint(1, 6)}丁目{random.randint(1, 40)}番{random.randint(1, 30)}号"
    building = ""
    if random.random() < 0.3:
        name = random.choice(BUILDINGS) + random.choice(BUILDING_NAMES)
        building = f"{name}{random.randint(1, 5)}{random.randint(1, 12):02d}号室"
    return random.choice(TOWNS), lot, building


def _living(rows: list[Row]) -> list[list[Row]]:
    """Return the members at home of every household that has some and is under no restriction."""
    households: dict[str, list[Row]] = {}
    for row in rows:
        if row[_AT["住民状態"]] == "1" and row[_AT["支援措置"]] == "0":
            households.setdefault(row[_AT["世帯番号"]], []).append(row)
    return list(households.values())


def _move(
    random: Random, rows: list[Row], households: list[list[Row]], wanted: int, today: date,
) -> tuple[int, Row, str]:
    """Move whole households within the town; return how many persons, and one of them with the old address."""
    moved = 0
    shown, old_address = rows[0], ""
    while moved < max(1, wanted):
        members = households.pop(random.randrange(len(households)))
        before = _address(members[0])
        address = _draw_address(random)
        for row in members:
            row[_AT["町字名"] : _AT["方書"] + 1] = address
            _note(row, today, "転居")
        if not moved:
            shown, old_address = members[0], before
        moved += len(members)
    return moved, shown, old_address


def _leave(
    random: Random, households: list[list[Row]], wanted: int, today: date, state: str, reason: str,
) -> int:
    for _person in range(wanted):
        row = households.pop(random.randrange(len(households)))[0]
        row[_AT["住民状態"]] = state
        _note(row, today, reason)
    return wanted


def _arrive(random: Random, rows: list[Row], wanted: int, today: date) -> int:
    number = int(rows[-1][_AT["宛名番号"]])
    household = int(rows[-1][_AT["世帯番号"]])
    count = 0
    while count < wanted:
        household += random.randint(1, 4)
        for row in _household(random, str(household), wanted - count):
            number += random.randint(1, 9)
            row[_AT["宛名番号"]], row[_AT["住民状態"]] = str(number), "1"
            _note(row, today, "転入")
            rows.append(row)
            count += 1
    return count


def _note(row: Row, today: date, reason: str) -> None:
    row[_AT["異動年月日"]], row[_AT["異動事由"]] = today.isoformat(), reason


def _address(row: Row) -> str:
    return "".join(row[_AT["町字名"] : _AT["方書"] + 1])


def _in_cp932(text: str) -> str:
    """Return a text that cp932 can hold: what it lacks as 外字."""
    return "".join(_GAIJI.get(char, char) for char in text)


def _write(folder: str, rows: list[Row]) -> None:
    path = os.path.join(folder, EXTRACT)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding=ENCODING, newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(_HEADER)
        writer.writerows(rows)


def _read(folder: str) -> list[Row]:
    with open(os.path.join(folder, EXTRACT), encoding=ENCODING, newline="") as file:
        return list(csv.reader(file))[1:]
