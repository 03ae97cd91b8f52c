"""Real daemons on loopback: processes of their own, watched over the control socket and NOTIFY_SOCKET."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jbackupd.model.errors import JbackupdError
from jbackupd.service.client import call

WAIT_SECONDS = 30.0


class Seen(Exception):  # noqa: N818 - no error: it ends a watch
    """What was waited for has come."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SiteProcess:
    """A site: configuration, state folder, and the daemon's process while it runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.state = self.folder / "state"
        self.config = self.folder / "jbackupd.toml"
        self.port = free_port()
        self.metrics_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._notify: socket.socket | None = None
        self.notified: list[str] = []
        self.environment = {**os.environ, "LANG": "C.UTF-8", "PYTHONDEVMODE": "0"}

    # Configuration.

    def configure(self, text: str, *, listen: bool = True) -> None:
        listening = f'listen = "127.0.0.1:{self.port}"\n' if listen else ""
        self.config.write_text(
            f'version = 1\n[site]\nid = "{self.name}"\nstate = "{self.state}"\n{listening}'
            f'[metrics]\nlisten = "127.0.0.1:{self.metrics_port}"\n{text}\n'
        )

    def command(self, *arguments: str, expect: int = 0) -> Any:
        """Run a command with --json and return its document."""
        done = subprocess.run(
            [sys.executable, "-m", "jbackupd", "-c", str(self.config), "--json", *arguments],
            capture_output=True, timeout=WAIT_SECONDS, env=self.environment, check=False,
        )
        assert done.returncode == expect, (done.returncode, done.stdout.decode(), done.stderr.decode())
        return json.loads(done.stdout) if done.stdout else {}

    # The process.

    def start(self, *, watchdog_usec: int | None = None) -> SiteProcess:
        """Start the daemon and wait for READY."""
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.folder / "notify")
        if os.path.exists(path):
            os.unlink(path)
        self._notify.bind(path)
        self._notify.settimeout(WAIT_SECONDS)
        environment = {**self.environment, "NOTIFY_SOCKET": path}
        if watchdog_usec is not None:
            environment["WATCHDOG_USEC"] = str(watchdog_usec)
        self.notified = []
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jbackupd", "-c", str(self.config), "run", "--log", "json"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )
        self.expect_notice("READY=1")
        return self

    def expect_notice(self, wanted: str) -> None:
        """Wait until systemd would have been told something; fails as soon as the process has ended."""
        assert self._notify is not None and self.process is not None
        self._notify.settimeout(0.5)
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                lines = self._notify.recv(65536).decode().splitlines()
            except TimeoutError:
                assert self.process.poll() is None, f"the daemon has ended:\n{self.log()}"
                continue
            self.notified += lines
            if wanted in lines:
                return
        raise AssertionError(f"no {wanted}: {self.notified}\n{self.log()}")

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        code = self.process.wait(WAIT_SECONDS)
        self.process = None
        if self._notify is not None:
            self._notify.close()
        return code

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    # What it says.

    def call(self, verb: str, watch: Callable[[dict[str, Any]], None] = lambda _: None, /, **arguments: Any) -> Any:
        return call(str(self.state), verb, watch, **arguments)

    def status(self) -> dict[str, Any]:
        return self.call("status")

    def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Watch the status until it is as wanted; the daemon tells of every change."""
        last: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT_SECONDS

        def watch(page: dict[str, Any]) -> None:
            last[:] = [page]
            if wanted(page):
                raise Seen
            assert time.monotonic() < deadline, json.dumps(page, indent=1) + self.log()

        try:
            self.call("status", watch, watch=True)
        except Seen:
            return last[0]
        except JbackupdError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error
        raise AssertionError("the daemon stopped telling")

    def metrics(self) -> dict[str, float]:
        """Scrape the page; a sample's name with its labels to its value."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}


def dataset(page: dict[str, Any], name: str = "imari/juki") -> dict[str, Any]:
    """Return a dataset's part of a status page."""
    return next(each for each in page["datasets"] if each["id"] == name)


def receipted(page: dict[str, Any], sequence: int, *, peers: int, name: str = "imari/juki") -> bool:
    """Tell whether so many peers have signed for a point or a later one."""
    copies = dataset(page, name)["copies"]
    return sum(copy["point"] is not None and copy["point"]["sequence"] >= sequence for copy in copies) == peers


class Town:
    """A municipality's site with data, and sites that hold for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "register.csv").write_text("number,name\n1,Saga\n")
        self.sites: list[SiteProcess] = []

    def site(self, name: str) -> SiteProcess:
        site = SiteProcess(self.folder, name)
        self.sites.append(site)
        return site

    def alone(self, *, schedule: str = "daily 02:00", more: str = "") -> SiteProcess:
        """A site without peers, with its vault."""
        saga = self.site("saga")
        saga.configure(self.own(schedule) + more)
        saga.command("vault", "init", "imari", "--shares", "2-of-3", "--share-dir", str(self.folder / "shares"))
        return saga

    def own(self, schedule: str, more: str = "") -> str:
        return (
            '[[tenant]]\nid = "imari"\n[[dataset]]\nid = "imari/juki"\n'
            f'source = {{ kind = "files", paths = ["{self.data}"] }}\nschedule = "{schedule}"\n{more}\n'
        )

    def three(self, *, schedule: str = "daily 02:00", limit: str | None = None) -> list[SiteProcess]:
        """Saga with data, Kyoto and Hokkaido to hold it; all know each other."""
        sites = [self.site(name) for name in ("saga", "kyoto", "hokkaido")]
        for site in sites:
            site.configure("")
            site.command("site", "init")
        saga = sites[0]
        for site in sites:
            text = self.own(schedule) if site is saga else ""
            others = [other for other in sites if other is not site]
            site.configure(text + "".join(self.peer(other, of=site, limit=limit) for other in others))
        saga.command("vault", "init", "imari", "--shares", "2-of-3", "--share-dir", str(self.folder / "shares"))
        return sites

    def peer(self, other: SiteProcess, *, of: SiteProcess, limit: str | None = None) -> str:
        holds = 'holds = ["imari"]\n' if other.name == "saga" else ""
        slow = f'limit = "{limit}"\n' if limit is not None and of.name == "saga" else ""
        return (
            f'[[peer]]\nid = "{other.name}"\naddress = "127.0.0.1:{other.port}"\n'
            f'card = "{other.state}/site/{other.name}.card"\n{holds}{slow}'
        )
