"""Run a program and measure it: seconds, peak memory, output.

Linux counts what a child had before exec as its own, that is the memory of this process: whoever measures must stay
small (`floor_bytes`), so data is made and packages are loaded elsewhere.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class ProgramError(Exception):
    """A program under measurement ended with an error; the message is its own last line."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run took.

    Attributes:
        seconds: Wall clock, from the start of the process to its end.
        peak_bytes: Most resident memory of the largest process of it.
        output: Its standard output.
    """

    seconds: float
    peak_bytes: int
    output: str = ""


def run(command: Sequence[str], *, folder: str | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end.

    Args:
        env: Is put over this process's own environment.

    Raises:
        ProgramError: It exits with anything but 0.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
        )
        _pid, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise ProgramError(f"{os.path.basename(command[0])} ended with {process.returncode}: {said[-1]}")
        return Ran(seconds, used.ru_maxrss * 1024, output.read().decode(errors="replace"))


def floor_bytes() -> int:
    """Return the least peak that `run` can report: this process's own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
