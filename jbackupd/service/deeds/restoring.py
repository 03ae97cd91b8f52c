"""Steps of kind restore and inspect: a point into a folder of the run, and a look whether what must be there is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import Mapping
from typing import Any

from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.texts import to_translate
from jbackupd.restore.options import RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.work import Tell, Work
from jbackupd.service.leases import reading
from jbackupd.settings.steps import InspectStep, RestoreStep
from jbackupd.storage.beneath import Beneath
from jbackupd.vault.vault import StoredPoint


class Restoring:
    """Lays points out; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Fetch what is newer elsewhere, and restore."""
        said = await self._work.look_elsewhere(step.dataset, tell)
        return {**await settled(asyncio.to_thread(self._restore, step, stopped, tell)), **said}

    async def undo(self, step: RestoreStep) -> None:
        """Keep what was restored: a run that is undone was perhaps undone by mistake; `recovery clean` removes it."""

    async def close(self) -> None:
        """End nothing: nothing of it lives on."""

    def _restore(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        with reading(self._work.premises.files.root, self._work.plan.tenant):
            return self._restore_leased(step, stopped, tell)

    def _restore_leased(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        vault, damaged = self._work.open_vault()
        stored = self._work.find(vault, step.dataset, step.point)
        target = self._work.folder_of(step, stored)

        def progress(done: RestoreResult) -> None:
            tell({"event": "progress", "point": stored.label, "bytes": done.bytes_read, "files": done.files})

        opened = vault.open_point(stored)
        result = restore(
            opened, target, RestoreOptions(resume=True, label=stored.label), progress=progress,
            stopped=stopped.is_set,
        )
        if result.tree_error is not None:
            raise result.tree_error
        if result.problems:
            raise _not_whole(stored, result)
        return {
            "point": stored.label, "as_of": stored.header.begun_at.isoformat(), "files": result.files + result.kept,
            "bytes": result.bytes, "kept": result.kept, "folder": target, "incomplete": stored.header.incomplete,
            "damaged_indexes": damaged, "point_files": opened.body.statistics.files,
        }


class Inspecting:
    """Looks at what was restored or mounted; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: InspectStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Look."""
        return await settled(asyncio.to_thread(self._inspect, step))

    async def undo(self, step: InspectStep) -> None:
        """Take nothing back: a look changes nothing."""

    async def close(self) -> None:
        """End nothing."""

    def _inspect(self, step: InspectStep) -> Mapping[str, Any]:
        restored = self._work.restored(step.data)
        with contextlib.closing(Beneath(restored.folder)) as beneath:
            for path in step.files:
                status = beneath.status(os.fsencode(path))
                if status is None or not stat.S_ISREG(status.st_mode) or not status.st_size:
                    raise NotFoundError(
                        "{point} has no file {path}, or an empty one", "look at the point with 'jbackupd ls {point}'",
                        point=restored.point, path=path,
                    )
        count = self._work.record.steps[step.data].detail["files"]
        if count < step.files_min:
            raise NotFoundError(
                "{point} has {count} files, the plan expects {least}", "look at the point with 'jbackupd ls {point}'",
                point=restored.point, count=count, least=step.files_min,
            )
        return {"files": count, "inspected": len(step.files)}


def _not_whole(stored: StoredPoint, result: RestoreResult) -> JbackupdError:
    """Return the first problem, or, when there are several, one that counts them."""
    first = result.problems[0].error
    if len(result.problems) == 1:
        return first
    return type(first)(
        to_translate("{count} files of {point} were not restored; the first: {reason}"), "{advice}",
        count=len(result.problems) + result.problems_more, point=stored.label, reason=str(first),
        advice=first.render(first.hint),
    )
