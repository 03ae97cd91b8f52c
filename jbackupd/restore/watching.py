"""A restore that is watched while it works: how many bytes so far, and an end between two pieces of a long file."""

from __future__ import annotations

import threading

from jbackupd.model.errors import RefusedError


class Watch:
    """Counts what is read of a point, and stops those who read; safe for several threads."""

    def __init__(self) -> None:
        self._ended = False
        self._lock = threading.Lock()
        self.bytes_read = 0

    def end(self) -> None:
        """Let every thread that reads fail at its next piece."""
        self._ended = True

    def note(self, length: int) -> None:
        """Count a piece that was read.

        Raises:
            RefusedError: The restore was stopped.
        """
        if self._ended:
            raise was_stopped()
        with self._lock:
            self.bytes_read += length


def was_stopped() -> RefusedError:
    """Return the error of a restore that was ended before its end."""
    return RefusedError("the restore was stopped", "run it again with --resume")
