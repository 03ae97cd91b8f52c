"""The command source: what a command prints is one file; its exit code decides.

No shell is involved. The command runs in a process group of its own, which is killed as a whole
when time runs out. A command that fails, or prints nothing unless that is allowed, is no point:
a dump that failed unnoticed is the classic way to have no backup.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jbackupd.model.errors import SourceError
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.port import ItemReader, SourceItem

STDERR_BYTES = 64 * 1024
"""The end of what a command says on its standard error is kept; all of it is read, or it would stop."""
PIPE_BYTES = 1024 * 1024
"""What an unprivileged process may ask for; the default of 64 KiB costs a switch each."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")


class CommandSource:
    """Takes the standard output of a command.

    Args:
        command: Program and arguments.
        file_name: The name of the output in the point; a single path component.
        allow_empty: Zero bytes are a result and no failure.
        timeout_seconds: The command is killed after that; None for no limit.
    """

    kind = "command"

    def __init__(
        self, command: Sequence[str], *, file_name: bytes, allow_empty: bool = False,
        timeout_seconds: float | None = None,
    ) -> None:
        self._command = list(command)
        self._file_name = file_name
        self._allow_empty = allow_empty
        self._timeout_seconds = timeout_seconds

    def items(self) -> Iterator[SourceItem | Unreadable]:
        """Yield the output as one file, owned by whoever runs the daemon."""
        moment = time.time_ns()
        yield SourceItem(
            self._file_name, EntryType.FILE, 0o600, os.getuid(), os.getgid(), moment, size=None, opener=self._open
        )

    @contextlib.contextmanager
    def _open(self, item: SourceItem) -> Iterator[ItemReader]:
        started: list[subprocess.Popen[bytes]] = []
        try:
            # On a thread of its own: Ctrl-C, which comes to the main thread, would lose a process that just began.
            with ThreadPoolExecutor(1, "command") as starter:
                starter.submit(lambda: started.append(self._start())).result()
            with contextlib.closing(_Output(self, started[0], self._timeout_seconds)) as output:
                yield output
        finally:
            for process in started:
                _kill_group(process)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment, start_new_session=True, bufsize=0,
            )
        except OSError as error:
            raise SourceError(
                "unable to run {program}: {reason}", "check the dataset's command and that the service may run it",
                program=self._command[0], reason=os.strerror(error.errno or 0),
            ) from error

    def judge(self, code: int, complaint: str, produced: int) -> None:
        """Judge a command that has ended.

        Raises:
            SourceError: It failed, or printed nothing.
        """
        if code != 0:
            raise SourceError(
                "the command {program} failed with {status}: {complaint}",
                "run it by hand as the service's user; there is no new point",
                program=self._command[0], status=_status(code), complaint=complaint,
            )
        if not produced and not self._allow_empty:
            raise SourceError(
                "the command {program} printed nothing", "set allow_empty = true if that can be right",
                program=self._command[0],
            )

    def timed_out(self) -> SourceError:
        """Return the error of a command that took too long."""
        return SourceError(
            "the command {program} did not end within {seconds} seconds and was killed",
            "give the dataset's source a longer timeout, or find out what the command waits for",
            program=self._command[0], seconds=self._timeout_seconds,
        )


class _Output:
    """Reads a command's output; at the end its exit code is judged before the end is told."""

    def __init__(
        self, source: CommandSource, process: subprocess.Popen[bytes], timeout_seconds: float | None
    ) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._source = source
        self._stdout, self._stderr = process.stdout, process.stderr
        self._exit = os.pidfd_open(process.pid)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._stderr.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._complaint = bytearray()
        self._produced = 0
        self._judged = False

    def read(self, length: int) -> bytes:
        """Return the next bytes; empty after the command ended well."""
        pieces: list[bytes] = []
        while length and not self._judged:
            self._wait_for(self._stdout.fileno())
            piece = os.read(self._stdout.fileno(), length)
            if not piece:
                break
            pieces.append(piece)
            length -= len(piece)
        block = b"".join(pieces)
        self._produced += len(block)
        if not block and not self._judged:
            self._finish()
        return block

    def changed(self) -> bool:
        """A command's output is what it is."""
        return False

    def close(self) -> None:
        """Close the pipes; a command that still writes is told so."""
        self._stdout.close()
        self._stderr.close()
        os.close(self._exit)

    def _wait_for(self, descriptor: int) -> None:
        """Wait until a descriptor can be read; what the command complains of meanwhile is taken."""
        while True:
            left = None if self._deadline is None else (self._deadline - time.monotonic()) * 1000
            if left is not None and left <= 0:
                raise self._source.timed_out()
            ready = {found for found, _ in self._poll.poll(left)}
            if self._stderr.fileno() in ready:
                self._take_complaint()
            if descriptor in ready:
                return

    def _take_complaint(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._stderr.fileno(), STDERR_BYTES):
                self._complaint += piece
                del self._complaint[:-STDERR_BYTES]
            self._poll.unregister(self._stderr)

    def _finish(self) -> None:
        """Wait for the command's end without reaping it: its number stays its own until its group is killed."""
        self._poll.unregister(self._stdout)
        self._poll.register(self._exit, select.POLLIN)
        self._wait_for(self._exit)
        ended = os.waitid(os.P_PIDFD, self._exit, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self._poll.register(self._stderr, select.POLLIN)
        self._take_complaint()
        self._source.judge(code, _readable(bytes(self._complaint)), self._produced)
        self._judged = True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever of the command's group is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _readable(complaint: bytes) -> str:
    """Return a complaint as text in which nothing can steer a terminal."""
    text = complaint.decode("utf-8", "backslashreplace").strip()
    shown = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return shown or "it said nothing on its standard error"
