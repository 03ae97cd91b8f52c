"""Feeds: a resident file for another system, made whole or not at all. Everything here blocks.

    TO/ID.csv, ID.json                            the newest file, and what it is (see below)
    TO/ID.replaced.csv                            characters that the encoding lacks, if there are any
    TO/ID-TIME.csv, ID-TIME.json                  the same, kept for a while

The document: schema, feed, dataset, point, as_of, made_at, by, rows, masked, restrictions (trusted, or why not),
replaced, encoding, columns, bytes, sha256. It is written after the file that it names: who reads it knows that the
file is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from jbackupd.continuity.record import RunRecord, run_names
from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.extract import load_extract
from jbackupd.desk.feed import Fed, feed_columns, feed_of
from jbackupd.desk.mapfile import load_map
from jbackupd.desk.residents import Residents
from jbackupd.desk.restrictions import Restrictions, moment_of_table, no_table, read_restrictions
from jbackupd.model.errors import JbackupdError, KeyMissingError, NotFoundError
from jbackupd.model.ids import DatasetId, PointSelector
from jbackupd.service.exporting import file_entry
from jbackupd.service.wiring import open_vault
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.schema import Feed, Settings
from jbackupd.storage.beneath import Beneath
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.vault import OpenPoint

FOLDER = "feeds"
FILE_MODE = 0o640
"""Readable for the folder's group: the receiving system is another user."""


class FeedNote(msgspec.Struct, frozen=True):
    """What a file is; see the module."""

    feed: str
    dataset: str
    point: str
    as_of: datetime
    made_at: datetime
    by: str
    rows: int
    masked: int
    restrictions: str
    replaced: int
    encoding: str
    columns: tuple[str, ...]
    bytes: int
    sha256: str
    schema: int = 1


@dataclass(frozen=True, slots=True)
class _Extract:
    """An extract, opened.

    Attributes:
        written: When its file was written, seconds since 1970.
        table: The table of support measures, with when that was written; None if there is none.
    """

    point: str
    as_of: datetime
    source: BinaryIO
    written: float
    table: tuple[BinaryIO, float] | None


def make_feed(settings: Settings, feed: Feed, audit: DeskAudit, now: datetime, *, by: str) -> FeedNote:
    """Make a feed's file of the newest point that can be read here; what was there before stays if that fails.

    Read is the vault with this site's keys, or, at a site without them, what a recovery run has restored.

    Args:
        by: Who wants it, for the record.

    Raises:
        NotFoundError: There is no point, no such file in it, or nothing was restored here.
        KeyMissingError: This site has no keys of the tenant, and nothing was restored.
        ConfigError, RefusedError, FormatError, DamageError: The extract is not what the map says.
        NoSpaceError, StorageError: It cannot be written.
    """
    mapping, columns = load_map(feed.map), feed_columns(feed.columns)
    files = PosixFiles(settings.site.state)
    work = posixpath.join(FOLDER, feed.id)
    files.make_folder(work)
    database = posixpath.join(work, "residents.db")
    try:
        with _extract(settings, feed) as extract:
            load_extract(
                extract.source, mapping=mapping, database=os.path.join(files.root, database), as_of=extract.as_of,
                loaded_from=extract.point, restrictions=_restrictions(feed, extract, mapping.encoding),
            )
            with contextlib.closing(Residents(os.path.join(files.root, database))) as residents:
                fed = feed_of(
                    residents, columns, feed.encoding, current_only=feed.current_only,
                    refuse_unknown=feed.unknown_restrictions == "refuse",
                )
                trust = residents.facts.distrust.value or "trusted"
        note = FeedNote(
            feed.id, str(feed.dataset), extract.point, extract.as_of, now, by, fed.rows, fed.masked, trust,
            fed.replaced_count, feed.encoding, tuple(columns), len(fed.data), hashlib.sha256(fed.data).hexdigest(),
        )
        # Recorded before it can be read: whoever leaves must have been seen.
        audit.fed(by, feed=feed.id, point=note.point, persons=note.rows, sha256=note.sha256)
        _write(feed, fed, note)
    finally:
        destroy_durably(files, database)
    return note


def last_note(feed: Feed) -> FeedNote | None:
    """Return what the newest file is; None if there is none, or nobody can tell."""
    try:
        with open(os.path.join(feed.to, f"{feed.id}.json"), "rb") as file:
            return msgspec.json.decode(file.read(), type=FeedNote)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


@contextlib.contextmanager
def _extract(settings: Settings, feed: Feed) -> Iterator[_Extract]:
    try:
        with open_vault(settings, feed.dataset.tenant) as vault:
            stored = vault.points.find(PointSelector(feed.dataset, None))
            opened = vault.open_point(stored)
            yield _Extract(stored.label, stored.header.begun_at, *_of_point(opened, feed, stored.label))
            return
    except KeyMissingError:
        if (restored := _restored(settings, feed.dataset)) is None:
            raise
    point, as_of, folder = restored
    with contextlib.ExitStack() as held:
        yield _Extract(point, as_of, *_of_folder(folder, feed, held))


def _of_point(
    point: OpenPoint, feed: Feed, label: str
) -> tuple[BinaryIO, float, tuple[BinaryIO, float] | None]:
    def opened(path: str) -> tuple[BinaryIO, float]:
        entry = file_entry(point, os.fsencode(path).strip(b"/"), label)
        return io.BufferedReader(_Pieces(point.read(entry.extents))), entry.mtime_ns / 1e9

    source, written = opened(feed.file)
    table = None
    if feed.restrictions is not None:
        with contextlib.suppress(NotFoundError):
            table = opened(feed.restrictions)
    return source, written, table


def _of_folder(
    folder: str, feed: Feed, held: contextlib.ExitStack
) -> tuple[BinaryIO, float, tuple[BinaryIO, float] | None]:
    def opened(path: str) -> tuple[BinaryIO, float]:
        with contextlib.closing(Beneath(folder)) as beneath:
            file = held.enter_context(os.fdopen(beneath.open_file(os.fsencode(path)), "rb"))
        return file, os.fstat(file.fileno()).st_mtime

    source, written = opened(feed.file)
    table = None
    if feed.restrictions is not None:
        with contextlib.suppress(JbackupdError):
            table = opened(feed.restrictions)
    return source, written, table


def _restored(settings: Settings, dataset: DatasetId) -> tuple[str, datetime, str] | None:
    """Return point, moment and folder of what the newest recovery run has restored of a dataset."""
    files = PosixFiles(settings.site.state)
    for name in reversed(run_names(files)):
        with contextlib.closing(RunRecord.open(files, name, parse_plan)) as record:
            for step in record.plan.steps:
                detail = record.steps[step.id].detail
                if step.kind == "restore" and step.dataset == dataset and "folder" in detail and (
                    os.path.isdir(detail["folder"])
                ):
                    return detail["point"], datetime.fromisoformat(detail["as_of"]), detail["folder"]
    return None


def _restrictions(feed: Feed, extract: _Extract, encoding: Any) -> Restrictions | None:
    if feed.restrictions is None:
        return None
    if extract.table is None:
        return no_table(extract.as_of)
    table, written = extract.table
    as_of = moment_of_table(extract.as_of, table_written=written, extract_written=extract.written)
    return read_restrictions(table, encoding=encoding, as_of=as_of)


def _write(feed: Feed, fed: Fed, note: FeedNote) -> None:
    """Write the files: those that are kept first, then the newest under its fixed name, its document last."""
    os.makedirs(feed.to, mode=0o750, exist_ok=True)
    folder = PosixFiles(feed.to)
    document = msgspec.json.format(msgspec.json.encode(note), indent=1)
    dated = f"{feed.id}-{note.made_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for name in (dated, feed.id):
        if name == feed.id:
            _remove(folder, f"{name}.json")
        _put(folder, f"{name}.csv", fed.data)
        if fed.replaced is not None:
            _put(folder, f"{name}.replaced.csv", fed.replaced)
        else:
            _remove(folder, f"{name}.replaced.csv")
        _put(folder, f"{name}.json", document)
    kept = sorted(name for name in folder.names("") if name.startswith(f"{feed.id}-") and name.endswith("Z.json"))
    for old in kept[: -feed.keep]:
        for ending in (".csv", ".replaced.csv", ".json"):
            destroy_durably(folder, old.removesuffix(".json") + ending)


def _put(folder: PosixFiles, name: str, data: bytes) -> None:
    write_durably(folder, name, data, temporary=name + ".new")
    os.chmod(os.path.join(folder.root, name), FILE_MODE)


def _remove(folder: PosixFiles, name: str) -> None:
    if folder.exists(name):
        folder.remove(name)


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
