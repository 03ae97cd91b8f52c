"""Steps of kind export: a file of a point as a block device that clients use at once, while the rest is fetched."""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Mapping
from typing import Any

from jbackupd.model.ids import PointSelector
from jbackupd.service.deeds.work import Tell, Work, said_by
from jbackupd.service.exporting import ExportWish, served
from jbackupd.settings.steps import ExportStep


class Exporting:
    """Serves block devices; see `work.Deed`. An export ends with the daemon; what was fetched and written stays."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._open: dict[str, contextlib.AsyncExitStack] = {}

    async def perform(self, step: ExportStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Open it; again, the same point with what was written to it."""
        await self._end(step.id)
        work = self._work
        found = await work.survey()
        newest = found.newest.get(step.dataset)
        holders = newest.holders if newest is not None else ()
        places = work.premises.others.places(holders)
        wish = ExportWish(
            self._selector(step), step.file.encode("utf-8", "surrogateescape").strip(b"/"), self._listen(step),
            (lambda point: work.folder_of(step, point)) if step.writable else None, step.fill,
            # Not where this site has the newest itself, and not when resumed: a run goes on with its point.
            ask_first=len(places) == len(holders) > 0 and "point" not in work.record.steps[step.id].detail,
        )
        work.premises.files.make_folder(work.folder)
        async with contextlib.AsyncExitStack() as opening:
            export = await opening.enter_async_context(served(
                work.premises.files, wish, work.keys, places, work.premises.bringers,
                verifiers=work.premises.verifiers,
                failed=lambda name, error: tell({"event": "damage", "path": name, "reason": str(error)}),
            ))
            self._open[step.id] = opening.pop_all()
        header = export.stored.header
        return {
            "point": export.stored.label, "as_of": header.begun_at.isoformat(), "uri": export.uri, "bytes": export.size,
            "from_elsewhere": export.bringer is not None, "incomplete": header.incomplete, **said_by(found),
        }

    async def undo(self, step: ExportStep) -> None:
        """End it; what was written stays until the run is cleaned."""
        await self._end(step.id)

    async def close(self) -> None:
        """End all."""
        for name in list(self._open):
            await self._end(name)

    async def _end(self, name: str) -> None:
        kept = self._open.pop(name, None)
        if kept is not None:
            await kept.aclose()

    def _selector(self, step: ExportStep) -> PointSelector:
        """Return the point that an earlier attempt served, else what the plan says: writes belong to one point."""
        earlier = self._work.record.steps[step.id].detail.get("point")
        return PointSelector.parse(earlier or f"{step.dataset}@{step.point}")

    def _listen(self, step: ExportStep) -> str:
        return step.listen or posixpath.join(self._work.root, f"{step.id}.nbd")
