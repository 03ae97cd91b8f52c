"""Blocking work in threads: named lanes with bounded queues, a whole piece of work at a time.

A hop to a thread costs about 0.1 ms, so a piece is a file, a pack or a batch, never one read. Work that has begun is
settled before a cancel is passed on: what writes is never left running behind the back of whoever cancelled it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import TryLaterError

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""A pack on a bad disk takes seconds; who needs longer than a quarter of an hour has to say so, or to `beat`."""
WAITING_MAX = 256


class _Beat(threading.local):
    """The piece of work that the current thread is doing."""

    piece: _Piece | None = None


_current = _Beat()


class _Piece:
    """One piece of work that a thread has begun."""

    __slots__ = ("at", "patience")

    def __init__(self, at: float, patience: float) -> None:
        self.at = at
        self.patience = patience


class Lane:
    """Threads that do one sort of work.

    Args:
        name: For thread names and messages.
        threads: How many work at once.
        waiting_max: How many pieces may wait; further callers wait in line without a place in the queue.
        clock: For tests.
    """

    def __init__(
        self, name: str, threads: int, *, waiting_max: int = WAITING_MAX, clock: Clock | None = None
    ) -> None:
        self.name = name
        self._clock = clock or SystemClock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"jbackupd-{name}")
        self._places = asyncio.Semaphore(threads + waiting_max)
        self._begun: set[_Piece] = set()
        self._open: set[Future[Any]] = set()
        self._closed = False

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T:
        """Return what the function returns, or raise what it raises; called in a thread of this lane."""
        return await self.run(function, *args)

    async def run(self, function: Callable[..., T], /, *args: Any, patience: float = PATIENCE_SECONDS) -> T:
        """Do a piece of work.

        Args:
            function: Blocking; called with the arguments in a thread.
            *args: For the function.
            patience: After this many seconds without a `beat` the piece counts as stalled.

        Raises:
            TryLaterError: The lane is closed.
        """
        async with self._places:
            if self._closed:
                raise _stopping()
            work = self._pool.submit(self._work, patience, function, args)
            self._open.add(work)
            work.add_done_callback(self._open.discard)
            try:
                return await settled(asyncio.wrap_future(work), work.cancel)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and not task.cancelling():
                    # Not the caller was cancelled but the piece, by `close`.
                    raise _stopping() from None
                raise

    def stalled(self) -> bool:
        """Tell whether a piece of work has overstayed its patience."""
        now = self._clock.monotonic()
        return any(now - piece.at > piece.patience for piece in list(self._begun))

    async def close(self) -> None:
        """Let what has begun end, drop what waits, stop the threads; harmless twice."""
        self._closed = True
        for work in list(self._open):
            work.cancel()
        while self._open:
            await asyncio.wait([asyncio.wrap_future(work) for work in list(self._open)])
            # Let the callbacks that empty the set run.
            await asyncio.sleep(0)
        self._pool.shutdown(wait=True)

    def _work(self, patience: float, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self._counted(_Piece(self._clock.monotonic(), patience)):
            return function(*args)

    @contextlib.contextmanager
    def _counted(self, piece: _Piece) -> Iterator[None]:
        self._begun.add(piece)
        _current.piece = piece
        try:
            yield
        finally:
            _current.piece = None
            self._begun.discard(piece)


def _stopping() -> TryLaterError:
    return TryLaterError("unable to begin further work: the daemon is stopping", "start it again")


def beat(clock: Clock | None = None) -> None:
    """Say, from within a long piece of work, that it makes progress; of no effect in other threads."""
    if _current.piece is not None:
        _current.piece.at = (clock or _SYSTEM).monotonic()


_SYSTEM = SystemClock()


async def settled(work: Awaitable[T], withdraw: Callable[[], bool] = lambda: False) -> T:
    """Wait for work that must not be left behind: a cancel is passed on only after the work has ended.

    Args:
        work: What is waited for.
        withdraw: Called at a cancel; true when the work had not begun and never will.
    """
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
            if withdraw():
                break
        except Exception:
            break
    if cancelled is not None:
        if future.done() and not future.cancelled():
            # Whatever it ended with has nobody who would hear it any more.
            future.exception()
        raise cancelled
    return future.result()


class Offload:
    """The daemon's lanes. An async context manager: leaving it settles and closes them.

    Attributes:
        disk: Objects and files of vaults.
        cpu: Signatures, digests, rendering.
        db: SQLite; one thread.
        jobs: Backups and restores, which take minutes to hours each.
    """

    def __init__(self, *, jobs: int = 4, clock: Clock | None = None) -> None:
        self.disk = Lane("disk", 4, clock=clock)
        self.cpu = Lane("cpu", 2, clock=clock)
        self.db = Lane("db", 1, clock=clock)
        self.jobs = Lane("jobs", jobs, clock=clock)
        self.lanes = (self.jobs, self.disk, self.db, self.cpu)

    def stalled(self) -> list[str]:
        """Return the names of lanes in which a piece of work has overstayed its patience."""
        return [lane.name for lane in self.lanes if lane.stalled()]

    async def close(self) -> None:
        """Settle and close all lanes."""
        for lane in self.lanes:
            await lane.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await settled(self.close())
