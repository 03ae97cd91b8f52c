"""What systemd is told: ready, reloading, stopping, how it stands, and that work goes on.

Source: sd_notify(3). Without NOTIFY_SOCKET every call does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from jbackupd.runtime.offload import Offload


class Notifier:
    """Sends datagrams to the service manager; never blocks, never fails.

    Args:
        environment: Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked for.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_seconds = _watchdog_seconds(environment)

    def ready(self) -> None:
        """Say that the daemon serves, or serves again after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that a new configuration is being looked at; `ready` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        """Put off the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.connect(self._address)
            to.send(text.encode("utf-8", "backslashreplace"))


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's period, if it is meant for this process."""
    period = environment.get("WATCHDOG_USEC", "")
    owner = environment.get("WATCHDOG_PID", "")
    if not period.isdigit() or int(period) == 0 or (owner and owner != str(os.getpid())):
        return None
    return int(period) / 1e6


async def keep_alive(notifier: Notifier, offload: Offload, stalled: Callable[[list[str]], None]) -> None:
    """Put off the watchdog for as long as the loop turns and no worker has overstayed its patience.

    Args:
        notifier: Whom to tell.
        offload: Whose lanes are looked at.
        stalled: Told, each time, of the lanes that hold the watchdog back.
    """
    if notifier.watchdog_seconds is None:
        return
    while True:
        lanes = offload.stalled()
        if lanes:
            stalled(lanes)
        else:
            notifier.alive()
        # Three chances within a period: one late wake-up must not end a daemon that works.
        await asyncio.sleep(notifier.watchdog_seconds / 3)
