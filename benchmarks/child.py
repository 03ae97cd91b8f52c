"""Run a program and measure it: wall clock, processor time, peak memory, output.

Linux counts what a child had before exec as its own, that is the memory of this process: whoever measures must stay
small (`floor_bytes`), so data is made and packages are loaded elsewhere.
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAMPLE_SECONDS = 0.02
"""How often the tree of processes is looked at: 0.1 ms of work each time, half a percent of a core."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProgramError(Exception):
    """A program under measurement is missing or ended with an error; the message is for the table."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run took.

    Attributes:
        seconds: Wall clock, from the start of the process to its end.
        cpu_seconds: Processor time of the process and of all its children.
        peak_bytes: Most resident memory of the whole tree of processes; what they share counts for each.
        output: Its standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str = ""


def run(command: Sequence[str], *, folder: str | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end.

    Args:
        env: Is put over this process's own environment.

    Raises:
        ProgramError: It is not there, or it exits with anything but 0.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        try:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            )
        except FileNotFoundError as error:
            raise ProgramError(f"{command[0]} is not installed") from error
        try:
            sampled = _watch(process.pid)
        except BaseException:
            # Control-C: nobody may write into a scratch folder that is being removed.
            process.kill()
            process.wait()
            raise
        _pid, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise ProgramError(f"{os.path.basename(command[0])} ended with {process.returncode}: {said[-1]}")
        peak = max(sampled, used.ru_maxrss * 1024)
        return Ran(seconds, used.ru_utime + used.ru_stime, peak, output.read().decode(errors="replace"))


def _watch(pid: int) -> int:
    """Return the most memory that a tree of processes was seen with, when its root has ended."""
    peak = 0
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while not poll.poll(SAMPLE_SECONDS * 1000):
            peak = max(peak, _resident_bytes(pid))
    finally:
        os.close(ended)
    return peak


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and of all below it; one that has gone has none."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            own = int(file.read().split()[1]) * _PAGE
        tasks = os.listdir(f"/proc/{pid}/task")
        children: list[bytes] = []
        for task in tasks:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                children += file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return own + sum(_resident_bytes(int(child)) for child in children)


def floor_bytes() -> int:
    """Return the least peak that `run` can report: this process's own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
