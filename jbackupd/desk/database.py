"""The desk's data: one SQLite file, built in one go, then only read (residents.py).

The file is made anew for every load: it has no journal, and gets its name when it is complete and synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from jbackupd.desk.textindex import write_index
from jbackupd.model.errors import DamageError, NoSpaceError, StorageError

DATABASE_VERSION = 2
_SCHEMA = """
create table resident (
  id integer primary key,
  number text not null, number_key text not null, household text not null, household_key text not null,
  name text not null, name_key text not null, name_given_at integer not null,
  kana text not null, kana_key text not null, kana_given_at integer not null, address_key text not null,
  birth text not null, birth_key text not null, sex text not null, state text not null,
  address text not null, town text not null, lot text not null, building text not null,
  relation text not null, position integer, domicile text not null, head text not null,
  ward text not null, shelter text not null, support integer not null, restricted integer not null
);
create table meta (name text primary key, value text not null);
create table search (name text primary key, value blob not null);
"""
_INDEXES = """
create unique index resident_number on resident (number);
create index resident_number_key on resident (number_key);
create index resident_household on resident (household_key);
create index resident_birth on resident (birth_key);
"""
COLUMNS = (
    "number", "number_key", "household", "household_key", "name", "name_key", "name_given_at", "kana", "kana_key",
    "kana_given_at", "address_key", "birth", "birth_key", "sex", "state", "address", "town", "lot", "building",
    "relation", "position", "domicile", "head", "ward", "shelter", "support", "restricted",
)
_INSERT = f"insert into resident ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
Row = tuple[object, ...]


class Distrust(Enum):
    """Why flags of support measures cannot be relied upon."""

    NONE = ""
    MISSING = "missing"
    UNREADABLE = "unreadable"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database says of itself.

    Attributes:
        as_of: The moment that the data shows (基準日時), aware.
        loaded_from: Where it came from, for people: a point's name.
        restrictions_as_of: The moment that the restriction flags show; None if there are none.
        restrictions_unreadable: Their table is there and cannot be used.
    """

    as_of: datetime
    loaded_from: str
    restrictions_as_of: datetime | None
    rows: int
    restrictions_unreadable: bool = False

    @property
    def distrust(self) -> Distrust:
        """Why the flags cannot be relied upon: then nobody's address is shown."""
        if self.restrictions_unreadable:
            return Distrust.UNREADABLE
        if self.restrictions_as_of is None:
            return Distrust.MISSING
        return Distrust.OLDER if self.restrictions_as_of < self.as_of else Distrust.NONE

    @property
    def restrictions_trusted(self) -> bool:
        """Whether the flags are there, could be read, and are not older than the data."""
        return self.distrust is Distrust.NONE


def build_database(path: str, rows: Iterable[Row], facts: Callable[[], Facts]) -> int:
    """Write a whole database under a temporary name and put it in place durably; return the number of rows.

    Args:
        path: Final name; an existing file is replaced only when everything has been written.
        rows: In the order of COLUMNS; consumed in batches.
        facts: Asked when all rows have been consumed; `rows` of it is ignored.

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


def _fill(connection: sqlite3.Connection, rows: Iterable[Row], facts: Callable[[], Facts]) -> int:
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
    # No search by address, however it is made, may meet them.
    connection.execute("update resident set address_key = '' where restricted")
    count = int(connection.execute("select count(*) from resident").fetchone()[0])
    said = facts()
    restrictions = said.restrictions_as_of.isoformat() if said.restrictions_as_of else ""
    connection.executemany("insert into meta values (?, ?)", [
        ("version", str(DATABASE_VERSION)), ("as_of", said.as_of.isoformat()), ("loaded_from", said.loaded_from),
        ("restrictions_as_of", restrictions), ("rows", str(count)),
        ("restrictions_unreadable", "1" if said.restrictions_unreadable else ""),
    ])
    write_index(connection, addresses=said.restrictions_trusted)
    connection.execute("analyze")
    return count


def is_current(path: str) -> bool:
    """Tell whether a database is there that this version can read; one of another version is made anew."""
    if not os.path.exists(path):
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{uri_path(path)}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute("select value from meta where name = 'version'").fetchall()
    except sqlite3.Error:
        return False
    return rows == [(str(DATABASE_VERSION),)]


def uri_path(path: str) -> str:
    """Return a path as SQLite's addresses want it."""
    return os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


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
