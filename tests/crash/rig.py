"""Runs real code on a file system that forgets, cuts the power at every step, and counts broken promises.

A scenario prepares a disk, does something on it, and checks what is left after a cut. Four sweeps:

* `cut_everywhere`: every disk that a power cut during one run may leave.
* `kill_then_cut`: the process is killed at every call, a new one goes on with what it sees in the
  page cache, finishes, and then the power is cut. What it saw and trusted may never have been durable.
* `kill_everywhere`: the process is killed at every call and a new one goes on.
* `fail_everywhere`: every call fails once with an errno.

SQLite does not go through `Files`. Its database is a value beside the disk: a cut leaves the version
of that moment, the version from before the run, or nothing.
"""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jbackupd.catalog.database import Catalog
from jbackupd.model.errors import JbackupdError
from tests.crash.memory import CHANGING, Call, Killed, MemoryFiles
from tests.crash.states import CrashState, Key, crash_states, folder_of, key_of


class Sqlite:
    """The catalog's database over time: which bytes it had when the log had so many events."""

    def __init__(self, image: bytes | None = None) -> None:
        self.catalog = catalog_of(image)
        self.images: list[bytes] = [self._image()]
        self._changes = self._total_changes()
        self._at: list[int] = []

    def observe(self) -> None:
        """Look at the database before an event; called once for each."""
        if self._total_changes() != self._changes:
            self._changes = self._total_changes()
            self.images.append(self._image())
        self._at.append(len(self.images) - 1)

    def image(self, position: int) -> bytes:
        """Return the newest database that may have been on the disk when so many events had happened."""
        return self.images[self._at[position]] if position < len(self._at) else self._image()

    def _image(self) -> bytes:
        with self.catalog._lock:
            return self.catalog._connection.serialize()

    def _total_changes(self) -> int:
        with self.catalog._lock:
            return self.catalog._connection.total_changes


def catalog_of(image: bytes | None) -> Catalog:
    """Return a catalog in memory from a database's bytes; a new one without."""
    catalog = Catalog(":memory:")
    if image is not None:
        catalog._connection.deserialize(image)
        catalog.is_new = False
    return catalog


class Scenario(Protocol):
    """Something that must survive."""

    name: str
    uses_catalog: bool
    in_order: bool
    """It appends to a journal, which asks of the file system that the blocks of a write are not reordered."""

    def prepare(self) -> Key:
        """Return the disk before the run, all of it durable."""
        ...

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        """Do what a start of the program does; return the work, which may be called again after a failure.

        The work marks on `files` what it acknowledges.
        """
        ...

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        """Raise if the disk breaks a promise; begins with what a start of the program does."""
        ...

    def essence(self, key: Key) -> object:
        """Return what of a disk can make a difference for `check`."""
        ...


@dataclass(slots=True)
class Score:
    """What a sweep found."""

    states: int = 0
    """Different disks."""
    checked: int = 0
    """Recoveries that were run on them: disks that differ only in leftovers count once, each with three catalogs."""
    violations: int = 0
    """Recoveries that broke a promise."""
    first: str = ""
    """The first one, for people."""
    errors: Counter[str] = field(default_factory=Counter)
    """How often which class of error was raised where a call failed."""
    verdicts: dict[object, bool] = field(default_factory=dict, repr=False)

    def note(self, error: BaseException, where: str) -> None:
        """Count a violation."""
        self.violations += 1
        if not self.first:
            frames = traceback.extract_tb(error.__traceback__)
            place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
            self.first = f"{where}: {type(error).__name__}{place}: {error}"


def cut_everywhere(scenario: Scenario, *, seed: int = 0, subsets_max: int = 64, enough: int = 0) -> Score:
    """Run once and check every disk that a power cut may leave.

    Args:
        enough: Stop after so many violations; 0 for never.
    """
    before = scenario.prepare()
    files, sqlite = _machine(before)
    scenario.open(files, sqlite.catalog)()
    score = Score()
    states = crash_states(
        folder_of(before), files.log, seed=seed, subsets_max=subsets_max, in_order=scenario.in_order
    )
    _check_all(scenario, states, sqlite, score, enough)
    return score


def kill_then_cut(scenario: Scenario, *, seed: int = 0, subsets_max: int = 64, enough: int = 0,
                  every: int = 1) -> Score:
    """Kill at every call, go on in a new process, and cut the power when that has finished."""
    before = scenario.prepare()
    score = Score()
    for files, sqlite in _killed(scenario, before, every):
        again = Sqlite(sqlite.image(len(files.log)))
        files.observer = None
        scenario.open(files, again.catalog)()
        _cut_now(scenario, before, files, again, score, seed=seed, subsets_max=subsets_max, enough=enough)
        if enough and score.violations >= enough:
            break
    return score


def kill_everywhere(scenario: Scenario, *, every: int = 1) -> Score:
    """Kill at every call and check what a new process makes of it."""
    before = scenario.prepare()
    score = Score()
    for files, sqlite in _killed(scenario, before, every):
        _check_all(scenario, iter([_as_it_is(files)]), sqlite, score, 0)
    return score


def fail_everywhere(scenario: Scenario, error: int, *, verbs: frozenset[str] = CHANGING, lasting: bool = False,
                    same_process: bool = True, every: int = 1, cut: bool = True) -> Score:
    """Let every call fail once; afterwards the work is done again, and then the power is cut.

    Args:
        error: An errno.
        verbs: Which calls fail.
        lasting: All further calls fail as well, until the work has given up.
        same_process: The same process tries again, else a new one.
        cut: Check every disk that a power cut may leave at the end, else the disk as it is.
    """
    before = scenario.prepare()
    score = Score()
    number = 1
    while True:
        files, sqlite = _machine(before, fault=_fail_at(number, error, lasting=lasting))
        files.faulty = verbs
        work: Callable[[], None] | None = None
        try:
            work = scenario.open(files, sqlite.catalog)
            work()
        except JbackupdError as refused:
            score.errors[type(refused).__name__] += 1
        except Exception as untyped:
            score.note(untyped, f"call {number} failed")
        if files.calls < number:
            return score
        files.fault = None
        if work is None or not same_process:
            files, sqlite = files.restarted(), Sqlite(sqlite.image(len(files.log)))
            work = None
        try:
            (work or scenario.open(files, sqlite.catalog))()
        except Exception as again:
            score.note(again, f"call {number} had failed, and then")
        files.observer = None
        if cut:
            _cut_now(scenario, before, files, sqlite, score)
        else:
            _check_all(scenario, iter([_as_it_is(files)]), sqlite, score, 0)
        number += every


def _killed(scenario: Scenario, before: Key, every: int) -> Iterator[tuple[MemoryFiles, Sqlite]]:
    """Yield the machine after a kill at each call of a run, ready for a new process."""
    number = 1
    while True:
        files, sqlite = _machine(before, fault=_kill_at(number))
        try:
            scenario.open(files, sqlite.catalog)()
        except Killed:
            yield files.restarted(), sqlite
        else:
            return
        number += every


def _kill_at(number: int) -> Callable[[Call], None]:
    def fault(call: Call) -> None:
        if call.number == number:
            raise Killed

    return fault


def _fail_at(number: int, error: int, *, lasting: bool) -> Callable[[Call], None]:
    def fault(call: Call) -> None:
        if call.number == number or (lasting and call.number > number):
            raise OSError(error, os.strerror(error))

    return fault


def _as_it_is(files: MemoryFiles) -> CrashState:
    return CrashState(len(files.log), files.facts(), key_of(files.root), "nothing was lost")


def _cut_now(scenario: Scenario, before: Key, files: MemoryFiles, sqlite: Sqlite, score: Score, *, seed: int = 0,
             subsets_max: int = 64, enough: int = 0) -> None:
    end = len(files.log)
    states = crash_states(
        folder_of(before), files.log, seed=seed, subsets_max=subsets_max, positions=range(end, end + 1),
        in_order=scenario.in_order,
    )
    _check_all(scenario, states, sqlite, score, enough)


def _machine(before: Key, fault: Callable[[Call], None] | None = None) -> tuple[MemoryFiles, Sqlite]:
    files, sqlite = MemoryFiles(folder_of(before), fault), Sqlite()
    files.observer = sqlite.observe
    return files, sqlite


def _check_all(scenario: Scenario, states: Iterator[CrashState], sqlite: Sqlite, score: Score, enough: int) -> None:
    for state in states:
        score.states += 1
        images: dict[str, bytes | None] = {"a lost": None}
        if scenario.uses_catalog:
            images |= {"the newest": sqlite.image(state.position), "the oldest": sqlite.images[0]}
        for word, image in images.items():
            essence = scenario.essence(state.key), state.facts, image
            if essence in score.verdicts:
                continue
            score.verdicts[essence] = True
            score.checked += 1
            where = f"cut after {state.position} events, {word} catalog, {state.kept}"
            try:
                scenario.check(MemoryFiles(state.disk()), catalog_of(image), state.facts)
            except Exception as error:
                score.verdicts[essence] = False
                score.note(error, where)
        if enough and score.violations >= enough:
            return

