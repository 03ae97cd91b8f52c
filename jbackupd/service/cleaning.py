"""The runs in a state folder that nobody works with: told, and cleaned away once they are no longer needed. Blocks."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable
from typing import Any

from jbackupd.continuity.record import RunRecord, run_folder, run_names
from jbackupd.continuity.report import run_document
from jbackupd.continuity.run import failure
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, NotFoundError, RefusedError
from jbackupd.service.clearing import clear, parts_of
from jbackupd.service.deeds.containers import end_left_containers
from jbackupd.settings.plan import parse_plan
from jbackupd.storage.files import Files, PosixFiles


def check_known(files: Files, name: str) -> None:
    """Return for a run that there is.

    Raises:
        NotFoundError: There is none of this name.
    """
    if name not in run_names(files):
        raise NotFoundError("there is no recovery run {run}", "see 'jbackupd recovery history'", run=name)


def removed(name: str) -> RefusedError:
    """Return the refusal of a run whose data is gone."""
    return RefusedError("what the recovery run {run} laid out was removed", "run the plan again", run=name)


def reports(files: Files, document: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the reports of all runs, oldest first; of one that cannot be read, its name and why."""
    found: list[dict[str, Any]] = []
    for name in run_names(files):
        try:
            found.append(document(name))
        except NotFoundError:
            # Killed before its first record: nothing of it ever happened.
            continue
        except JbackupdError as error:
            found.append({"run": name, **failure(error)})
    return found


def clean_run(files: PosixFiles, clock: Clock, name: str, *, given_up: bool, dry_run: bool) -> dict[str, Any]:
    """Remove what a run laid out, noted in its journal before and after; or only look. See `Recoveries.clean`.

    Raises:
        NotFoundError: There is no such run.
        RefusedError: It did not end, and is not given up.
        StorageError: Something could not be removed.
    """
    check_known(files, name)
    record = RunRecord.open(files, name, parse_plan)
    try:
        if record.ended_at is None and not given_up and record.clean_begun_at is None:
            raise RefusedError(
                "the recovery run {run} did not end: what it restored may still be needed",
                "go on with 'jbackupd recovery resume {run}', or give it up for ever with --give-up", run=name,
            )
        folder = posixpath.join(files.root, run_folder(name))
        parts = [dataclasses.asdict(part) for part in parts_of(folder)]
        gone = None if dry_run else _remove(record, folder, clock)
        return {"run": name, "parts": parts, "removed": gone, "report": run_document(record)}
    finally:
        record.close()


def _remove(record: RunRecord, folder: str, clock: Clock) -> dict[str, int]:
    record.note_clean(clock.now())
    # Of a daemon that was killed: its programs end with the machine, containers have parents of their own.
    end_left_containers(folder)
    files, size = clear(folder)
    record.note_cleaned(clock.now(), files=files, size=size)
    return {"files": files, "bytes": size}
