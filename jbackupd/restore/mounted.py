"""An overlay mounted by a process of its own, which asks this one for what is missing."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jbackupd.model.errors import JbackupdError, StorageError
from jbackupd.restore.fuse import clear_stale
from jbackupd.restore.lazy import Contents
from jbackupd.restore.mounting import answer

SOCKETS = 4
"""Questions that are answered at once: the fill's, and three of those who use the mount."""
END_SECONDS = 30.0
"""How long the process may take to make everything durable."""


class Mounted:
    """One mounted overlay. Blocks; close it after use.

    Args:
        upper: As `make_overlay` left it.
        folder: To mount on; empty.
        contents: Where everything comes from.
        name: Shown in the list of mounts.
        writable: Whether anything may be changed.
        fill: Whether the rest is brought in the background.
        hear: Told the events of the process, on a thread: "filled" with missing_bytes and problems; "ended" if it ended
            before it was closed.

    Raises:
        StorageError: It cannot be mounted.
    """

    def __init__(
        self, upper: str, folder: str, contents: Contents, *, name: str, writable: bool, fill: bool,
        hear: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.is_filled = False
        self._hear = hear
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._reason = ""
        ours, theirs = zip(*(socket.socketpair() for _ in range(SOCKETS)), strict=True)
        self._sockets: tuple[socket.socket, ...] = ours
        numbers = [one.fileno() for one in theirs]
        call = [
            sys.executable, "-m", "jbackupd.restore.mounting", upper, folder, name, "rw" if writable else "ro",
            "fill" if fill else "lazy", *map(str, numbers),
        ]
        self._process = subprocess.Popen(
            call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=numbers, start_new_session=True, cwd="/",
        )
        for one in theirs:
            one.close()
        for one in ours:
            threading.Thread(target=answer, args=(one, contents), name="mount", daemon=True).start()
        threading.Thread(target=self._listen, name="mount", daemon=True).start()
        self._ready.wait()
        if self._process.poll() is not None or self._reason:
            self.close()
            raise StorageError(
                "unable to mount on {folder}: {reason}", "see that fuse3 is installed and allowed here", folder=folder,
                reason=self._reason or "the process ended",
            )

    @property
    def pid(self) -> int:
        """The process that answers for the folder."""
        return self._process.pid

    def close(self) -> None:
        """Make everything durable, unmount, and let the process end. May be called twice."""
        self._closing.set()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for one in self._sockets:
            one.close()
        with contextlib.suppress(JbackupdError):
            clear_stale(self.folder)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                if said["event"] == "failed":
                    self._reason = said["reason"]
                if said["event"] == "filled":
                    self.is_filled = not (said["missing_bytes"] or said["problems"])
                    self._hear(said)
                if said["event"] == "ready":
                    self._ready.set()
        code = self._process.wait()
        if self._ready.is_set() and not self._closing.is_set():
            self._hear({"event": "ended", "code": code})
        self._ready.set()


