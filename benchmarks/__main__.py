"""Measure jbackupd against restic, BorgBackup, rsync and the lower bounds: same machine, same bytes, in turn."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from time import monotonic

from benchmarks.aims import verdicts
from benchmarks.bounds import BOUNDS, Bound
from benchmarks.child import ProgramError, floor_bytes
from benchmarks.data import Data
from benchmarks.kinds import KINDS, Kind, Size
from benchmarks.machine import busy_line, filesystem_of, machine_line
from benchmarks.picture import draw, lines_of
from benchmarks.programs import PROGRAMS, Jbackupd, Program, programs
from benchmarks.runner import Comparison, Run
from benchmarks.table import aims_table, comparison_table, put_section
from benchmarks.tools import HERE
from benchmarks.units import exact

RESULTS = os.path.join(HERE, "benchmarks", "RESULTS.md")
NAMES = [kind.name for kind in KINDS]
PROGRAM_NAMES = [kind.name for kind in PROGRAMS]
ROOM = 12
"""Times the data of one day that a kind may need: live folder, repositories, a restored copy, archives."""
OPENING = """# Results

Written by `python -m benchmarks --write`. What is measured, and how: `docs/design/0003-measuring.md`.
"""


def main() -> int:
    """Run; 1 if jbackupd failed or did not restore what it was given: a missed aim is a result, not a failure."""
    arguments = _arguments()
    busy, begun = busy_line(), monotonic()
    bounds = [made() for made in BOUNDS]
    named = {Jbackupd.name, *(arguments.program or PROGRAM_NAMES)}
    rivals = [program for program in programs(full=arguments.full) if program.name in named]
    kinds = [kind for kind in KINDS if kind.name in (arguments.only or NAMES) and _size(arguments, kind).megabytes]
    comparisons = []
    with _data(arguments) as data, suppress(KeyboardInterrupt):
        for number, kind in enumerate(kinds):
            comparisons.append(_measure(arguments, data, kind, rivals, bounds))
            if not arguments.data and kind.maker not in {later.maker for later in kinds[number + 1 :]}:
                data.forget(kind, _size(arguments, kind))
    if len(comparisons) < len(kinds):
        _say(f"stopped: the report has {len(comparisons)} of {len(kinds)} kinds of data")
    if not comparisons:
        return 1
    minutes = (monotonic() - begun) / 60
    section = "full" if arguments.full else "quick"
    report = "\n\n".join((
        _circumstances(arguments, rivals, bounds, busy, minutes), "### Aims", aims_table(verdicts(comparisons)),
        *map(comparison_table, comparisons),
    ))
    print(report)
    if arguments.write:
        where = f"New bytes a day, logarithmic scale; {date.today()}, {section} run on {machine_line()}"
        picture = draw(lines_of(comparisons), where)
        _write(report, section, picture)
    return 0 if all(found.whole for found in comparisons) else 1


def _measure(
    arguments: argparse.Namespace, data: Data, kind: Kind, rivals: Sequence[Program], bounds: Sequence[Bound],
) -> Comparison:
    size = _size(arguments, kind)
    _say(f"{kind.name}: {size.megabytes} MB, {size.days} days")
    try:
        days = data.find(kind, size)
    except ProgramError as error:
        _say(f"{kind.name}: {error}")
        return Comparison(kind, [], [], {}, absent=str(error))
    with tempfile.TemporaryDirectory(prefix="jbackupd-bench-", dir=_folder(arguments, size)) as scratch:
        run = Run(
            kind, days, size.days, scratch, rivals, bounds, rounds=arguments.rounds, every_day=arguments.full,
            say=lambda text: _say(f"  {text}"),
        )
        return run.measure()


def _size(arguments: argparse.Namespace, kind: Kind) -> Size:
    size = kind.full if arguments.full else kind.quick
    return Size(min(size.megabytes, arguments.megabytes), size.days) if arguments.megabytes else size


@contextmanager
def _data(arguments: argparse.Namespace) -> Iterator[Data]:
    if arguments.data:
        yield Data(os.path.abspath(arguments.data))
    else:
        with tempfile.TemporaryDirectory(prefix="jbackupd-bench-data-") as folder:
            yield Data(folder)


def _folder(arguments: argparse.Namespace, size: Size) -> str:
    """Return where to work: memory if it has room, so that no disk is measured."""
    if arguments.folder:
        return os.path.abspath(str(arguments.folder))
    shared = "/dev/shm"
    roomy = os.path.isdir(shared) and shutil.disk_usage(shared).free > size.megabytes * 10**6 * ROOM
    return shared if roomy else tempfile.gettempdir()


def _circumstances(
    arguments: argparse.Namespace, rivals: Sequence[Program], bounds: Sequence[Bound], busy: str | None, minutes: float,
) -> str:
    """Return machine, date, command and versions as a list."""
    command = " ".join(["python -m benchmarks", "--full" if arguments.full else "--quick",
                        *(f"--only {name}" for name in arguments.only),
                        *(f'--program "{name}"' for name in arguments.program),
                        *([f"--megabytes {arguments.megabytes}"] if arguments.megabytes else [])])
    folder = filesystem_of(_folder(arguments, Size(400, 1)))
    lines = [
        f"{date.today()}, `{command}`, {minutes:.0f} minutes",
        machine_line(),
        f"repositories on {folder}; the data is in the page cache",
        *(f"{program.name}: {_version(program)}, {program.how}" for program in rivals),
        *(f"{bound.name}: {bound.version() if bound.available() else 'not installed'}" for bound in bounds),
        f"medians of all days, of {arguments.rounds} first copies by jbackupd, restic auto and borg zstd,3, and of "
        f"{arguments.rounds} restores of the newest day",
        f"memory below {exact(floor_bytes())} cannot be seen",
        *([f"**{busy}**"] if busy else []),
    ]
    listed = "\n".join(f"* {line}" for line in lines)
    return (
        f"{listed}\n\n× is times jbackupd's figure: above 1 the other needs more. Bounds, in italics, are no backups. "
        "Seconds hold the start of each program, which weighs more the smaller the data is."
    )


def _version(program: Program) -> str:
    return program.version() if program.available() else "not installed"


def _write(report: str, section: str, picture: str) -> None:
    with open(os.path.join(os.path.dirname(RESULTS), f"{section}.svg"), "w", encoding="utf-8") as file:
        file.write(picture)
    document = OPENING
    if os.path.exists(RESULTS):
        with open(RESULTS, encoding="utf-8") as file:
            document = file.read()
    with open(RESULTS, "w", encoding="utf-8") as file:
        text = f"## {section.capitalize()} run\n\n![Bytes a day]({section}.svg)\n\n{report}"
        file.write(put_section(document, section, text))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="small data, a few minutes (default)")
    which.add_argument("--full", action="store_true", help="data as large as the aims are for: an hour or so")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", choices=NAMES,
                        help=f"measure this kind of data alone; may be given again; of {', '.join(NAMES)}")
    parser.add_argument("--program", action="append", default=[], metavar="NAME", choices=PROGRAM_NAMES,
                        help=f"measure it besides jbackupd; may be given again; of {', '.join(PROGRAM_NAMES)}")
    parser.add_argument("--megabytes", type=int, default=0, help="at most so large is each kind of data")
    parser.add_argument("--rounds", type=int,
                        help="first copies and restores; their median counts (default: 1, with --full 3)")
    parser.add_argument("--data", metavar="DIR", help="keep the generated data there, and use what is there")
    parser.add_argument("--folder", help="where to work (default: memory if it has room, else the temporary folder)")
    parser.add_argument("--write", action="store_true", help="put tables and picture into benchmarks/")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds if arguments.rounds is not None else 3 if arguments.full else 1
    if arguments.megabytes < 0 or arguments.rounds < 1:
        parser.error("at least 1 megabyte and 1 round")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
