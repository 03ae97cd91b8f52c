"""Which text of a plan was last printed for people, so that a check can tell when the paper is older than the plan."""

from __future__ import annotations

import posixpath
from datetime import datetime

import msgspec

from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "runbooks"


class Printed(msgspec.Struct, frozen=True):
    """The last runbook of a plan.

    Attributes:
        digest: Hex SHA-256 of the plan's text.
    """

    digest: str
    at: datetime
    by: str


def note_printed(files: Files, plan: str, printed: Printed) -> None:
    """Keep what was printed, durably."""
    files.make_folder(FOLDER)
    path = _path(plan)
    write_durably(files, path, msgspec.json.encode(printed), temporary=path + ".new")


def last_printed(files: Files, plan: str) -> Printed | None:
    """Return what was printed last; None if nothing ever was, or nobody can read the note of it."""
    path = _path(plan)
    if not files.exists(path):
        return None
    try:
        return msgspec.json.decode(files.read(path), type=Printed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _path(plan: str) -> str:
    return posixpath.join(FOLDER, f"{plan}.json")
