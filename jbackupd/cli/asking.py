"""Who answers a command about losses and recoveries: the daemon, or this process itself with --local."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from jbackupd.cli.output import Frame
from jbackupd.cli.running import Running, running

Watch = Callable[[dict[str, Any]], None]


class Caller(Protocol):
    """Answers verbs; see `service.client.call`."""

    def __call__(self, verb: str, watch: Watch = lambda _: None, /, **arguments: Any) -> dict[str, Any]:
        """Return the result of a verb; events go to `watch`."""
        ...

    def aside(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        """Return the result of a verb while another call is under way; from another thread."""
        ...

    def serve(self) -> None:
        """Let desks that this process has opened answer until it is told to end."""
        ...


class _Daemon:
    def __init__(self, running: Running) -> None:
        self._running = running

    def __call__(self, verb: str, watch: Watch = lambda _: None, /, **arguments: Any) -> dict[str, Any]:
        answer = self._running.call(verb, watch, **arguments)
        self._running.warn()
        return answer

    def aside(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        """Ask on a connection of its own."""
        return self._running.call(verb, **arguments)

    def serve(self) -> None:
        """Do nothing: the daemon goes on by itself."""


@contextlib.contextmanager
def answering(frame: Frame, *, local: bool) -> Iterator[Caller]:
    """Give who answers; with --local the state folder is locked meanwhile.

    Raises:
        NotFoundError: No daemon is running.
        BusyError: With --local: one is.
    """
    if not local:
        yield _Daemon(running(frame))
        return
    from jbackupd.service.alone import alone

    with alone(frame.settings()) as here:
        yield here
