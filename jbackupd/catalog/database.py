"""The catalog: where every frame and chunk of a vault is. A cache; the vault alone can rebuild it.

One SQLite connection per file, shared by threads behind a lock (SQLite before 3.51.3 can corrupt
a WAL file that two connections use). Calls block and take batches. What is in here was durable in
the vault before it was told, so a catalog that survives a crash is at most behind the vault.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import struct
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from jbackupd.catalog.sorting import Row, SortedRows
from jbackupd.format.index import IndexedPack
from jbackupd.format.pack import FrameRecord
from jbackupd.model.errors import NoSpaceError, StorageError
from jbackupd.model.ids import ChunkId, FrameId, ObjectName
from jbackupd.model.records import Encoding, Extent

SCHEMA_VERSION = 3
CACHE_KIB = 16 * 1024
"""SQLite's own 2 MiB hold the branches of a million chunks; these hold those of ten millions, and what is near."""
_BATCH = 500
_EXTENT = struct.Struct("<16sQQ")

_SCHEMA = """
CREATE TABLE packs (
  id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, length INTEGER NOT NULL, session BLOB NOT NULL,
  indexed BLOB
);
CREATE TABLE frames (
  id INTEGER PRIMARY KEY, frame BLOB NOT NULL UNIQUE, pack INTEGER NOT NULL, slot INTEGER NOT NULL,
  offset INTEGER NOT NULL, sealed_length INTEGER NOT NULL, plain_length INTEGER NOT NULL,
  encoding INTEGER NOT NULL, bases BLOB NOT NULL
);
CREATE INDEX frames_by_pack ON frames (pack);
CREATE TABLE other_frames (
  frame BLOB NOT NULL, pack INTEGER NOT NULL, slot INTEGER NOT NULL, offset INTEGER NOT NULL,
  sealed_length INTEGER NOT NULL, plain_length INTEGER NOT NULL, encoding INTEGER NOT NULL, bases BLOB NOT NULL,
  lost INTEGER NOT NULL, PRIMARY KEY (pack, slot)
) WITHOUT ROWID;
CREATE TABLE chunks (
  chunk BLOB PRIMARY KEY, frame INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions (
  id INTEGER PRIMARY KEY, dataset TEXT NOT NULL, path BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
  lineage INTEGER NOT NULL, length INTEGER NOT NULL, extents BLOB NOT NULL, anchors BLOB NOT NULL
);
CREATE INDEX versions_by_path ON versions (dataset, path);
CREATE INDEX versions_by_lineage ON versions (lineage);
CREATE TABLE hooks (hash INTEGER NOT NULL, lineage INTEGER NOT NULL, PRIMARY KEY (hash, lineage)) WITHOUT ROWID;
CREATE TABLE sketches (hash INTEGER PRIMARY KEY, frame BLOB NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL);
"""

_ADD_CHUNK = "INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?)"
_FRAME = "frame, pack, slot, offset, sealed_length, plain_length, encoding, bases"
_ADD_FRAME = f"INSERT INTO frames ({_FRAME}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
_ADD_OTHER = f"INSERT OR IGNORE INTO other_frames ({_FRAME}, lost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)"
_FRAMES_OF_PACK = f"""
SELECT frame, offset, sealed_length, plain_length, encoding, bases FROM (
  SELECT {_FRAME} FROM frames WHERE pack = :pack UNION ALL SELECT {_FRAME} FROM other_frames WHERE pack = :pack
) ORDER BY slot
"""
_LOSE = (
    f"INSERT INTO other_frames ({_FRAME}, lost) SELECT {_FRAME}, 1 FROM frames "
    "WHERE id IN (SELECT value FROM json_each(?))",
    "DELETE FROM chunks WHERE frame IN (SELECT value FROM json_each(?))",
    "DELETE FROM frames WHERE id IN (SELECT value FROM json_each(?))",
)
_NO_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


@dataclass(frozen=True, slots=True)
class FramePlace:
    """A frame's record and the pack it lies in; the record has no chunks."""

    pack: ObjectName
    session_id: bytes
    slot: int
    record: FrameRecord


def pack_extents(extents: Iterable[Extent]) -> bytes:
    """Return extents as bytes for a column."""
    return b"".join(_EXTENT.pack(e.frame, e.offset, e.length) for e in extents)


def unpack_extents(data: bytes) -> tuple[Extent, ...]:
    """Return the extents of a column."""
    return tuple(Extent(FrameId(frame), offset, length) for frame, offset, length in _EXTENT.iter_unpack(data))


class Catalog:
    """The index of one vault.

    Args:
        path: The SQLite file, or ":memory:"; a file of another schema version is emptied, one that is no
            database is made anew.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.RLock()
        with _typed(path):
            if path != ":memory:":
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            try:
                self._connection, version = _open(path)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode not in _NO_DATABASE:
                    raise
                # What stops every backup until somebody is awake is worse than reading the vault's indexes once.
                discard(path)
                self._connection, version = _open(path)
        self.is_new = version != SCHEMA_VERSION
        if self.is_new:
            self.clear()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction() as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in tables:
                connection.execute(f'DROP TABLE "{name}"')
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def add_packs(self, packs: Sequence[IndexedPack], *, indexed: ObjectName | None = None) -> None:
        """Learn of packs that are durable in the vault; harmless twice.

        Args:
            packs: Their frames, with chunks where they are known.
            indexed: The index object that lists these packs, if there is one yet.
        """
        with self.transaction() as connection:
            rows = [row for pack in packs for row in self._add_pack(connection, pack, indexed)]
            connection.executemany(_ADD_CHUNK, sorted(rows))

    def fill(self, packs: Iterable[IndexedPack]) -> None:
        """Learn of very many packs, as `add_packs`, but in little memory; all or none."""
        folder = None if self.path == ":memory:" else os.path.dirname(self.path)
        with self.transaction() as connection, contextlib.closing(SortedRows(folder)) as rows:
            for pack in packs:
                rows.add(self._add_pack(connection, pack, None))
            connection.executemany(_ADD_CHUNK, rows.rows())

    def forget_packs(self, names: Collection[ObjectName]) -> None:
        """Forget packs that are no longer in the vault, with all that was in them."""
        with self.transaction() as connection:
            for name in names:
                row = connection.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
                if row is not None:
                    connection.execute(
                        "DELETE FROM chunks WHERE frame IN (SELECT id FROM frames WHERE pack = ?)", row
                    )
                    connection.execute("DELETE FROM frames WHERE pack = ?", row)
                    connection.execute("DELETE FROM other_frames WHERE pack = ?", row)
                    connection.execute("DELETE FROM packs WHERE id = ?", row)

    def lose_frames(self, pack: ObjectName, frames: Collection[FrameId]) -> None:
        """Set frames of a pack aside that do not open, and forget their chunks: another pack may bring them again."""
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT frames.id, frame FROM frames JOIN packs ON packs.id = frames.pack WHERE name = ?", (pack,)
            ).fetchall()
            ids = json.dumps([row for row, frame in rows if frame in frames])
            for statement in _LOSE:
                connection.execute(statement, (ids,))

    def packs_with_lost_frames(self) -> set[ObjectName]:
        """Return the packs of which some frame does not open."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT name FROM packs WHERE id IN (SELECT pack FROM other_frames WHERE lost)"
            ).fetchall()
        return {ObjectName(name) for (name,) in rows}

    def forget_indexes(self, names: Collection[ObjectName]) -> None:
        """Forget that packs are listed by indexes that are no longer in the vault; the next point lists them anew."""
        with self.transaction() as connection:
            connection.executemany("UPDATE packs SET indexed = NULL WHERE indexed = ?", ((name,) for name in names))

    def note_indexed(self, names: Iterable[ObjectName], index: ObjectName) -> None:
        """Learn that an index that is durable in the vault lists packs."""
        with self.transaction() as connection:
            connection.executemany("UPDATE packs SET indexed = ? WHERE name = ?", ((index, name) for name in names))

    def packs(self) -> dict[ObjectName, ObjectName | None]:
        """Return every known pack with the index that lists it."""
        with self.reading() as connection:
            rows = connection.execute("SELECT name, indexed FROM packs").fetchall()
        return {ObjectName(name): None if indexed is None else ObjectName(indexed) for name, indexed in rows}

    def pack_length(self, name: ObjectName) -> int | None:
        """Return how long a pack is in bytes; None for one that is not known."""
        with self.reading() as connection:
            row = connection.execute("SELECT length FROM packs WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def indexed_pack(self, name: ObjectName) -> IndexedPack:
        """Return a known pack with its frames, without chunks."""
        with self.reading() as connection:
            pack_id, length, session = connection.execute(
                "SELECT id, length, session FROM packs WHERE name = ?", (name,)
            ).fetchone()
            rows = connection.execute(_FRAMES_OF_PACK, {"pack": pack_id}).fetchall()
        return IndexedPack(name, length, session, tuple(_record(*row) for row in rows))

    def sessions_of(self, names: Collection[ObjectName]) -> set[bytes]:
        """Return the sessions that sealed these packs."""
        with self.reading() as connection:
            rows = connection.execute("SELECT name, session FROM packs").fetchall()
        return {session for name, session in rows if name in names}

    def find_chunks(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, Extent]:
        """Return where those of the chunks are that the vault holds."""
        found: dict[ChunkId, Extent] = {}
        with self.reading() as connection:
            for batch in _batches(chunks):
                marks = ",".join("?" * len(batch))
                rows = connection.execute(
                    "SELECT chunk, frames.frame, chunks.offset, length FROM chunks JOIN frames ON "
                    f"frames.id = chunks.frame WHERE chunk IN ({marks})", batch,
                )
                for chunk, frame, offset, length in rows:
                    found[ChunkId(chunk)] = Extent(FrameId(frame), offset, length)
        return found

    def find_frames(self, frames: Collection[FrameId]) -> dict[FrameId, FramePlace]:
        """Return the places of those of the frames that the vault holds."""
        found: dict[FrameId, FramePlace] = {}
        with self.reading() as connection:
            for batch in _batches(list(frames)):
                marks = ",".join("?" * len(batch))
                rows = connection.execute(
                    "SELECT name, session, slot, frame, offset, sealed_length, plain_length, encoding, bases "
                    f"FROM frames JOIN packs ON packs.id = frames.pack WHERE frame IN ({marks})", batch,
                )
                for name, session, slot, *record in rows:
                    place = FramePlace(ObjectName(name), session, slot, _record(*record))
                    found[place.record.id] = place
        return found

    def count(self) -> tuple[int, int, int]:
        """Return the numbers of packs, frames and chunks."""
        with self.reading() as connection:
            packs, frames, chunks = connection.execute(
                "SELECT (SELECT count(*) FROM packs), (SELECT count(*) FROM frames), (SELECT count(*) FROM chunks)"
            ).fetchone()
        return packs, frames, chunks

    def _add_pack(self, connection: sqlite3.Connection, pack: IndexedPack, indexed: ObjectName | None) -> list[Row]:
        """Learn of a pack and its frames; return the rows of its chunks."""
        connection.execute(
            "INSERT INTO packs (name, length, session, indexed) VALUES (?, ?, ?, ?) ON CONFLICT (name) "
            "DO UPDATE SET indexed = coalesce(excluded.indexed, indexed)",
            (pack.name, pack.length, pack.session_id, indexed),
        )
        (pack_id,) = connection.execute("SELECT id FROM packs WHERE name = ?", (pack.name,)).fetchone()
        lost = connection.execute("SELECT slot FROM other_frames WHERE pack = ? AND lost", (pack_id,)).fetchall()
        rows: list[Row] = []
        for slot, frame in enumerate(pack.frames):
            if (slot,) in lost:
                continue
            frame_id = self._add_frame(connection, pack_id, slot, frame)
            offset = 0
            for chunk, length in frame.chunks:
                rows.append((chunk, frame_id, offset, length))
                offset += length
        return rows

    def _add_frame(self, connection: sqlite3.Connection, pack: int, slot: int, frame: FrameRecord) -> int:
        """Learn of a frame; return its number. One that another pack has as well is read from there."""
        values = (
            frame.id, pack, slot, frame.offset, frame.sealed_length, frame.plain_length, int(frame.encoding),
            pack_extents(frame.bases),
        )
        known = connection.execute("SELECT id, pack FROM frames WHERE frame = ?", (frame.id,)).fetchone()
        if known is None:
            known = connection.execute(_ADD_FRAME, values).fetchone()
        elif known[1] != pack:
            connection.execute(_ADD_OTHER, values)
        return int(known[0])

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread for reading; for the modules of this package."""
        with self._lock, _typed(self.path):
            yield self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread for a transaction; for the modules of this package."""
        with self._lock, _typed(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def discard(path: str) -> None:
    """Remove a catalog, which need not be readable; whoever calls knows that nobody has it open.

    Raises:
        StorageError: It cannot be removed.
    """
    for suffix in ("-wal", "-shm", ""):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unusable(path + suffix, os.strerror(error.errno or 0)) from error


def _open(path: str) -> tuple[sqlite3.Connection, int]:
    """Open a file and return it with its schema version, 0 for a new one."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A catalog that a power cut damages or sets back is rebuilt or reconciled; the vault is the truth.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, version


def _record(frame: bytes, offset: int, sealed: int, plain: int, encoding: int, bases: bytes) -> FrameRecord:
    return FrameRecord(FrameId(frame), offset, sealed, plain, Encoding(encoding), unpack_extents(bases))


def _batches(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(items), _BATCH):
        yield items[begin : begin + _BATCH]


@contextlib.contextmanager
def _typed(path: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, once, here."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise _unusable(path, os.strerror(error.errno or 0)) from error
        raise _full(path) from error
    except sqlite3.Error as error:
        if "full" in str(error) or (error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR and _is_full(path)):
            raise _full(path) from error
        raise _unusable(path, str(error)) from error


def _full(path: str) -> NoSpaceError:
    return NoSpaceError(
        "unable to write the catalog {path}: the disk is full",
        "free space on this file system, then run the same command again; what was committed is safe",
        path=path,
    )


def _unusable(path: str, reason: str) -> StorageError:
    return StorageError(
        "unable to use the catalog {path}: {reason}",
        "run 'jbackupd vault rebuild-catalog TENANT'; the catalog is only a cache",
        path=path, reason=reason,
    )


def _is_full(path: str) -> bool:
    """Tell whether the file system has no room; for its -shm file SQLite only says that I/O failed."""
    try:
        return os.statvfs(os.path.dirname(path)).f_bavail == 0
    except OSError:
        return False
