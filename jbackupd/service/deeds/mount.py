"""Steps of kind mount: a point as a folder that can be used at once, and is completed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import threading
from collections.abc import Mapping
from typing import Any

from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import PointSelector
from jbackupd.model.records import EntryType
from jbackupd.restore.fuse import check_mountable, clear_stale
from jbackupd.restore.lazyfiles import TREE
from jbackupd.restore.mounted import Mounted
from jbackupd.restore.overlay import is_whole, make_overlay
from jbackupd.restore.pointcontents import PointContents
from jbackupd.restore.view import PointView
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.work import Tell, Work, said_by
from jbackupd.service.reaching import Reached, reached_point
from jbackupd.settings.steps import MountStep


class Mounting:
    """Mounts points; see `work.Deed`. A mount ends with the daemon, what it has brought and what was written stays."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._open: dict[str, contextlib.AsyncExitStack] = {}

    async def perform(self, step: MountStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Mount; a point that was brought wholly by an earlier mount is only named, and needs no keys."""
        await self._end(step)
        earlier = self._work.record.steps[step.id].detail
        if "upper" in earlier and await asyncio.to_thread(is_whole, earlier["upper"]):
            return {**earlier, "folder": posixpath.join(earlier["upper"], TREE), "whole": True}
        found = await self._work.survey()
        newest = found.newest.get(step.dataset)
        places = self._work.premises.others.places(newest.holders if newest is not None else ())
        work = self._work
        async with contextlib.AsyncExitStack() as opening:
            reached = await opening.enter_async_context(reached_point(
                work.premises.files, self._selector(step), work.keys, places, work.premises.bringers,
                verifiers=work.premises.verifiers,
                # Asked only for what nobody has chosen before: what was written belongs to one point.
                ask_first=bool(places) and "point" not in earlier,
            ))
            mounting = asyncio.to_thread(self._mount, step, reached, tell)
            mounted, noted = await settled(mounting)
            opening.push_async_callback(lambda: settled(asyncio.to_thread(mounted.close)))
            self._open[step.id] = opening.pop_all()
        return {**noted, "from_elsewhere": reached.bringer is not None, **said_by(found)}

    async def undo(self, step: MountStep) -> None:
        """Unmount; what was brought and written stays until the run is cleaned."""
        await self._end(step)

    async def close(self) -> None:
        """Unmount everything."""
        for name in list(self._open):
            await self._open.pop(name).aclose()

    def _mount(self, step: MountStep, reached: Reached, tell: Tell) -> tuple[contextlib.ExitStack, Mapping[str, Any]]:
        stored = reached.stored
        upper, folder = self._work.folder_of(step, stored), self._folder(step)
        with contextlib.ExitStack() as kept:
            view = kept.enter_context(contextlib.closing(PointView(reached.point)))
            make_overlay(upper, stored.label, view.entries)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            check_mountable(folder)

            def report(number: int, error: JbackupdError) -> None:
                path = os.fsdecode(view.entry(number).path)
                tell({"event": "damage", "point": stored.label, "path": path, "reason": str(error)})

            def hear(said: Mapping[str, Any]) -> None:
                kinds = {"filled": "not-whole" if said.get("problems") else "whole", "ended": "unmounted"}
                tell({"event": kinds[said["event"]], "point": stored.label})

            mounted = kept.enter_context(contextlib.closing(Mounted(
                upper, folder, PointContents(view, report), name=stored.label, writable=step.writable, fill=step.fill,
                hear=hear,
            )))
            sizes = [entry.size for entry in view.entries() if entry.type is EntryType.FILE]
            return kept.pop_all(), {
                "point": stored.label, "as_of": stored.header.begun_at.isoformat(), "files": len(sizes),
                "bytes": sum(sizes), "folder": folder, "upper": upper, "pid": mounted.pid,
                "incomplete": stored.header.incomplete,
            }

    async def _end(self, step: MountStep) -> None:
        kept = self._open.pop(step.id, None)
        if kept is not None:
            await kept.aclose()
        await asyncio.to_thread(clear_stale, self._folder(step))

    def _selector(self, step: MountStep) -> PointSelector:
        """Return the point that an earlier attempt mounted, else what the plan says."""
        earlier = self._work.record.steps[step.id].detail.get("point")
        return PointSelector.parse(earlier or f"{step.dataset}@{step.point}")

    def _folder(self, step: MountStep) -> str:
        return posixpath.join(self._work.root, f"{step.id}.mount")
