"""The records of a site's drills, as they lie in the state folder."""

from __future__ import annotations

import posixpath

import msgspec

from jbackupd.continuity.drill import DrillRecord, decode_record
from jbackupd.model.errors import DamageError
from jbackupd.storage.files import PosixFiles

FOLDER = "drills"
RECORD = "record.json"


def read_records(files: PosixFiles) -> list[DrillRecord]:
    """Return the records of all drills of a state folder, oldest first.

    Raises:
        DamageError: One cannot be read.
    """
    found = []
    for name in sorted(files.names(FOLDER) if files.exists(FOLDER) else []):
        path = posixpath.join(FOLDER, name, RECORD)
        if files.exists(path):
            try:
                found.append(decode_record(files.read(path)))
            except msgspec.DecodeError as error:
                raise DamageError(
                    "the drill record {path} is damaged", "take it from a copy of the state folder", path=path
                ) from error
    return found
