"""A resident extract of this site: in the newest point, or in what a recovery run has restored. Blocking."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from jbackupd.continuity.record import RunRecord, run_names
from jbackupd.desk.fields import ExtractEncoding
from jbackupd.desk.restrictions import Restrictions, moment_of_table, no_table, read_restrictions
from jbackupd.model.errors import JbackupdError, KeyMissingError
from jbackupd.model.ids import DatasetId, PointSelector
from jbackupd.service.exporting import file_entry
from jbackupd.service.wiring import open_vault
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.schema import Settings
from jbackupd.storage.beneath import Beneath
from jbackupd.storage.files import PosixFiles

_Opener = Callable[[str], tuple[BinaryIO, float]]
"""Opens a file by its path; returns when it was written too, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Extract:
    """An extract, opened.

    Attributes:
        as_of: The moment that it shows.
        written: When its file was written, seconds since 1970.
        table: The table of support measures, with when that was written; None if it should be there and is not.
        has_table: Whether there should be one.
    """

    point: str
    as_of: datetime
    source: BinaryIO
    written: float
    table: tuple[BinaryIO, float] | None
    has_table: bool

    def restrictions(self, encoding: ExtractEncoding) -> Restrictions | None:
        """Return what the table of support measures says; one that cannot be read hides all addresses."""
        if not self.has_table:
            return None
        if self.table is None:
            return no_table(self.as_of)
        table, written = self.table
        as_of = moment_of_table(self.as_of, table_written=written, extract_written=self.written)
        return read_restrictions(table, encoding=encoding, as_of=as_of)


@contextlib.contextmanager
def opened_extract(
    settings: Settings, dataset: DatasetId, file: str, restrictions: str | None
) -> Iterator[Extract]:
    """Open an extract of the newest point that can be read here.

    Read is the vault with this site's keys, or, at a site without them, what a recovery run has restored.

    Args:
        file: The extract's path in the point.
        restrictions: The path of the table of support measures there, if it is a file of its own.

    Raises:
        NotFoundError: There is no point, or no such file in it.
        KeyMissingError: This site has no keys of the tenant, and nothing was restored.
    """
    with contextlib.ExitStack() as held:
        try:
            vault = held.enter_context(open_vault(settings, dataset.tenant))
            stored = vault.points.find(PointSelector(dataset, None))
            point = vault.open_point(stored)

            def of_point(path: str) -> tuple[BinaryIO, float]:
                entry = file_entry(point, os.fsencode(path).strip(b"/"), stored.label)
                return io.BufferedReader(_Pieces(point.read(entry.extents))), entry.mtime_ns / 1e9

            found = _extract(stored.label, stored.header.begun_at, of_point, file, restrictions)
        except KeyMissingError:
            if (restored := _restored(settings, dataset)) is None:
                raise
            label, as_of, folder = restored

            def of_folder(path: str) -> tuple[BinaryIO, float]:
                with contextlib.closing(Beneath(folder)) as beneath:
                    opened = held.enter_context(os.fdopen(beneath.open_file(os.fsencode(path)), "rb"))
                return opened, os.fstat(opened.fileno()).st_mtime

            found = _extract(label, as_of, of_folder, file, restrictions)
        yield found


def _extract(label: str, as_of: datetime, opened: _Opener, file: str, restrictions: str | None) -> Extract:
    source, written = opened(file)
    table = None
    if restrictions is not None:
        with contextlib.suppress(JbackupdError):
            table = opened(restrictions)
    return Extract(label, as_of, source, written, table, restrictions is not None)


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
