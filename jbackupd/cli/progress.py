"""How far long work is: a moving bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from jbackupd.model.texts import _
from jbackupd.model.units import show_duration, show_rate, show_size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PLAIN_INTERVAL_SECONDS = 10.0
"""Lines in a log are for those who look later; six a minute are enough."""


class Progress:
    """Shows bytes, rate and, where the end is known, the time that is left. Writes to stderr only.

    Use it as a context manager; `update` may be called as often as there is news, from any thread.

    Args:
        title: What is being done.
        quiet: Show nothing.
        stream: Where to show it.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self, title: str, *, quiet: bool = False, stream: TextIO | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._monotonic = monotonic
        self._begun = self._shown = monotonic()
        self._bar = _bar(self._stream) if self._stream.isatty() and not quiet else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(self._title, total=None, files="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None = None, files: int | None = None) -> None:
        """Note how far the work is.

        Args:
            done: Bytes so far.
            total: Bytes in all, if known.
            files: Files so far.
        """
        if self._quiet:
            return
        counted = _("{files} files").format(files=files) if files is not None else ""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, files=counted)
            return
        now = self._monotonic()
        if now - self._shown >= PLAIN_INTERVAL_SECONDS:
            self._shown = now
            self._stream.write(self._line(done, total, counted, now - self._begun) + "\n")
            self._stream.flush()

    def _line(self, done: int, total: int | None, counted: str, seconds: float) -> str:
        rate = done / seconds
        parts = [f"{self._title}: {show_size(done)}"]
        if total:
            parts[0] += f" / {show_size(total)} ({min(done, total) * 100 // total} %)"
        parts += [part for part in (counted, show_rate(rate)) if part]
        if total and rate:
            parts.append(_("{duration} left").format(duration=show_duration(max(total - done, 0) / rate)))
        return ", ".join(parts)


def _bar(stream: TextIO) -> RichProgress:
    # rich takes 60 ms to import: only who looks at a bar pays for it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TextColumn("{task.fields[files]}"), TimeRemainingColumn(),
        console=Console(file=stream), transient=True,
    )
