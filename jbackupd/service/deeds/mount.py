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
from jbackupd.restore.fuse import check_mountable, clear_stale
from jbackupd.restore.lazyfiles import TREE
from jbackupd.restore.mounted import Mounted
from jbackupd.restore.overlay import is_whole, make_overlay
from jbackupd.restore.pointcontents import PointContents
from jbackupd.restore.view import PointView
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.work import Tell, Work
from jbackupd.service.leases import reading
from jbackupd.settings.steps import MountStep


class Mounting:
    """Mounts points; see `work.Deed`. A mount ends with the daemon, what it has brought and what was written stays."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._open: dict[str, contextlib.ExitStack] = {}

    async def perform(self, step: MountStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Mount; a point that was brought wholly by an earlier mount is only named, and needs no keys."""
        await settled(asyncio.to_thread(self._unmount, step))
        earlier = self._work.record.steps[step.id].detail
        if "upper" in earlier and await asyncio.to_thread(is_whole, earlier["upper"]):
            return {**earlier, "folder": posixpath.join(earlier["upper"], TREE), "whole": True}
        said = await self._work.look_elsewhere(step.dataset, tell)
        return {**await settled(asyncio.to_thread(self._mount, step, tell)), **said}

    async def undo(self, step: MountStep) -> None:
        """Unmount; what was brought and written stays until the run is cleaned."""
        await settled(asyncio.to_thread(self._unmount, step))

    async def close(self) -> None:
        """Unmount everything."""
        for name in list(self._open):
            await settled(asyncio.to_thread(self._open.pop(name).close))

    def _mount(self, step: MountStep, tell: Tell) -> Mapping[str, Any]:
        work = self._work
        with contextlib.ExitStack() as kept:
            kept.enter_context(reading(work.premises.files.root, work.plan.tenant))
            vault, damaged = work.open_vault()
            stored = work.find(vault, step.dataset, step.point)
            upper = work.folder_of(step, stored)
            opened = vault.open_point(stored)
            view = kept.enter_context(contextlib.closing(PointView(opened)))
            make_overlay(upper, stored.label, view.entries)
            folder = self._folder(step)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            check_mountable(folder)

            def report(number: int, error: JbackupdError) -> None:
                path = os.fsdecode(view.entry(number).path)
                tell({"event": "damage", "point": stored.label, "path": path, "reason": str(error)})

            def hear(said: Mapping[str, Any]) -> None:
                tell({**said, "event": f"mount-{said['event']}", "point": stored.label})

            mounted = kept.enter_context(contextlib.closing(Mounted(
                upper, folder, PointContents(view, report), name=stored.label, writable=step.writable, fill=step.fill,
                hear=hear,
            )))
            self._open[step.id] = kept.pop_all()
        statistics = opened.body.statistics
        return {
            "point": stored.label, "as_of": stored.header.begun_at.isoformat(), "files": statistics.files,
            "bytes": statistics.source_bytes, "folder": folder, "upper": upper, "pid": mounted.pid,
            "incomplete": stored.header.incomplete, "damaged_indexes": damaged,
        }

    def _unmount(self, step: MountStep) -> None:
        kept = self._open.pop(step.id, None)
        if kept is not None:
            kept.close()
        clear_stale(self._folder(step))

    def _folder(self, step: MountStep) -> str:
        return posixpath.join(self._work.root, f"{step.id}.mount")
