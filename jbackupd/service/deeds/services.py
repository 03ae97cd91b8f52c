"""Steps of kind service: a unit that systemd starts, or a program or container that runs as long as the run is open."""

from __future__ import annotations

import asyncio
import posixpath
import threading
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping
from typing import Any

from jbackupd.model.errors import NotFoundError, ScriptError
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.containers import Containers
from jbackupd.service.deeds.scripts import end_process, start_script
from jbackupd.service.deeds.work import Tell, Work, environment_of
from jbackupd.settings.steps import ServiceStep


class Serving:
    """Starts services; see `work.Deed`. Whether one answers is a check's question."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._processes: dict[str, Process] = {}
        self._containers = Containers(work)

    async def perform(self, step: ServiceStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Start it; again, it is started anew."""
        if step.unit is not None:
            await _systemctl("start", step.unit)
            return {"unit": step.unit}
        if step.container is not None:
            return await self._containers.start(step, stopped, tell)
        assert step.process is not None
        await self._end(step.id)
        self._work.premises.files.make_folder(self._work.folder)
        log = posixpath.join(self._work.root, f"{step.id}.log")
        process = await settled(start_script(step.process, environment_of(self._work, step), log=log))
        self._processes[step.id] = process
        return {"program": step.process.script, "pid": process.pid, "log": log}

    async def undo(self, step: ServiceStep) -> None:
        """Stop it."""
        if step.unit is not None:
            await _systemctl("stop", step.unit)
        if step.container is not None:
            await self._containers.end(step.id)
        await self._end(step.id)

    async def close(self) -> None:
        """End the programs and containers; units go on, systemd looks after them."""
        await self._containers.close()
        for name in list(self._processes):
            await self._end(name)

    async def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            await end_process(process)


async def _systemctl(verb: str, unit: str) -> None:
    """Let systemd do something to a unit, and wait until it is done.

    Raises:
        NotFoundError: There is no systemctl here.
        ScriptError: It refuses; its words are in the message.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", "--no-ask-password", verb, "--", unit, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE,
            stderr=STDOUT,
        )
    except OSError as error:
        raise NotFoundError(
            "unable to {verb} {unit}: there is no systemctl here", "run the plan on a host with systemd",
            verb=verb, unit=unit,
        ) from error
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await settled(process.wait())
    if process.returncode != 0:
        raise ScriptError(
            "unable to {verb} {unit}: {reason}",
            "see 'systemctl status {unit}'; the service's user needs leave to do it",
            verb=verb, unit=unit, reason=output.decode("utf-8", "replace").strip()[-500:],
        )
