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
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from jbackupd.model.errors import SourceError
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.port import ItemReader, SourceItem

STDERR_BYTES = 64 * 1024
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
        with tempfile.TemporaryFile() as complaints:
            process = self._start(complaints)
            try:
                yield _Output(self, process, complaints, self._timeout_seconds)
            finally:
                _kill_group(process)
                assert process.stdout is not None
                process.stdout.close()

    def _start(self, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints,
                env=environment, start_new_session=True, bufsize=0,
            )
        except OSError as error:
            raise SourceError(
                "unable to run {program}: {reason}", "check the dataset's command and that the service may run it",
                program=self._command[0], reason=os.strerror(error.errno or 0),
            ) from error

    def check(self, process: subprocess.Popen[bytes], complaints: IO[bytes], produced: int) -> None:
        """Judge a command that has ended.

        Raises:
            SourceError: It failed, or printed nothing.
        """
        if process.returncode != 0:
            raise SourceError(
                "the command {program} failed with {status}: {complaint}",
                "run it by hand as the service's user; there is no new point",
                program=self._command[0], status=_status(process.returncode), complaint=_tail(complaints),
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
        self, source: CommandSource, process: subprocess.Popen[bytes], complaints: IO[bytes],
        timeout_seconds: float | None,
    ) -> None:
        assert process.stdout is not None
        self._source = source
        self._process = process
        self._complaints = complaints
        self._descriptor = process.stdout.fileno()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._produced = 0

    def read(self, length: int) -> bytes:
        """Return the next bytes; empty after the command ended well."""
        pieces: list[bytes] = []
        while length:
            self._wait()
            piece = os.read(self._descriptor, length)
            if not piece:
                break
            pieces.append(piece)
            length -= len(piece)
        block = b"".join(pieces)
        self._produced += len(block)
        if not block:
            self._finish()
        return block

    def changed(self) -> bool:
        """A command's output is what it is."""
        return False

    def _wait(self) -> None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise self._source.timed_out()

    def _finish(self) -> None:
        left = None if self._deadline is None else max(0.1, self._deadline - time.monotonic())
        try:
            self._process.wait(left)
        except subprocess.TimeoutExpired as error:
            raise self._source.timed_out() from error
        self._source.check(self._process, self._complaints, self._produced)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever of the command's group is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _tail(complaints: IO[bytes]) -> str:
    complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, complaints.tell() - STDERR_BYTES))
    return complaints.read().decode("utf-8", "backslashreplace").strip() or "it said nothing on its standard error"
