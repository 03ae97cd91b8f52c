"""A database file that is changed page by page: SQLite, copied while nobody writes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from random import Random

from benchmarks.folders import day_folder
from benchmarks.makers.days import age
from benchmarks.makers.dump import COLUMNS, Register

BYTES_PER_RESIDENT = 620
"""What a resident takes with the indexes."""
INSERTED_PART = 0.002


def make_pages(folder: str, megabytes: int, days: int) -> None:
    """Write dayN/town.db: 1 % of the rows updated, 0.2 % inserted, 0.1 % deleted a day."""
    random = Random(6)
    register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT)
    path = os.path.join(folder, "town.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("pragma journal_mode = off; pragma synchronous = off; pragma page_size = 4096;")
        for table, columns in COLUMNS.items():
            database.execute(f"create table {table} ({columns.replace('_id', '_id integer', 1)} , "
                             f"primary key ({table}_id))")
            _insert(database, table, [line.rstrip("\n").split("\t") for line in register.rows(table)])
        for table in ("tax", "history"):
            database.execute(f"create index {table}_resident on {table} (resident_id)")
        for day in range(days + 1):
            if day:
                _advance(database, register, random, day)
            os.makedirs(day_folder(folder, day))
            shutil.copyfile(path, os.path.join(day_folder(folder, day), "town.db"))
            age(day_folder(folder, day), day)
    os.unlink(path)


def _advance(database: sqlite3.Connection, register: Register, random: Random, day: int) -> None:
    database.execute("begin")
    for table, columns in COLUMNS.items():
        last = database.execute(f"select max({table}_id) from {table}").fetchone()[0]
        column = columns.split(", ")[-2 if table == "household" else -1]
        for number in random.sample(range(1, last + 1), last // 100):
            database.execute(f"update {table} set {column} = ? where {table}_id = ?",
                             (f"2026-04-{day:02d} {random.getrandbits(32):08x}", number))
        gone = [(number,) for number in random.sample(range(1, last + 1), last // 1000)]
        database.executemany(f"delete from {table} where {table}_id = ?", gone)
        _insert(database, table, [line.rstrip("\n").split("\t") for line in register.more(table, INSERTED_PART)])
    database.execute("commit")


def _insert(database: sqlite3.Connection, table: str, rows: list[list[str]]) -> None:
    if rows:
        database.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)
