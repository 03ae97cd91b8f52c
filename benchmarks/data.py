"""Where the days of a kind are: made when they are missing, kept if a folder for them is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from benchmarks.child import ProgramError
from benchmarks.kinds import Kind, Size
from benchmarks.tools import HERE


class Data:
    """A folder of generated days; a maker's days are made once for all its kinds."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find(self, kind: Kind, size: Size) -> str:
        """Return the folder that holds day0..dayN of a kind.

        Raises:
            ProgramError: They cannot be made; the message says what is missing.
        """
        whole = os.path.join(self._folder, f"{kind.maker}-{size.megabytes}-{size.days}")
        if not os.path.isdir(whole):
            shutil.rmtree(f"{whole}.new", ignore_errors=True)
            os.makedirs(f"{whole}.new")
            # In a process of its own: see child.py.
            words = [kind.maker, f"{whole}.new", str(size.megabytes), str(size.days)]
            made = subprocess.run([sys.executable, "-m", "benchmarks.make", *words], cwd=HERE, stderr=subprocess.PIPE)
            if made.returncode:
                said = made.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
                raise ProgramError(f"its data cannot be made: {said[-1]}")
            os.rename(f"{whole}.new", whole)
        return os.path.join(whole, kind.part) if kind.part else whole

    def forget(self, kind: Kind, size: Size) -> None:
        """Delete a maker's days."""
        shutil.rmtree(os.path.join(self._folder, f"{kind.maker}-{size.megabytes}-{size.days}"), ignore_errors=True)
