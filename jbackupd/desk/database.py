"""The desk's data: one SQLite file, built in one go, then only read (residents.py).

The file is made anew for every load: it has no journal, and gets its name when it is complete and synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from jbackupd.model.errors import DamageError, NoSpaceError, StorageError

DATABASE_VERSION = 1
_SCHEMA = """
create table resident (
  id integer primary key,
  number text not null, number_key text not null, household text not null, household_key text not null,
  name text not null, name_key text not null, given_key text not null,
  kana text not null, kana_key text not null, kana_given_key text not null,
  birth text not null, birth_key text not null, sex text not null, state text not null,
  address text not null, town text not null, lot text not null, building text not null,
  relation text not null, position integer, domicile text not null, head text not null,
  restricted integer not null
);
create table meta (name text primary key, value text not null);
"""
_INDEXES = """
create unique index resident_number on resident (number);
create index resident_number_key on resident (number_key);
create index resident_household on resident (household_key);
create index resident_birth on resident (birth_key);
create index resident_name on resident (name_key);
create index resident_given on resident (given_key);
create index resident_kana on resident (kana_key);
create index resident_kana_given on resident (kana_given_key);
"""
COLUMNS = (
    "number", "number_key", "household", "household_key", "name", "name_key", "given_key", "kana", "kana_key",
    "kana_given_key", "birth", "birth_key", "sex", "state", "address", "town", "lot", "building", "relation",
    "position", "domicile", "head", "restricted",
)
_INSERT = f"insert into resident ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database says of itself.

    Attributes:
        as_of: The moment that the data shows (基準日時), aware.
        loaded_from: Where it came from, for people: a point's name.
        restrictions_as_of: The moment that the restriction flags show; None if the extract has none.
    """

    as_of: datetime
    loaded_from: str
    restrictions_as_of: datetime | None
    rows: int

    @property
    def restrictions_trusted(self) -> bool:
        """Whether the flags are there and not older than the data."""
        return self.restrictions_as_of is not None and self.restrictions_as_of >= self.as_of


def build_database(path: str, rows: Iterable[Row], facts: Facts) -> int:
    """Write a whole database under a temporary name and put it in place durably; return the number of rows.

    Args:
        path: Final name; an existing file is replaced only when everything has been written.
        rows: In the order of COLUMNS; consumed in batches.
        facts: `rows` of it is ignored.

    Raises:
        NoSpaceError, StorageError: It could not be written; the old file is untouched.
        DamageError: Two rows have the same number.
    """
    partial = f"{path}.partial"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            count = _fill(connection, rows, facts)
        _put_in_place(partial, path)
    except (OSError, sqlite3.Error) as error:
        raise _write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
    return count


def _fill(connection: sqlite3.Connection, rows: Iterable[Row], facts: Facts) -> int:
    # The file is synced as a whole before it gets its name, so no journal is needed to build it.
    connection.executescript("pragma journal_mode = off; pragma synchronous = off; pragma temp_store = memory;")
    connection.executescript(_SCHEMA)
    connection.execute("begin")
    connection.executemany(_INSERT, rows)
    connection.execute("commit")
    connection.executescript(_INDEXES)
    # Whoever lives with a restricted person shares the address that must not be told.
    connection.execute(
        "update resident set restricted = 1 where household_key <> '' and household_key in "
        "(select household_key from resident where restricted)"
    )
    count = int(connection.execute("select count(*) from resident").fetchone()[0])
    restrictions = facts.restrictions_as_of.isoformat() if facts.restrictions_as_of else ""
    connection.executemany("insert into meta values (?, ?)", [
        ("version", str(DATABASE_VERSION)), ("as_of", facts.as_of.isoformat()), ("loaded_from", facts.loaded_from),
        ("restrictions_as_of", restrictions), ("rows", str(count)),
    ])
    connection.execute("analyze")
    return count


def _put_in_place(partial: str, path: str) -> None:
    _sync(partial, os.O_RDONLY)
    os.rename(partial, path)
    _sync(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)


def _sync(name: str, flags: int) -> None:
    descriptor = os.open(name, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: str, error: OSError | sqlite3.Error) -> Exception:
    if isinstance(error, sqlite3.IntegrityError):
        return DamageError(
            "unable to build {path}: two residents have the same 宛名番号",
            "the extract is not usable as it is: check how it was made", path=path,
        )
    if getattr(error, "errno", None) == errno.ENOSPC or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return NoSpaceError("unable to build {path}: the disk is full", "free space and load again", path=path)
    return StorageError("unable to build {path}: {reason}", "check the disk", path=path, reason=str(error))
