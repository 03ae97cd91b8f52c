"""A PostgreSQL server as a child of this process: started, asked, stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from jbackupd.model.errors import BusyError, ScriptError, TryLaterError
from jbackupd.restore.access import give, let_in
from jbackupd.restore.cluster import (
    Cluster,
    as_user,
    check_cluster,
    command_line,
    read_control,
    shape,
    write_configuration,
)

AGAIN_SECONDS = 0.05
"""Between two questions to a server that is coming up: a tenth of the time that a small one needs."""
ASK_SECONDS = 30.0
STOP_SECONDS = 60.0
"""How long a server may take to write down what it has in memory, before it is ended without."""
LOG_BYTES = 2000
SOCKET_FOLDER_BYTES_MAX = 107 - len("/.s.PGSQL.65535")
"""Source: unix(7), the length of sun_path."""


class Postmaster:
    """One server. `start` it once.

    Args:
        cluster: Prepared or not; `start` prepares it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = ""

    @property
    def log(self) -> str:
        """The server's log."""
        return os.path.join(self.cluster.private, "server.log")

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, stopped: threading.Event) -> float:
        """Prepare the cluster, start the server, and wait until it answers, and takes writes if it is to. Blocks.

        Args:
            stopped: Ends the waiting.

        Returns:
            Seconds from the call to the first answer to a query.

        Raises:
            ScriptError: The server ended; what it said is in the message.
            TryLaterError: The waiting was ended.
            NotFoundError, RefusedError, StorageError: As the cluster's preparation.
        """
        begun = time.monotonic()
        self._prepare()
        self._sockets = _socket_folder(self.cluster)
        # With its own session, so that the terminal's Ctrl-C is ours alone.
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command_line(self.cluster, self._sockets), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd="/",
            )
        try:
            self._await("SELECT 1", "1", stopped)
            answered = time.monotonic()
            if self.cluster.promote:
                # While it replays archived WAL it answers already, and refuses writes.
                self._await("SELECT pg_is_in_recovery()", "f", stopped)
        except BaseException:
            self.stop()
            raise
        return answered - begun

    def ask(self, sql: str, database: str = "postgres") -> str:
        """Return what one statement answers: rows on lines, columns parted by "|". Blocks.

        Raises:
            ScriptError: The server refuses it; its words are in the message.
            TryLaterError: The server does not run, or not yet.
        """
        if self.pid is None:
            raise TryLaterError("the PostgreSQL server does not run", "see its log {log}", log=self.log)
        try:
            done = subprocess.run(
                [*self.session(database), "-c", sql], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                cwd="/", timeout=ASK_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise TryLaterError("PostgreSQL did not answer in {seconds} s", seconds=ASK_SECONDS) from error
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        # psql: 2 is a connection that failed.
        if done.returncode == 2:
            raise TryLaterError("PostgreSQL does not answer yet: {reason}", reason=said)
        if done.returncode:
            raise ScriptError("PostgreSQL refuses the statement: {reason}", reason=said)
        return done.stdout.decode("utf-8", "replace").removesuffix("\n")

    def session(self, database: str = "postgres") -> list[str]:
        """Return how psql is called for a session with the server."""
        return as_user(self.cluster, [
            self.cluster.program("psql"), "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self._sockets,
            "-p", str(self.cluster.listen.port), "-U", self.cluster.user, "-d", database,
        ])

    def stop(self) -> None:
        """Stop the server, cleanly if it can; harmless if it does not run. Blocks."""
        if self.pid is not None and self._process is not None:
            # Fast: sessions end, what is in memory is written. Then immediate: WAL makes up for it.
            for number in (signal.SIGINT, signal.SIGQUIT):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
                    break
            else:
                self._process.kill()
                self._process.wait()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _prepare(self) -> None:
        cluster = self.cluster
        os.makedirs(cluster.private, mode=0o700, exist_ok=True)
        stop_left_over(cluster)
        check_cluster(cluster.data)
        shape(cluster)
        if cluster.changes_user:
            let_in(cluster.user, cluster.data, cluster.private, *([cluster.wal] if cluster.wal else []))
            give(cluster.user, cluster.data)
        write_configuration(cluster, read_control(cluster))
        if cluster.changes_user:
            give(cluster.user, cluster.private)

    def _await(self, sql: str, answer: str, stopped: threading.Event) -> None:
        assert self._process is not None
        while True:
            if self._process.poll() is not None:
                raise ScriptError(
                    "PostgreSQL ended with {code}: {reason}", "read its log {log}", code=self._process.returncode,
                    reason=_last_words(self.log), log=self.log,
                )
            if _says_ready(self.cluster.data):
                with contextlib.suppress(TryLaterError):
                    if self.ask(sql) == answer:
                        return
            if stopped.wait(AGAIN_SECONDS):
                raise TryLaterError(
                    "PostgreSQL does not answer yet: {reason}", "read its log {log}", reason=_last_words(self.log),
                    log=self.log,
                )


def _socket_folder(cluster: Cluster) -> str:
    """Return an empty folder for the server's socket that only its user enters."""
    folder = os.path.join(cluster.private, "s")
    shutil.rmtree(folder, ignore_errors=True)
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES_MAX:
        os.mkdir(folder, 0o700)
    else:
        folder = tempfile.mkdtemp(prefix="jbackupd-pg-")
    if cluster.changes_user:
        shutil.chown(folder, cluster.user)
    return folder


def stop_left_over(cluster: Cluster) -> None:
    """Stop a server that an earlier process of ours left on this cluster; its state is as after a crash.

    Raises:
        BusyError: It does not end.
    """
    pid = _left_over(cluster)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    until = time.monotonic() + STOP_SECONDS
    while _left_over(cluster) == pid:
        if time.monotonic() > until:
            raise BusyError(
                "a PostgreSQL server runs on {folder} and does not end: process {pid}", "end it by hand",
                folder=cluster.data, pid=pid,
            )
        time.sleep(AGAIN_SECONDS)


def _left_over(cluster: Cluster) -> int | None:
    """Return the process that runs on a cluster; its own note of it may be of another machine."""
    wanted = b"\0-D\0" + os.fsencode(cluster.data) + b"\0"
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            call = file.read()
            if call.startswith(os.fsencode(cluster.program("postgres")) + b"\0") and wanted in call:
                return int(name)
    return None


def _last_words(log: str) -> str:
    """Return the end of a log."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - LOG_BYTES))
        return file.read().decode("utf-8", "replace").strip()
    return ""


def _says_ready(data: str) -> bool:
    """Tell whether a server says that it takes sessions: to ask it sooner fills its log with refusals.

    Source: PostgreSQL 15, src/include/utils/pidfile.h, the eighth line.
    """
    with contextlib.suppress(OSError, IndexError), open(os.path.join(data, "postmaster.pid"), "rb") as file:
        return file.read().split(b"\n")[7].strip() in (b"ready", b"standby")
    return False
