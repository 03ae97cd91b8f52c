"""Sample restores (復元確認): a part of a dataset's newest point is restored for nobody, compared, and removed again.

    STATE/samples/of/TENANT/NAME.json    the last result: SampleResult
    STATE/samples/scratch/               what is restored; gone at the end, and at the start of the next

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from random import Random, SystemRandom

import msgspec

from jbackupd.model.errors import (
    DamageError,
    KeyMissingError,
    NotFoundError,
    RefusedError,
    StorageError,
)
from jbackupd.model.ids import DatasetId, PointSelector
from jbackupd.restore.fileview import Extents, FileView
from jbackupd.restore.options import RestoreOptions
from jbackupd.restore.place import restore
from jbackupd.restore.sample import Choice, choose, slices
from jbackupd.service.wiring import open_vault
from jbackupd.settings.schema import Settings
from jbackupd.storage.beneath import Beneath
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files, PosixFiles
from jbackupd.vault.vault import OpenPoint

FOLDER = "samples"
_SCRATCH = "scratch"
_BLOCK = 1 << 20


class SampleState(Enum):
    """What is known of whether a dataset can be restored."""

    PROVED = "proved"
    """復元確認済: a sample was restored and compared lately."""
    UNPROVED = "unproved"
    """未確認: nobody has lately, or could, say."""
    FAILED = "failed"
    """不可: something was not restored as it was."""


class SampleResult(msgspec.Struct, frozen=True):
    """What a sample restore came to.

    Attributes:
        state: As it was then; `standing` tells what it is worth now.
        point: TENANT/DATASET@SEQUENCE; empty if there was none.
        as_of: When that point was begun.
        files: Restored and compared; of so many in the point.
        whole: Everything was, and not only a part.
        reason: Why it is not proved, in English, filled in.
        seconds: How long it took.
    """

    state: SampleState
    at: datetime
    point: str = ""
    as_of: datetime | None = None
    files: int = 0
    total_files: int = 0
    bytes: int = 0
    whole: bool = False
    reason: str = ""
    seconds: float = 0.0


def standing(result: SampleResult | None, within: timedelta, now: datetime) -> SampleState:
    """Return what a result is worth now."""
    if result is None:
        return SampleState.UNPROVED
    old = now - result.at > within
    return SampleState.UNPROVED if result.state is SampleState.PROVED and old else result.state


def is_due(result: SampleResult | None, within: timedelta, now: datetime) -> bool:
    """Tell whether a dataset is to be sampled: an eighth of the time before the proof is too old, or it never was.

    A clock that was set back makes nothing due for ever: a result of the future counts as old.
    """
    if result is None or result.at > now:
        return True
    age = now - result.at
    return age > within * 7 / 8 if result.state is SampleState.PROVED else age > min(within, timedelta(days=1))


def sample(
    settings: Settings, dataset: DatasetId, now: datetime, *, stopped: Callable[[], bool] = lambda: False,
    random: Random | None = None, clock: Callable[[], float] = lambda: 0.0,
) -> SampleResult:
    """Restore a sample of a dataset's newest point into a folder of its own, compare it, remove it, keep the result.

    What is wrong with the point is the result; it is no error. What is wrong with this site is one.

    Args:
        stopped: Asked now and then; when true nothing is kept.
        clock: Monotonic seconds.

    Raises:
        NoSpaceError, StorageError: The scratch folder cannot be used.
        RefusedError: It was stopped.
    """
    files, begun = PosixFiles(settings.site.state), clock()
    clear_scratch(files)
    try:
        with open_vault(settings, dataset.tenant) as vault:
            stored = vault.points.find(PointSelector(dataset, None))
            known = {"point": stored.label, "as_of": stored.header.begun_at}
            try:
                result = _sampled(files, vault.open_point(stored), now, stopped, random or SystemRandom())
            except DamageError as error:
                result = SampleResult(SampleState.FAILED, now, reason=str(error))
            result = msgspec.structs.replace(result, **known)
    except (KeyMissingError, NotFoundError) as error:
        result = SampleResult(SampleState.UNPROVED, now, reason=str(error))
    except DamageError as error:
        result = SampleResult(SampleState.FAILED, now, reason=str(error))
    result = msgspec.structs.replace(result, seconds=round(clock() - begun, 3))
    _keep(files, dataset, result)
    return result


def last_result(files: Files, dataset: DatasetId) -> SampleResult | None:
    """Return a dataset's last result; None if there is none, or nobody can read it."""
    path = _path(dataset)
    if not files.exists(path):
        return None
    try:
        return msgspec.json.decode(files.read(path), type=SampleResult)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def clear_scratch(files: PosixFiles) -> None:
    """Remove what a killed sample has left; nothing else may be sampling."""
    _remove(os.path.join(files.root, FOLDER, _SCRATCH))


def _sampled(
    files: PosixFiles, point: OpenPoint, now: datetime, stopped: Callable[[], bool], random: Random
) -> SampleResult:
    choice = choose(point.entries(), random)
    folder = os.path.join(files.root, FOLDER, _SCRATCH)
    files.make_folder(FOLDER)
    try:
        bad = _restored(point, choice, folder, stopped)
    finally:
        _remove(folder)
    read = _read_slices(point, choice, random) if not bad else 0
    size = sum(entry.size for entry in choice.files) + read
    return SampleResult(
        SampleState.FAILED if bad else SampleState.PROVED, now, files=len(choice.files),
        total_files=choice.total_files, bytes=size, whole=choice.is_all, reason=bad,
    )


def _restored(point: OpenPoint, choice: Choice, folder: str, stopped: Callable[[], bool]) -> str:
    """Restore the files and read them back from the disk; return what is wrong, or nothing."""
    if not choice.files:
        return ""
    paths = tuple(entry.path for entry in choice.files)
    result = restore(point, folder, RestoreOptions(paths=paths), stopped=stopped)
    if result.tree_error is not None or result.problems:
        return str(result.tree_error or result.problems[0].error)
    with contextlib.closing(Beneath(folder)) as beneath:
        for entry in choice.files:
            if stopped():
                raise RefusedError("the sample restore was stopped")
            digest = point.content_hash.file_digest()
            with os.fdopen(beneath.open_file(entry.path), "rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            if digest.digest() != entry.digest:
                return str(DamageError("{path} is not what was taken", path=os.fsdecode(entry.path)))
    return ""


def _read_slices(point: OpenPoint, choice: Choice, random: Random) -> int:
    """Read slices of a long file; every frame is opened with its seal. Return their bytes."""
    if choice.long is None:
        return 0
    extents = Extents((extent.frame, extent.offset, extent.length) for extent in choice.long.extents)
    view = FileView(point.read, extents)
    return sum(len(view.read(offset, length)) for offset, length in slices(view.size, random))


def _remove(folder: str) -> None:
    """Remove the scratch folder and see that it is gone.

    Raises:
        StorageError: Something of it is still there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        raise StorageError(
            "what was restored for a sample is still in {folder}", "remove it by hand: it is personal data",
            folder=folder,
        )


def _keep(files: Files, dataset: DatasetId, result: SampleResult) -> None:
    path = _path(dataset)
    files.make_folder(posixpath.dirname(path))
    write_durably(files, path, msgspec.json.format(msgspec.json.encode(result), indent=1), temporary=path + ".new")


def _path(dataset: DatasetId) -> str:
    return posixpath.join(FOLDER, "of", dataset.tenant, f"{dataset.name}.json")


