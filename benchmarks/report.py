"""The report of a run: where and by whom it was made, the aims, a table for each kind; and its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from benchmarks.aims import verdicts
from benchmarks.bounds import Bound
from benchmarks.child import floor_bytes
from benchmarks.machine import machine_line, revision
from benchmarks.picture import draw, lines_of
from benchmarks.programs import Program
from benchmarks.runner import Comparison
from benchmarks.table import aims_table, comparison_table, put_section
from benchmarks.tools import HERE
from benchmarks.units import exact

FOLDER = os.path.join(HERE, "benchmarks")
_OPENING = """# Results

Written by `python -m benchmarks --write`. What is measured, and how: `docs/design/0003-measuring.md`.
"""
_READING = (
    "× is times jbackupd's figure: above 1 the other needs more. Bounds, in italics, are no backups. "
    "Seconds hold the start of each program, which weighs more the smaller the data is."
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run was.

    Attributes:
        section: Its part of the results: quick or full.
        filesystem: What repositories were on.
        busy: A warning if the machine had other work, else None.
    """

    section: str
    command: str
    rounds: int
    minutes: float
    filesystem: str
    busy: str | None
    programs: Sequence[Program]
    bounds: Sequence[Bound]


def report(setting: Setting, comparisons: Sequence[Comparison]) -> str:
    """Return the whole report as Markdown."""
    listed = "\n".join(f"* {line}" for line in _lines(setting))
    parts = (listed, _READING, "### Aims", aims_table(verdicts(comparisons)), *map(comparison_table, comparisons))
    return "\n\n".join(parts)


def write(setting: Setting, comparisons: Sequence[Comparison]) -> None:
    """Put the report into its section of RESULTS.md, with a picture beside it."""
    where = f"New bytes a day, logarithmic scale; {date.today()}, {setting.section} run on {machine_line()}"
    with open(os.path.join(FOLDER, f"{setting.section}.svg"), "w", encoding="utf-8") as file:
        file.write(draw(lines_of(comparisons), where))
    path = os.path.join(FOLDER, "RESULTS.md")
    document = _OPENING
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            document = file.read()
    title = f"## {setting.section.capitalize()} run\n\n![Bytes a day by kind of data]({setting.section}.svg)"
    with open(path, "w", encoding="utf-8") as file:
        file.write(put_section(document, setting.section, f"{title}\n\n{report(setting, comparisons)}"))


def _lines(setting: Setting) -> list[str]:
    """Return machine, date, command and versions."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return [
        f"{date.today()}, `{setting.command}`, {setting.minutes:.0f} minutes{revision()}",
        machine_line(),
        f"repositories on {setting.filesystem}; the data is in the page cache",
        *(f"{program.name}: {_version(program)}, {program.how}" for program in setting.programs),
        *(f"{bound.name}: {bound.version() if bound.available() else 'not installed'}" for bound in setting.bounds),
        f"medians of all days, of {setting.rounds} first copies by jbackupd, restic auto and borg zstd,3, and of "
        f"{setting.rounds} restores of the newest day",
        f"memory below {exact(floor_bytes())} cannot be seen",
        f"load of the machine at the end, over 1, 5 and 15 minutes: {load}",
        *([f"**{setting.busy}**"] if setting.busy else []),
    ]


def _version(program: Program) -> str:
    return program.version() if program.available() else "not installed"
