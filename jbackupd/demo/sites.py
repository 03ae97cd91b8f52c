"""Sites of the demo: real daemons on loopback, each a process of its own with a state folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.ids import SiteId
from jbackupd.model.texts import language
from jbackupd.service.client import call
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import load_or_create

WAIT_SECONDS = 120.0
"""For anything that a site is to do; far more than it takes, so that only a failure runs into it."""
STOP_SECONDS = 20.0


@dataclass
class DemoSite:
    """One site.

    Attributes:
        folder: Holds its configuration, state folder and log.
        port: Where it listens for peers, on loopback.
    """

    name: str
    folder: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    _notices: socket.socket | None = field(default=None, repr=False)

    @property
    def state(self) -> str:
        """The state folder."""
        return os.path.join(self.folder, "state")

    @property
    def config(self) -> str:
        """The configuration file."""
        return os.path.join(self.folder, "jbackupd.toml")

    @property
    def log(self) -> str:
        """Where the daemon writes what it does."""
        return os.path.join(self.folder, "log")

    def found(self) -> str:
        """Make the site's identity; return its card's text."""
        os.makedirs(self.state, mode=0o700)
        files = PosixFiles(self.state)
        load_or_create(files, SiteId(self.name))
        return files.read(f"site/{self.name}.card").decode()

    def configure(self, text: str) -> None:
        """Write the configuration; the [site] table comes by itself."""
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'version = 1\nlanguage = "{language()}"\n[site]\nid = "{self.name}"\nstate = "state"\n'
                f'listen = "127.0.0.1:{self.port}"\n\n{text}'
            )

    def start(self) -> None:
        """Start the daemon and wait until it is ready.

        Raises:
            TryLaterError: It has ended, or is not ready in time.
        """
        path = os.path.join(self.folder, "notify")
        if os.path.exists(path):
            os.unlink(path)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(path)
        self._notices.settimeout(0.5)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jbackupd", "-c", self.config, "run", "--log", "text"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": path},
                # Ctrl-C is for the demo alone: it stops its sites in order.
                start_new_session=True,
            )
        self._wait_ready()

    def kill(self) -> None:
        """Kill the daemon as a power cut does."""
        if self.process is not None:
            self.process.kill()
        self._gone()

    def stop(self) -> None:
        """Let the daemon settle and end; harmless if it does not run."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._gone()

    def ask(self, verb: str, watch: Callable[[dict[str, Any]], None] = lambda _: None, /, **arguments: Any) -> (
        dict[str, Any]
    ):
        """Ask the daemon."""
        return call(self.state, verb, watch, **arguments)

    def until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Watch the daemon's status until it is as wanted; return it.

        Raises:
            TryLaterError: It did not come to that in time.
        """
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT_SECONDS

        def watch(page: dict[str, Any]) -> None:
            seen[:] = [page]
            if wanted(page):
                raise _EnoughError
            if time.monotonic() > deadline:
                raise self._failed(what)

        try:
            self.ask("status", watch, watch=True)
        except _EnoughError:
            return seen[0]
        raise self._failed(what)

    def _wait_ready(self) -> None:
        assert self._notices is not None and self.process is not None
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if b"READY=1" in self._notices.recv(4096).splitlines():
                    return
            except TimeoutError:
                continue
        raise self._failed("READY")

    def _failed(self, what: str) -> JbackupdError:
        return TryLaterError(
            "the site {site} did not come to this: {what}", "see its log: {log}", site=self.name, what=what,
            log=self.log,
        )

    def _gone(self) -> None:
        if self.process is not None:
            self.process.wait()
            self.process = None
        if self._notices is not None:
            self._notices.close()
            self._notices = None


class _EnoughError(Exception):
    """What was waited for has come."""


def make_sites(folder: str, names: Sequence[str]) -> dict[str, DemoSite]:
    """Make folders and free ports for sites."""
    probes = [socket.socket() for _ in names]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
    return {
        name: DemoSite(name, os.path.join(folder, name), port) for name, port in zip(names, ports, strict=True)
    }


def peer_tables(of: DemoSite, sites: Mapping[str, DemoSite], cards: str, *, holds: Mapping[str, str]) -> str:
    """Return the [[peer]] tables of a site.

    Args:
        cards: The folder of the cards.
        holds: For each home site the tenant that others hold for it.
    """
    text = ""
    for other in sites.values():
        if other is not of:
            text += f'[[peer]]\nid = "{other.name}"\naddress = "127.0.0.1:{other.port}"\n'
            text += f'card = "{cards}/{other.name}.card"\n'
            text += f'holds = ["{holds[other.name]}"]\n' if other.name in holds else ""
    return text
