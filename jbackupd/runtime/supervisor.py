"""Tasks with an owner: started by name, started again after a failure, stopped and waited for.

An error of our tree or of the world around us is reported and the task begins again after a pause that grows; a broken
invariant ends everything, since to go on could do harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from jbackupd.model.errors import InvariantError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from the first to the longest, with jitter so that sites do not act in step.

    Attributes:
        first_seconds: After the first failure.
        longest_seconds: Never longer, jitter apart.
        jitter: The part of a pause that chance decides; 0.25 means between 0.75 and 1.25 of it.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 300.0
    jitter: float = 0.25

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after a number of failures in a row, 1 or more."""
        pause = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 60))
        return pause * (1 + self.jitter * (2 * chance() - 1))


ReportFailure = Callable[[str, Exception, float], None]
"""Called with a task's name, what it failed with, and the seconds until it begins again."""

LIVELY_SECONDS = 60.0
"""A task that held out for this long has recovered: its next failure counts as the first again."""


class Supervisor:
    """Owns tasks by name. An async context manager: leaving it stops them all.

    Args:
        report: Told of every failure.
    """

    def __init__(self, report: ReportFailure) -> None:
        self._report = report
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._broken: asyncio.Future[None] | None = None

    def start(self, name: str, work: Callable[[], Awaitable[None]], backoff: Backoff | None = None) -> None:
        """Start a task that begins again when it fails; one that returns is finished.

        Args:
            name: Not that of a running task.
            work: Makes the coroutine anew for each beginning.
            backoff: How long to wait after failures.
        """
        if name in self._tasks:
            raise InvariantError(f"a task named {name} is running already")
        task = asyncio.get_running_loop().create_task(self._keep(name, work, backoff or Backoff()), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    async def stop(self, name: str) -> None:
        """Cancel a task and wait until it has ended; harmless if there is none."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    def names(self) -> list[str]:
        """Return the names of the running tasks, in the order they were started."""
        return list(self._tasks)

    async def watch(self) -> None:
        """Wait for ever, or raise the broken invariant that a task has met."""
        if self._broken is None:
            self._broken = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._broken)

    async def close(self) -> None:
        """Stop all tasks, the last started first."""
        for name in reversed(self.names()):
            await self.stop(name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]], backoff: Backoff) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            begun = loop.time()
            try:
                return await work()
            except AssertionError:
                raise
            except Exception as error:
                failures = 1 if loop.time() - begun > LIVELY_SECONDS else failures + 1
                pause = backoff.pause(failures)
                self._report(name, error, pause)
                await asyncio.sleep(pause)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if task.cancelled() or task.exception() is None:
            return
        if self._broken is None:
            self._broken = asyncio.get_running_loop().create_future()
        if not self._broken.done():
            error = task.exception()
            assert error is not None
            self._broken.set_exception(error)
