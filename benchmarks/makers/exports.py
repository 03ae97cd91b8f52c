"""Exports of an old system: CSV in cp932, fourteen tables in a fixed order of rows."""

from __future__ import annotations

import os
from random import Random

from benchmarks.folders import day_folder
from benchmarks.makers.days import age
from jbackupd.demo.names import FAMILY_NAMES, FEMALE_NAMES, MALE_NAMES, TOWNS

TABLES, BYTES_PER_ROW = 14, 105
_ERAS = ("昭和", "平成", "令和")


def make_exports(folder: str, megabytes: int, days: int) -> None:
    """Write dayN/csv/tableNN.csv: 1 % of the rows changed, 0.2 % inserted, 0.1 % deleted a day."""
    random = Random(7)
    rows = megabytes * 10**6 // BYTES_PER_ROW
    # A few large tables and many small ones, as in life.
    parts = [2.0 ** -(number / 2) for number in range(TABLES)]
    tables = [
        [_row(random, number) for number in range(1, max(20, round(rows * part / sum(parts))) + 1)] for part in parts
    ]
    for day in range(days + 1):
        os.makedirs(os.path.join(day_folder(folder, day), "csv"))
        for number, table in enumerate(tables):
            if day:
                _advance(table, random)
            path = os.path.join(day_folder(folder, day), "csv", f"table{number:02d}.csv")
            with open(path, "w", encoding="cp932", newline="") as file:
                file.write("宛名番号,氏名,カナ,住所,生年月日,性別,世帯番号,異動日,残高,摘要\r\n")
                file.writelines(table)
        age(day_folder(folder, day), day)


def _advance(table: list[str], random: Random) -> None:
    for place in random.sample(range(len(table)), max(1, len(table) // 100)):
        table[place] = _changed(random, table[place])
    for _ in range(max(1, len(table) // 500)):
        table.insert(random.randrange(len(table)), _row(random, random.randrange(10**8, 10**9)))
    for place in sorted(random.sample(range(len(table)), len(table) // 1000), reverse=True):
        del table[place]


def _row(random: Random, number: int) -> str:
    family, given = random.choice(FAMILY_NAMES), random.choice(MALE_NAMES + FEMALE_NAMES)
    # cp932 has no 濵: a vendor writes a private character, here simply another one.
    name = f"{family[0]}　{given[0]}".replace("濵", "浜")
    return (
        f"{number:010d},{name},{family[1]} {given[1]},{random.choice(TOWNS)}{random.randrange(1, 3000)}番地"
        f"{random.randrange(1, 40)},{random.choice(_ERAS)}{random.randrange(1, 60)}年{random.randrange(1, 13)}月"
        f"{random.randrange(1, 29)}日,{random.choice('男女')},{random.randrange(10**7):07d},{_day(random)},"
        f"{random.randrange(10**6)},{'' if random.random() < 0.8 else random.choice(('転入', '転居', '職権修正'))}\r\n"
    )


def _changed(random: Random, row: str) -> str:
    """Return a row with another date and balance, and sometimes another address."""
    fields = row.split(",")
    fields[7], fields[8] = _day(random), str(random.randrange(10**6))
    if random.random() < 0.2:
        fields[3] = f"{random.choice(TOWNS)}{random.randrange(1, 3000)}番地{random.randrange(1, 40)}"
    return ",".join(fields)


def _day(random: Random) -> str:
    return f"2026/{random.randrange(1, 13):02d}/{random.randrange(1, 29):02d}"
