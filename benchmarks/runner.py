"""One run over one workload: all programs on the same bytes, in turn: a slow minute of the machine meets them all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.child import ProgramError, Ran
from benchmarks.folders import as_one_file, day_folder, digest, show_day, total_bytes
from benchmarks.programs import Bound, Program

Sizes = list[int | None]
"""Bytes of each day; None where a program has no answer."""


@dataclass(slots=True)
class Measured:
    """What one program did on one workload.

    Attributes:
        new_bytes: What each day added to the repository; the first is the whole first copy.
        first: The rounds of the first backup, each into a new repository.
        days: The backups after the first.
        restores: One of each day's backup.
        identical: Whether every restore gave every byte back.
        trouble: Why there is nothing or no more of it; empty if all went well.
    """

    name: str
    new_bytes: list[int] = field(default_factory=list)
    first: list[Ran] = field(default_factory=list)
    days: list[Ran] = field(default_factory=list)
    restores: list[Ran] = field(default_factory=list)
    identical: bool = True
    trouble: str = ""

    @property
    def whole(self) -> bool:
        """Whether it did everything and every byte came back."""
        return self.identical and not self.trouble

    @property
    def peak_bytes(self) -> int:
        """The most memory that any backup or restore took."""
        return max((ran.peak_bytes for ran in (*self.first, *self.days, *self.restores)), default=0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One workload, measured.

    Attributes:
        source_bytes: The data's size on each day.
        bounds: By name: the bytes of each day, or why there are none.
    """

    title: str
    limits: str
    source_bytes: list[int]
    programs: list[Measured]
    bounds: dict[str, Sizes | str]


class Run:
    """Measures programs on day0..dayN of a folder."""

    def __init__(
        self, days: str, last_day: int, scratch: str, programs: Sequence[Program], bounds: Sequence[Bound],
        say: Callable[[str], None],
    ) -> None:
        self._days, self._last_day = days, last_day
        self._scratch, self._live = scratch, os.path.join(scratch, "live")
        self._programs, self._bounds = programs, bounds
        self._say = say
        self._digests: list[str] = []
        self._measured = {program.name: Measured(program.name) for program in programs}
        self._bound_bytes: dict[str, Sizes | str] = {bound.name: [] for bound in bounds}
        self._tars: list[str] = []

    def measure(self, title: str, limits: str, rounds: int) -> Comparison:
        """Take the first backup so many times, then a backup of each day, then restore them all.

        A program that fails is left out from there on; what is measured of it says why.
        """
        source_bytes = []
        for day in range(self._last_day + 1):
            show_day(day_folder(self._days, day), self._live)
            self._digests.append(digest(self._live))
            source_bytes.append(total_bytes(self._live))
            self._measure_bounds(day)
            for turn in range(rounds if day == 0 else 1):
                self._each(self._back_up, day, f"day {day}", day + turn)
        for day in range(self._last_day + 1):
            self._each(self._restore, day, f"restore of day {day}", day)
        return Comparison(title, limits, source_bytes, list(self._measured.values()), self._bound_bytes)

    def _each(self, deed: Callable[[Program, Measured, int], None], day: int, what: str, turn: int) -> None:
        """Let every program do it, another one first each time."""
        first = turn % len(self._programs)
        for program in (*self._programs[first:], *self._programs[:first]):
            found = self._measured[program.name]
            if found.trouble:
                continue
            self._say(f"{what}: {program.name}")
            try:
                if program.available():
                    deed(program, found, day)
                else:
                    found.trouble = "not installed"
            except ProgramError as error:
                found.trouble = str(error)

    def _back_up(self, program: Program, found: Measured, day: int) -> None:
        if day == 0:
            folder = os.path.join(self._scratch, program.name.replace(" ", "-").replace(",", ""))
            shutil.rmtree(folder, ignore_errors=True)
            program.create(folder, self._live)
            found.new_bytes.clear()
        before = program.stored_bytes() if day else 0
        ran = program.back_up(day)
        (found.days if day else found.first).append(ran)
        found.new_bytes.append(program.stored_bytes() - before)

    def _restore(self, program: Program, found: Measured, day: int) -> None:
        target = os.path.join(self._scratch, "restored")
        try:
            found.restores.append(program.restore(day, target))
            found.identical = found.identical and digest(target) == self._digests[day]
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _measure_bounds(self, day: int) -> None:
        """Compare one file of today with one of yesterday; a tree is one archive."""
        self._tars.append(as_one_file(day_folder(self._days, day), os.path.join(self._scratch, f"day{day}.tar")))
        before = self._tars[day - 1] if day else None
        for bound in self._bounds:
            sizes = self._bound_bytes[bound.name]
            if isinstance(sizes, str):
                continue
            self._say(f"day {day}: {bound.name}")
            try:
                if bound.available():
                    sizes.append(bound.new_bytes(before, self._tars[day], os.path.join(self._scratch, "bound")))
                else:
                    self._bound_bytes[bound.name] = "not installed"
            except ProgramError as error:
                self._bound_bytes[bound.name] = str(error)
