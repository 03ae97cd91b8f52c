"""Lower bounds: what one file costs if the same file of the day before is there in clear. They are no backups."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from benchmarks.child import ProgramError, run
from benchmarks.tools import debian
from benchmarks.units import exact


class Bound(ABC):
    """A program that tells one file by another.

    Attributes:
        name: As it stands in the table.
        needs: Its command.
        bytes_max: A larger file takes it too long.
    """

    name: str
    needs: str
    bytes_max: int | None = None

    @abstractmethod
    def version(self) -> str:
        """Return the program's version in one line."""

    @abstractmethod
    def command(self, before: str, now: str, out: str) -> Sequence[str]:
        """Return how to write what is new since a file of the day before."""

    def available(self) -> bool:
        """Tell whether it is installed."""
        return debian(self.needs) is not None

    def new_bytes(self, before: str, now: str, out: str) -> int:
        """Return the size of what is new; `out` is a path that it may use.

        Raises:
            ProgramError: It failed, or the file is too large for it.
        """
        if self.bytes_max is not None and os.path.getsize(now) > self.bytes_max:
            raise ProgramError(f"left out above {exact(self.bytes_max)}: it would take a quarter of an hour a day")
        run(self.command(before, now, out))
        size = os.path.getsize(out)
        os.unlink(out)
        return size


class ZstdPatch(Bound):
    """zstd with yesterday as its dictionary, and a window that holds both."""

    name, needs, level = "zstd -3 --patch-from", "zstd", "-3"

    def version(self) -> str:
        return run(["zstd", "--version"]).output.strip(" *\n").split(",")[0]

    def command(self, before: str, now: str, out: str) -> Sequence[str]:
        return ["zstd", "-q", "-f", self.level, "--long=31", f"--patch-from={before}", now, "-o", out]


class StrongZstdPatch(ZstdPatch):
    """The same with the parser that looks for the shortest encoding: on 187 MB eight minutes of processor time a day.

    There it came to 644 kB where xdelta3 had 452 kB: its tables are too small for files of that size.
    """

    name, level, bytes_max = "zstd -19 --patch-from", "-19", 150_000_000


class Xdelta(Bound):
    """xdelta3 at its best."""

    name, needs = "xdelta3 -9", "xdelta3"

    def version(self) -> str:
        # It says its version on standard error and ends with 0.
        return "xdelta3 " + run(["sh", "-c", "xdelta3 -V 2>&1"]).output.split(",")[0].removeprefix("Xdelta version ")

    def command(self, before: str, now: str, out: str) -> Sequence[str]:
        # Its window must hold all of yesterday, or it finds only what stayed near its place.
        window = max(os.path.getsize(before), 1 << 20)
        return ["xdelta3", "-9", "-f", "-q", "-e", "-B", str(window), "-s", before, now, out]


BOUNDS: Sequence[type[Bound]] = (ZstdPatch, StrongZstdPatch, Xdelta)
