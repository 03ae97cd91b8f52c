"""Steps of kind postgres: a PostgreSQL server over a restored or mounted base backup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import threading
import time
from collections.abc import Mapping
from typing import Any

from jbackupd.model.errors import NotFoundError, TryLaterError
from jbackupd.restore.access import account
from jbackupd.restore.cluster import Cluster, find_programs
from jbackupd.restore.overlay import is_filled
from jbackupd.restore.postmaster import Postmaster, stop_left_over
from jbackupd.runtime.offload import settled
from jbackupd.service.deeds.work import Tell, Work
from jbackupd.settings.steps import PostgresStep


class Databases:
    """Runs servers; see `work.Deed`. They end with the daemon: a run that goes on starts them again."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._servers: dict[str, Postmaster] = {}

    async def perform(self, step: PostgresStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Start a server and wait until it has answered a query."""
        return await settled(asyncio.to_thread(self._start, step, stopped))

    async def undo(self, step: PostgresStep) -> None:
        """Stop the server; what it wrote stays in the run's folder."""
        await settled(asyncio.to_thread(self._stop, step))

    async def close(self) -> None:
        """Stop all servers."""
        for server in self._servers.values():
            await settled(asyncio.to_thread(server.stop))

    def query(self, step: str, sql: str) -> str:
        """Return what one statement answers at a server that this process runs. Blocks.

        Args:
            step: The postgres step's id.
            sql: One statement.

        Returns:
            Rows on lines, columns parted by "|"; one value is that value.

        Raises:
            ScriptError: The server refuses it; its words are in the message.
            TryLaterError: No server of that step runs, or it does not answer.
        """
        server = self._servers.get(step)
        if server is None:
            raise TryLaterError("the PostgreSQL server of step {step} does not run", step=step)
        plan_step = self._work.plan.step(step)
        assert isinstance(plan_step, PostgresStep)
        return server.ask(sql, plan_step.database)

    def _start(self, step: PostgresStep, stopped: threading.Event) -> Mapping[str, Any]:
        begun = time.monotonic()
        if (running := self._servers.pop(step.id, None)) is not None:
            running.stop()
        cluster = self._cluster(step)
        server = Postmaster(cluster)
        before = time.monotonic() - begun
        seconds = before + server.start(stopped)
        self._servers[step.id] = server
        return {
            "listen": str(step.listen), "pid": server.pid, "log": server.log, "folder": cluster.data,
            "programs": cluster.programs, "first_answer_seconds": round(seconds, 3),
            "data_whole": self._is_whole(step.data),
            "recovering": server.ask("SELECT pg_is_in_recovery()") == "t",
        }

    def _is_whole(self, step: str) -> bool:
        """Tell whether all of a step's data is here, or is still being brought."""
        upper = self._work.record.steps[step].detail.get("upper")
        return upper is None or is_filled(upper)

    def _stop(self, step: PostgresStep) -> None:
        server = self._servers.pop(step.id, None)
        if server is not None:
            server.stop()
        else:
            # The mount below it may have gone with an earlier process: then nothing runs there.
            with contextlib.suppress(NotFoundError):
                stop_left_over(self._noted(step) or self._cluster(step))

    def _noted(self, step: PostgresStep) -> Cluster | None:
        """Return the cluster as an earlier process has noted it."""
        detail = self._work.record.steps[step.id].detail
        if "programs" not in detail:
            return None
        return Cluster(
            detail["folder"], posixpath.dirname(detail["log"]), detail["programs"], step.listen, step.user, step.promote
        )

    def _cluster(self, step: PostgresStep) -> Cluster:
        if "folder" not in self._work.record.steps[step.data].detail:
            raise NotFoundError("the step {step} has brought no folder", step=step.data)
        brought = self._work.restored(step.data).folder
        data = posixpath.normpath(posixpath.join(brought, step.directory))
        if os.geteuid() == 0:
            account(step.user)
        return Cluster(
            data, posixpath.join(self._work.root, f"{step.id}.postgres"), find_programs(data, step.programs),
            step.listen, step.user, step.promote,
            None if step.wal is None else posixpath.normpath(posixpath.join(brought, step.wal)),
        )
