"""Containers of a run: told to podman, watched, and ended with all that they stored."""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from jbackupd.model.errors import JbackupdError, NotFoundError, RefusedError
from jbackupd.model.reasons import reason_of
from jbackupd.model.units import parse_size
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.containerorder import BindMount, Order
from jbackupd.service.deeds.podman import Podman
from jbackupd.service.deeds.work import Tell, Work, environment_of
from jbackupd.settings.steps import ServiceStep
from jbackupd.storage.beneath import open_beneath

SUFFIX = ".container"
OF_THE_HOST = ("JBACKUPD_FOLDER", "JBACKUPD_DATA")
"""Paths of this host mean nothing in a container."""


class Containers:
    """The containers of one run; they end with it, and with the daemon."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def start(self, step: ServiceStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Start a step's container, anew if it ran; return what to note."""
        await self._forget(step.id)
        self._work.premises.files.make_folder(self._work.folder)
        order = self._order(step)
        started = await settled(asyncio.to_thread(self._of(step.id).start, order, stopped))
        self._watching[step.id] = asyncio.create_task(
            self._watch(step.id, order, started.pid, tell), name=f"container {step.id}"
        )
        return {
            "container": order.name, "image": order.image or order.archive, "image_id": started.image,
            "pid": started.pid, "log": order.log, "memory_bytes": order.memory_bytes,
        }

    async def end(self, step: str) -> None:
        """End a step's container, also one of an earlier process; harmless without one.

        Raises:
            JbackupdError: It could not be ended, or its storage not be removed.
        """
        await self._forget(step)
        await settled(asyncio.to_thread(self._of(step).remove))

    async def close(self) -> None:
        """End those of this process."""
        for step in list(self._watching):
            await self.end(step)

    async def _forget(self, step: str) -> None:
        watching = self._watching.pop(step, None)
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})

    async def _watch(self, step: str, order: Order, pid: int, tell: Tell) -> None:
        """Wait until a container ends by itself, and tell people."""
        await _end_of(pid)
        try:
            code = await settled(asyncio.to_thread(self._of(step).exit_code, order.name))
        except JbackupdError as error:
            code = str(error)
        tell({"event": "ended", "code": code, "log": order.log})

    def _of(self, step: str) -> Podman:
        return Podman(posixpath.join(self._work.root, step + SUFFIX))

    def _order(self, step: ServiceStep) -> Order:
        container, beginning = step.container, self._work.record.beginning
        assert container is not None
        # A drill's control group would be made outside of its namespaces, and could outlive it; only root makes one.
        limits = beginning.mode != "rehearse" and os.geteuid() == 0
        told = {key: value for key, value in environment_of(self._work, step).items() if key not in OF_THE_HOST}
        archive = None
        if container.archive is not None and step.data is not None:
            archive = _beneath(self._work.restored(step.data).folder, container.archive)
        return Order(
            name=f"jbackupd-{beginning.run}-{step.id}",
            labels={"run": beginning.run, "plan": self._work.plan.id, "step": step.id},
            image=container.image, archive=archive, sha256=container.sha256, store=container.store,
            command=container.command, mounts=tuple(self._mounts(step)),
            environment={**told, **container.environment}, environment_file=private_file(container.environment_file),
            memory_bytes=None if container.memory is None or not limits else parse_size(container.memory),
            log=posixpath.join(self._work.root, f"{step.id}.log"),
        )

    def _mounts(self, step: ServiceStep) -> Iterator[BindMount]:
        assert step.container is not None
        for mount in step.container.mounts:
            source = _beneath(self._work.restored(mount.data).folder, mount.path)
            yield BindMount(source, mount.at, mount.writable)


def end_left_containers(folder: str) -> None:
    """End what an earlier process has left running of a run, by the run's folder. Blocks.

    Raises:
        JbackupdError: Something could not be ended.
    """
    for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
        if name.endswith(SUFFIX):
            Podman(os.path.join(folder, name)).remove()


async def _end_of(pid: int) -> None:
    """Wait until a process has ended, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _beneath(folder: str, path: str) -> str:
    """Return the whole path of something restored: a symlink of the point must not lead a mount out of it.

    Raises:
        NotFoundError: It is not there.
        RefusedError: A symlink is on the way, or it leads out.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_beneath(top, os.fsencode(posixpath.normpath(path)), os.O_PATH))
    except FileNotFoundError as error:
        raise NotFoundError("the point has no {path}", "see 'jbackupd ls'", path=path) from error
    except OSError as error:
        raise RefusedError(
            "{path} does not lie in the restored folder {folder} itself: {reason}", "name where the symlink leads",
            path=path, folder=folder, reason=reason_of(error),
        ) from error
    finally:
        os.close(top)
    return posixpath.normpath(posixpath.join(folder, path))


def private_file(path: str | None) -> str | None:
    """Return a file of variables that only its owner may read.

    Raises:
        NotFoundError, RefusedError: It is not there, or others may read it.
    """
    if path is None:
        return None
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise NotFoundError("unable to read {path}: {reason}", path=path, reason=reason_of(error)) from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise RefusedError("others may read {path}, which may hold secrets", "chmod 600 {path}", path=path)
    return path
