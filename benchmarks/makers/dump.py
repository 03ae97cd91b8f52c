"""A municipal database: four tables in COPY format, what a day does to them, and a dump written without a server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from random import Random

from benchmarks.makers.heap import Heap
from jbackupd.demo.names import FAMILY_NAMES, FEMALE_NAMES, MALE_NAMES, TOWNS

COLUMNS = {
    "history": "history_id, resident_id, at, event, terminal, staff, detail, digest",
    "household": "household_id, head_id, address, since, status",
    "resident": "resident_id, household_id, name, kana, birth, sex, number, zip, address, since, reason, tel, changed",
    "tax": "tax_id, resident_id, fiscal_year, kind, base_amount, tax_amount, term, due, paid, status, slip",
}
_ROWS_PER_RESIDENT = {"history": 1.0, "household": 0.45, "resident": 1.0, "tax": 1.5}
BYTES_PER_RESIDENT = 450
_EVENTS = (
    "転入", "転出", "出生", "死亡", "転居", "婚姻", "離婚", "世帯変更", "職権修正", "住民票記載", "通知送付", "異動届",
)
_TAXES = ("市民税", "固定資産税", "軽自動車税", "国民健康保険税", "都市計画税")


class Register:
    """The tables of a municipality with so many residents."""

    def __init__(self, residents: int) -> None:
        self._random = Random(1)
        self._residents = residents
        self._last = {table: int(residents * _ROWS_PER_RESIDENT[table]) for table in COLUMNS}
        self._heaps = {table: Heap(self._new(table, 1, self._last[table])) for table in COLUMNS}

    def advance(self, day: int) -> None:
        """Let the nth day pass."""
        for table, heap in self._heaps.items():
            heap.advance(self._random, partial(self._update, table, day), partial(self._insert, table))

    def write(self, path: str) -> None:
        """Dump all tables."""
        with open(path, "w", encoding="utf-8") as file:
            file.write("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n")
            for table, heap in self._heaps.items():
                file.write(f"\nCOPY public.{table} ({COLUMNS[table]}) FROM stdin;\n")
                file.writelines(heap)
                file.write("\\.\n\n")
            file.write("--\n-- PostgreSQL database dump complete\n--\n")

    def rows(self, table: str) -> Iterator[str]:
        """Yield a table's rows as lines of COPY."""
        return iter(self._heaps[table])

    def more(self, table: str, part: float) -> Iterator[str]:
        """Make new rows, so many for each that the table began with; they are not in the table here."""
        return iter(self._insert(table, round(self._residents * _ROWS_PER_RESIDENT[table] * part)))

    def _update(self, table: str, day: int, rows: list[str]) -> list[str]:
        return [_updated(self._random, table, row, day) for row in rows]

    def _insert(self, table: str, count: int) -> list[str]:
        first = self._last[table] + 1
        self._last[table] += count
        return self._new(table, first, count)

    def _new(self, table: str, first: int, count: int) -> list[str]:
        of = [self._random.randint(1, self._residents) for _ in range(count)]
        rows = zip(range(first, first + count), of, *_VALUES[table](self._random, count), strict=True)
        return ["\t".join(map(str, row)) + "\n" for row in rows]


# The columns of each table after its first two numbers, value by value: drawn by the column, which is fast.


def _history(random: Random, count: int) -> list[list[str]]:
    moves = zip(_addresses(random, count), _addresses(random, count), strict=True)
    return [
        _moments(random, count),
        random.choices(_EVENTS, k=count),
        [f"端末{number}" for number in _digits(random, count, 2)],
        [f"職員{number}" for number in _digits(random, count, 3)],
        [f"住所:{old}→{new}" if random.random() < 0.4 else "備考なし" for old, new in moves],
        [f"{random.getrandbits(128):032x}" for _ in range(count)],
    ]


def _household(random: Random, count: int) -> list[list[str]]:
    return [_addresses(random, count), _dates(random, count, 1990, 2025), random.choices("01", k=count)]


def _resident(random: Random, count: int) -> list[list[str]]:
    families = random.choices(FAMILY_NAMES, k=count)
    givens = random.choices(MALE_NAMES + FEMALE_NAMES, k=count)
    names = list(zip(families, givens, strict=True))
    return [
        [f"{family[0]}　{given[0]}" for family, given in names],
        [f"{family[1]} {given[1]}" for family, given in names],
        _dates(random, count, 1925, 2024),
        random.choices("12", k=count),
        _digits(random, count, 12),
        [f"3{zip_[:2]}-{zip_[2:]}" for zip_ in _digits(random, count, 6)],
        _addresses(random, count),
        _dates(random, count, 1990, 2025),
        random.choices(_EVENTS[:6], k=count),
        [f"09{it[:1]}-{it[1:5]}-{it[5:]}" if it < "2" else "\\N" for it in _digits(random, count, 9)],
        _moments(random, count),
    ]


def _tax(random: Random, count: int) -> list[list[str]]:
    bases = [random.randint(10, 900) * 10_000 for _ in range(count)]
    return [
        random.choices([str(year) for year in range(2021, 2026)], k=count),
        random.choices(_TAXES, k=count),
        list(map(str, bases)),
        [str(base // 100 * random.choice((6, 2, 10))) for base in bases],
        random.choices("1234", k=count),
        _dates(random, count, 2024, 2026),
        _dates(random, count, 2024, 2026),
        random.choices("01239", k=count),
        [f"{random.getrandbits(32):08X}" for _ in range(count)],
    ]


_VALUES = {"history": _history, "household": _household, "resident": _resident, "tax": _tax}


def _digits(random: Random, count: int, width: int) -> list[str]:
    return [f"{random.randrange(10**width):0{width}d}" for _ in range(count)]


def _addresses(random: Random, count: int) -> list[str]:
    towns = random.choices(TOWNS, k=count)
    return [f"{town}{bits % 6 + 1}丁目{bits // 6 % 40 + 1}番{bits // 240 % 30 + 1}号" for town, bits in zip(
        towns, [random.getrandbits(20) for _ in towns], strict=True)]


def _dates(random: Random, count: int, first: int, last: int) -> list[str]:
    days = [f"{year:04d}-{month:02d}-{day:02d}" for year in range(first, last + 1) for month in range(1, 13)
            for day in range(1, 29)]
    return random.choices(days, k=count)


def _moments(random: Random, count: int) -> list[str]:
    dates = _dates(random, count, 2025, 2025)
    return [f"{day} {8 + bits % 10:02d}:{bits // 10 % 60:02d}:{bits // 600 % 60:02d}.{bits // 36000 % 10**6:06d}+09"
            for day, bits in zip(dates, [random.getrandbits(40) for _ in dates], strict=True)]


def _updated(random: Random, table: str, row: str, day: int) -> str:
    """Return a row's new version: one or two columns change."""
    fields = row.rstrip("\n").split("\t")
    match table:
        case "history":
            fields[6] += " 訂正済"
            fields[7] = f"{random.getrandbits(128):032x}"
        case "household":
            fields[2], fields[3] = _addresses(random, 1)[0], f"2026-04-{day:02d}"
        case "resident":
            fields[8] = _addresses(random, 1)[0]
            fields[12] = f"2026-04-{day:02d} {_moments(random, 1)[0].split()[1]}"
        case _:
            fields[8], fields[9] = f"2026-04-{day:02d}", "9"
    return "\t".join(fields) + "\n"
