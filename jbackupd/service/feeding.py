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
import os
import posixpath
from datetime import UTC, datetime

import msgspec

from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.extract import load_extract
from jbackupd.desk.feed import Fed, feed_columns, feed_of
from jbackupd.desk.mapfile import load_map
from jbackupd.desk.residents import Residents
from jbackupd.service.extracts import opened_extract
from jbackupd.settings.schema import Feed, Settings
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import PosixFiles

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
        with opened_extract(settings, feed.dataset, feed.file, feed.restrictions) as extract:
            load_extract(
                extract.source, mapping=mapping, database=os.path.join(files.root, database), as_of=extract.as_of,
                loaded_from=extract.point, restrictions=extract.restrictions(mapping.encoding),
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
