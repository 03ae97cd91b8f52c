"""Completing an overlay in the background: what is being used first, then the rest in the order of the point."""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jbackupd.restore.lazy import BLOCK_BYTES, Contents, LazyFile
from jbackupd.restore.lazyfiles import LazyFiles

SYNC_BYTES = 64 * 1024 * 1024
"""After so much it is synced: a crash costs no more, and who syncs meanwhile waits for no more."""
SYNC_STEPS = 500
"""Small files that stay open until then."""
GIVE_WAY_SECONDS = 0.05
"""So long the fill waits at most for those who need something now: it must come to its end on a busy server too."""


class FillOrder:
    """Decides what is fetched next; does nothing itself.

    Args:
        numbers: The files that lack something, in the order in which they are filled.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._begins: OrderedDict[int, tuple[int, bool]] = OrderedDict((number, (0, False)) for number in numbers)
        """Where to go on in each file, and whether what lies before was passed over."""

    def touch(self, number: int, block: int) -> None:
        """Let a file be next, from a block on: somebody reads there, and will read on."""
        if number in self._begins:
            self._begins[number] = (block, block > 0)
            self._begins.move_to_end(number, last=False)

    def next(self) -> tuple[int, int] | None:
        """Return the file and the block to go on from; None at the end."""
        for number, (begin, _) in self._begins.items():
            return number, begin
        return None

    def drop(self, number: int) -> None:
        """Leave a file out."""
        self._begins.pop(number, None)

    def done(self, number: int, begin: int, went_on_to: int | None) -> None:
        """Note what came of a step.

        Args:
            begin: Where it began.
            went_on_to: The block to go on from; None if nothing was missing from there on.
        """
        if number not in self._begins or self._begins[number][0] != begin:
            return  # touched meanwhile
        _, passed_over = self._begins[number]
        if went_on_to is not None:
            self._begins[number] = (went_on_to, passed_over)
        elif passed_over:
            self._begins[number] = (0, False)
        else:
            del self._begins[number]


@dataclass
class FillResult:
    """How far a fill came.

    Attributes:
        missing_bytes: Still to be fetched, in whole blocks; whoever writes over some of it spares its fetching.
        problems: Files that could not be fetched whole, each with the first reason.
    """

    missing_bytes: int = 0
    problems: dict[int, OSError] = field(default_factory=dict)


class Fill:
    """A thread that completes an overlay. It is the overlay's `Contents`, so that it can give way to its users.

    Args:
        contents: Where everything comes from.
        ended: Called on the thread when there is nothing left to do; not after `stop`.
    """

    def __init__(self, contents: Contents, ended: Callable[[FillResult], None] = lambda _: None) -> None:
        self._contents = contents
        self._ended = ended
        self._order = FillOrder(())
        self._changed = threading.Condition()
        self._wanted = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fill", daemon=True)
        self._files: LazyFiles | None = None
        self.result = FillResult()
        self._unsynced: list[LazyFile] = []
        self._unsynced_bytes = 0

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return bytes of the point; who uses the overlay comes before the fill."""
        if threading.current_thread() is self._thread:
            with self._changed:
                self._changed.wait_for(lambda: not self._wanted, GIVE_WAY_SECONDS)
            return self._contents.read(number, offset, length)
        with self._changed:
            self._wanted += 1
        try:
            return self._contents.read(number, offset, length)
        finally:
            with self._changed:
                self._wanted -= 1
                self._changed.notify_all()

    def touched(self, number: int, offset: int) -> None:
        """Hear that somebody reads in a file."""
        with self._changed:
            self._order.touch(number, offset // BLOCK_BYTES)

    def start(self, files: LazyFiles) -> None:
        """Begin to fill these."""
        with self._changed:
            self._order = FillOrder(files.numbers())
        self._files = files
        self.result.missing_bytes = files.missing_bytes()
        self._thread.start()

    def stop(self) -> None:
        """End after the present step; returns when the thread has ended. May be called twice, and before `start`."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the fill; tell whether it was reached."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        assert self._files is not None
        while not self._stopped.is_set():
            with self._changed:
                step = self._order.next()
            if step is None:
                break
            self._step(self._files, *step)
        self._sync(self._files)
        if not self._stopped.is_set() or self.result.problems:
            self.result.missing_bytes = self._files.missing_bytes()
            self._ended(self.result)

    def _step(self, files: LazyFiles, number: int, begin: int) -> None:
        """Fetch about a megabyte."""
        file = files.acquire(number)
        went_on_to = None
        if file is not None:
            self._unsynced.append(file)
            before = file.missing_bytes
            try:
                went_on_to = file.fill(begin)
            except OSError as error:
                self._fail(number, error)
                return
            self._unsynced_bytes += before - file.missing_bytes
            if self._unsynced_bytes >= SYNC_BYTES or len(self._unsynced) >= SYNC_STEPS:
                self._sync(files)
        with self._changed:
            self._order.done(number, begin, went_on_to)

    def _sync(self, files: LazyFiles) -> None:
        """Make durable what was fetched; files that are complete are done with."""
        waiting, self._unsynced, self._unsynced_bytes = self._unsynced, [], 0
        distinct = {file.number: file for file in waiting}
        try:
            files.sync_together(list(distinct.values()))
        except OSError as error:
            for number in distinct:
                self._fail(number, error)
        finally:
            for file in waiting:
                files.release(file)

    def _fail(self, number: int, error: OSError) -> None:
        """Leave a file out. The rest of it may be sound: whoever reads there fetches it then."""
        self.result.problems[number] = error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._stopped.set()
        with self._changed:
            self._order.drop(number)
