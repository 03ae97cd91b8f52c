"""Measure jbackupd against restic, BorgBackup and the lower bounds: same machine, same bytes, in turn."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date

from benchmarks.child import floor_bytes
from benchmarks.folders import day_folder, total_bytes
from benchmarks.kinds import KINDS
from benchmarks.machine import busy_line, filesystem_of, machine_line
from benchmarks.programs import BOUNDS, HERE, PROGRAMS, Bound, Program
from benchmarks.runner import Comparison, Run
from benchmarks.table import aims_table, comparison_table, megabytes, put_section

RESULTS = os.path.join(HERE, "benchmarks", "RESULTS.md")
WORKLOADS = {workload.name: workload for workload in KINDS}
REGISTER_TITLE = "Register: a PostgreSQL dump made by pg_dump"
REGISTER_LIMITS = (
    "The first backup is bound by the cores, which cut, compress and seal at once. Of a day's bytes most are the "
    "changed rows and where each is, the rest chunk names, tree, key, index and point. A bound needs yesterday in "
    "clear and encrypts nothing; a program that only deduplicates sends each chunk that holds a changed row. "
    "Restoring a delta reads its bases as well, time that restic and borg do not spend; jbackupd's memory goes into "
    "the encoders' tables, their prefixes and the frames on their way."
)
ROOM = 12
"""Times the data of one day that a run may need: the days, the live folder, four repositories, a restored copy."""
OPENING = """# Results

Written by `python -m benchmarks --write`. What is measured, and how: `docs/design/0003-measuring.md`.
"""


def main() -> int:
    """Run; 1 if jbackupd failed, did not restore what it was given, or missed an aim."""
    arguments = _arguments()
    busy = busy_line()
    programs, bounds = [made() for made in PROGRAMS], [made() for made in BOUNDS]
    if arguments.register:
        comparisons = [_register(arguments, programs, bounds)]
        aims, good = aims_table(comparisons[0])
    else:
        comparisons = [_workload(arguments, name, programs, bounds) for name in arguments.workloads or WORKLOADS]
        aims, good = "", all(found.programs[0].whole for found in comparisons)
    lines = [_circumstances(arguments, programs, bounds, busy), aims, *map(comparison_table, comparisons)]
    report = "\n\n".join(line for line in lines if line)
    print(report)
    if arguments.write:
        _write(report, "register" if arguments.register else "workloads")
    return 0 if good else 1


def _workload(
    arguments: argparse.Namespace, name: str, programs: Sequence[Program], bounds: Sequence[Bound],
) -> Comparison:
    """Make a workload's days, and measure them."""
    workload = WORKLOADS[name]
    with _scratch(arguments, arguments.megabytes * 10**6) as scratch:
        days = os.path.join(scratch, "days")
        _say(f"{name}: making {arguments.days + 1} days")
        # In a process of its own: see child.py.
        made = [sys.executable, "-m", "benchmarks.workloads", name, days, str(arguments.megabytes), str(arguments.days)]
        os.makedirs(days)
        subprocess.run(made, cwd=HERE, check=True)
        run = Run(days, arguments.days, scratch, programs, bounds, lambda text: _say(f"{name}: {text}"))
        return run.measure(workload.title, workload.limits, arguments.rounds or 1)


def _register(arguments: argparse.Namespace, programs: Sequence[Program], bounds: Sequence[Bound]) -> Comparison:
    """Measure days that are there already."""
    days = os.path.abspath(arguments.register)
    with _scratch(arguments, total_bytes(day_folder(days, 0))) as scratch:
        run = Run(days, arguments.days, scratch, programs, bounds, _say)
        return run.measure(REGISTER_TITLE, REGISTER_LIMITS, arguments.rounds or 3)


def _scratch(arguments: argparse.Namespace, day_bytes: int) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="jbackupd-bench-", dir=_folder(arguments, day_bytes))


def _folder(arguments: argparse.Namespace, day_bytes: int) -> str:
    """Return where to work: memory if it has room, so that no disk is measured."""
    if arguments.folder:
        return os.path.abspath(str(arguments.folder))
    shared = "/dev/shm"
    roomy = os.path.isdir(shared) and shutil.disk_usage(shared).free > day_bytes * ROOM
    return shared if roomy else tempfile.gettempdir()


def _circumstances(
    arguments: argparse.Namespace, programs: Sequence[Program], bounds: Sequence[Bound], busy: str | None,
) -> str:
    """Return machine, date, command and versions as a list."""
    size = total_bytes(day_folder(arguments.register, 0)) if arguments.register else arguments.megabytes * 10**6
    rounds = arguments.rounds or (3 if arguments.register else 1)
    what = ["--register DIR"] if arguments.register else [*arguments.workloads, f"--megabytes {arguments.megabytes}"]
    command = " ".join(["python -m benchmarks", *what, f"--days {arguments.days}", f"--rounds {rounds}"])
    lines = [
        f"{date.today()}, `{command}`",
        machine_line(),
        f"repositories on {filesystem_of(_folder(arguments, size))}; the data is in the page cache",
        *(f"{program.name}: {program.version()}, {program.how}" for program in programs if program.available()),
        *(f"{bound.name}: {bound.version()}" for bound in bounds if bound.available()),
        f"median of {rounds} first backups" if rounds > 1 else "one first backup each",
        f"memory below {megabytes(floor_bytes())} MB cannot be seen",
        *([f"**{busy}**"] if busy else []),
    ]
    listed = "\n".join(f"* {line}" for line in lines)
    return (
        f"{listed}\n\n× is times jbackupd's figure: above 1 the other needs more. Bounds, in italics, are no backups. "
        "Seconds hold the start of each program, which weighs more the smaller the data is."
    )


def _write(report: str, section: str) -> None:
    document = OPENING
    if os.path.exists(RESULTS):
        with open(RESULTS, encoding="utf-8") as file:
            document = file.read()
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write(put_section(document, section, f"## {section.capitalize()}\n\n{report}"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--megabytes", type=int, default=64, help="about so large is each workload (default: 64)")
    parser.add_argument("--days", type=int, default=2, help="so many days after the first (default: 2)")
    parser.add_argument("--rounds", type=int, help="first backups; their median counts (default: 1, with --register 3)")
    parser.add_argument("--register", metavar="DIR", help="measure the aims on DIR/day0..dayN/dump.sql instead")
    parser.add_argument("--folder", help="where to work (default: memory if it has room, else the temporary folder)")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    unknown = set(arguments.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if arguments.register and arguments.workloads:
        parser.error("--register brings its own data: name no workload with it")
    if arguments.megabytes < 2 or arguments.days < 1 or (arguments.rounds or 1) < 1:
        parser.error("at least 2 megabytes, 1 day and 1 round")
    if arguments.register:
        days = [day_folder(arguments.register, day) for day in range(arguments.days + 1)]
        missing = [day for day in days if not os.path.isdir(day)]
        if missing:
            parser.error(f"there is no {missing[0]}; --days says how many to use after the first")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
