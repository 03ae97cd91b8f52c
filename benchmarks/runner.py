"""One run over one kind of data: all programs in turn, on the same bytes: a slow minute meets them all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from benchmarks.bounds import Bound
from benchmarks.child import ProgramError, Ran
from benchmarks.folders import as_one_file, day_folder, digest, show_day, total_bytes
from benchmarks.kinds import Kind
from benchmarks.programs import Program

_BOUNDS = "bounds.json"


@dataclass(slots=True)
class Measured:
    """What one program did on one kind of data.

    Attributes:
        new_bytes: What each day added to the repository; the first is the whole first copy.
        first: The rounds of the first backup, each into a new repository.
        days: The backups after the first.
        restores: The rounds of restoring the newest day.
        identical: Whether every restore gave every byte back.
        first_only: It was there for its first copy alone.
        lost: Why a day could not be restored; empty if all could.
        trouble: Why there is nothing or no more of it; empty if all went well.
    """

    name: str
    new_bytes: list[int] = field(default_factory=list)
    first: list[Ran] = field(default_factory=list)
    days: list[Ran] = field(default_factory=list)
    restores: list[Ran] = field(default_factory=list)
    identical: bool = True
    first_only: bool = False
    lost: str = ""
    trouble: str = ""

    @property
    def whole(self) -> bool:
        """Whether it did everything and every byte came back."""
        return self.identical and not self.lost and not self.trouble

    @property
    def peak_bytes(self) -> int:
        """The most memory that any backup or restore took."""
        return max((ran.peak_bytes for ran in (*self.first, *self.days, *self.restores)), default=0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kind of data, measured.

    Attributes:
        source_bytes: The data's size on each day.
        programs: jbackupd first.
        bounds: By name: the bytes of each day after the first, or why there are none.
        absent: Why nothing was measured: its data cannot be made here; empty if it was.
    """

    kind: Kind
    source_bytes: list[int]
    programs: list[Measured]
    bounds: dict[str, list[int] | str]
    absent: str = ""

    @property
    def whole(self) -> bool:
        """Whether jbackupd did everything that could be asked of it here."""
        return bool(self.absent) or self.programs[0].whole

    def find(self, name: str) -> Measured | None:
        """Return what a program did; None if it was not there or failed."""
        return next((found for found in self.programs if found.name == name and not found.trouble), None)

    def bound(self, day: int) -> int | None:
        """Return the smallest lower bound of a day; None if there is none."""
        sizes = [found[day - 1] for found in self.bounds.values() if not isinstance(found, str) and len(found) >= day]
        return min(sizes, default=None)


def _takes_part(program: Program, kind: Kind) -> bool:
    if kind.programs:
        return program.name in kind.programs
    return kind.variants or not program.variant


class Run:
    """Measures programs on day0..dayN of a folder.

    Args:
        days: Where the days are; one that is not there is as the one before it.
        scratch: Where live folders and repositories are made.
        rounds: So many first copies by those whose time counts, and restores by all.
        every_day: Whether every older day is restored as well, once, by jbackupd.
    """

    def __init__(
        self, kind: Kind, days: str, last_day: int, scratch: str, programs: Sequence[Program],
        bounds: Sequence[Bound], *, rounds: int, every_day: bool, say: Callable[[str], None],
    ) -> None:
        self._kind, self._days, self._last_day, self._scratch = kind, days, last_day, scratch
        self._live = [os.path.join(scratch, f"live{number}") for number in range(max(kind.datasets, default=0) + 1)]
        self._programs = [program for program in programs if _takes_part(program, kind)]
        self._bounds = bounds if kind.bounded else ()
        self._rounds, self._every_day, self._say = rounds, every_day, say
        self._digests: list[str] = []
        self._measured = {
            program.name: Measured(program.name, first_only=program.first_only) for program in self._programs
        }

    def measure(self) -> Comparison:
        """Take the first backup, then one of each day, then restore the newest and some others.

        A program that fails is left out from there on; what is measured of it says why.
        """
        for live in self._live:
            os.makedirs(live)
        source_bytes = []
        for day in range(self._last_day + 1):
            live = self._live[self._kind.dataset(day)]
            show_day(self._day(day), live)
            unchanged = day and self._day(day) == self._day(day - 1)
            self._digests.append(self._digests[-1] if unchanged else digest(live))
            source_bytes.append(total_bytes(live))
            for turn in range(1 if day else self._rounds):
                self._each(self._back_up, day, turn)
        for turn in range(self._rounds):
            self._each(self._restore, self._last_day, turn)
        if self._every_day:
            self._restore_older_days()
        bounds = self._measure_bounds()
        return Comparison(self._kind, source_bytes, list(self._measured.values()), bounds)

    def _day(self, day: int) -> str:
        return next(at for number in range(day, -1, -1) if os.path.isdir(at := day_folder(self._days, number)))

    def _each(self, deed: Callable[[Program, Measured, int, int], None], day: int, turn: int) -> None:
        """Let every program do it, another one first each time."""
        first = (day + turn) % len(self._programs)
        for program in (*self._programs[first:], *self._programs[:first]):
            found = self._measured[program.name]
            if found.trouble or (day and program.first_only):
                continue
            try:
                if not program.available():
                    raise ProgramError("not installed")
                deed(program, found, day, turn)
            except ProgramError as error:
                found.trouble = str(error)
                self._say(f"{program.name}: {error}")

    def _back_up(self, program: Program, found: Measured, day: int, turn: int) -> None:
        dataset = self._kind.dataset(day)
        folder = os.path.join(self._scratch, program.name.replace(" ", "-").replace(",", ""))
        if day == 0:
            if turn and not program.timed:
                return
            shutil.rmtree(folder, ignore_errors=True)
            program.create(folder, self._live)
            found.new_bytes.clear()
        before = program.stored_bytes() if day else 0
        ran = program.back_up(day, dataset)
        (found.days if day else found.first).append(ran)
        found.new_bytes.append(program.stored_bytes() - before)
        self._say(f"{self._kind.label(day) if day else 'first copy'}: {program.name}: {found.new_bytes[-1]:,} bytes, "
                  f"{ran.seconds:.2f} s")
        if program.first_only and turn == (self._rounds - 1 if program.timed else 0):
            shutil.rmtree(folder)

    def _restore(self, program: Program, found: Measured, day: int, turn: int) -> None:
        if ran := self._restored(program, found, day):
            found.restores.append(ran)
            self._say(f"restore: {program.name}: {ran.seconds:.2f} s")

    def _restored(self, program: Program, found: Measured, day: int) -> Ran | None:
        """Restore a day and compare it; what it stored keeps its figures even if it cannot be read."""
        target = os.path.join(self._scratch, "restored")
        try:
            ran = program.restore(day, self._kind.dataset(day), target)
            if digest(target) != self._digests[day]:
                found.identical = False
                self._say(f"{program.name}: day {day} did not come back as it was")
            return ran
        except ProgramError as error:
            found.lost = f"day {day}: {error}"
            self._say(f"restore: {program.name}: {error}")
            return None
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def _restore_older_days(self) -> None:
        program = self._programs[0]
        found = self._measured[program.name]
        for day in range(self._last_day):
            if not found.trouble:
                self._restored(program, found, day)

    def _measure_bounds(self) -> dict[str, list[int] | str]:
        """Compare one file of today with one of yesterday; a tree is one archive. Both cores work: no time counts.

        What was found is remembered beside the days: the same bytes have the same bounds.
        """
        known = self._remembered_bounds()
        missing = [bound for bound in self._bounds if bound.name not in known]
        if not missing:
            return known
        for folder in os.listdir(self._scratch):
            shutil.rmtree(os.path.join(self._scratch, folder))
        tars = [as_one_file(self._day(day), os.path.join(self._scratch, f"day{day}.tar"))
                for day in range(self._last_day + 1)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            sizes = {
                bound.name: [pool.submit(self._bound_size, bound, tars, day) for day in range(1, self._last_day + 1)]
                for bound in missing
            }
            found = known | {name: _all_or_why(parts) for name, parts in sizes.items()}
        with open(os.path.join(self._days, _BOUNDS), "w", encoding="utf-8") as file:
            json.dump({name: sizes for name, sizes in found.items() if not isinstance(sizes, str)}, file)
        return found

    def _remembered_bounds(self) -> dict[str, list[int] | str]:
        try:
            with open(os.path.join(self._days, _BOUNDS), encoding="utf-8") as file:
                known: dict[str, list[int] | str] = json.load(file)
                return known
        except FileNotFoundError:
            return {}

    def _bound_size(self, bound: Bound, tars: Sequence[str], day: int) -> int:
        if not bound.available():
            raise ProgramError("not installed")
        out = os.path.join(self._scratch, f"{bound.name.replace(' ', '')}-{day}")
        size = bound.new_bytes(tars[day - 1], tars[day], out)
        self._say(f"{self._kind.label(day)}: {bound.name}: {size:,} bytes")
        return size


def _all_or_why(parts: Sequence[Future[int]]) -> list[int] | str:
    try:
        return [part.result() for part in parts]
    except ProgramError as error:
        return str(error)
