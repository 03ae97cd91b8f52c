"""Measure jbackupd against restic, BorgBackup, rsync and the lower bounds: same machine, same bytes, in turn."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic

from benchmarks.bounds import BOUNDS, Bound
from benchmarks.child import ProgramError
from benchmarks.data import Data
from benchmarks.kinds import KINDS, Kind, Size
from benchmarks.machine import busy_line, filesystem_of
from benchmarks.programs import PROGRAMS, Jbackupd, Program, programs
from benchmarks.report import Setting, report, write
from benchmarks.runner import Comparison, Run

NAMES = [kind.name for kind in KINDS]
PROGRAM_NAMES = [kind.name for kind in PROGRAMS]
ROOM = 12
"""Times the data of one day that a kind may need: live folder, repositories, a restored copy, archives."""


def main() -> int:
    """Run; 1 if jbackupd failed or did not restore what it was given: a missed aim is a result, not a failure."""
    arguments = _arguments()
    busy, begun = busy_line(), monotonic()
    bounds = [made() for made in BOUNDS]
    named = {Jbackupd.name, *(arguments.program or PROGRAM_NAMES)}
    rivals = [program for program in programs(full=arguments.full) if program.name in named]
    comparisons = _comparisons(arguments, rivals, bounds)
    if not comparisons:
        return 1
    setting = Setting(
        section="full" if arguments.full else "quick", command=_command(arguments), rounds=arguments.rounds,
        minutes=(monotonic() - begun) / 60, filesystem=filesystem_of(_folder(arguments, Size(400, 1))), busy=busy,
        programs=rivals, bounds=bounds,
    )
    print(report(setting, comparisons))
    if arguments.write:
        write(setting, comparisons)
    return 0 if all(found.whole for found in comparisons) else 1


def _comparisons(
    arguments: argparse.Namespace, rivals: Sequence[Program], bounds: Sequence[Bound],
) -> list[Comparison]:
    """Measure every kind; Control-C ends it with those that are done."""
    kinds = [kind for kind in KINDS if kind.name in (arguments.only or NAMES) and _size(arguments, kind).megabytes]
    done: list[Comparison] = []
    with _data(arguments) as data, suppress(KeyboardInterrupt):
        for number, kind in enumerate(kinds):
            done.append(_measure(arguments, data, kind, rivals, bounds))
            if not arguments.data and kind.maker not in {later.maker for later in kinds[number + 1 :]}:
                data.forget(kind, _size(arguments, kind))
    if len(done) < len(kinds):
        _say(f"stopped: the report has {len(done)} of {len(kinds)} kinds of data")
    return done


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


def _command(arguments: argparse.Namespace) -> str:
    """Return what to type for the same run."""
    return " ".join(["python -m benchmarks", "--full" if arguments.full else "--quick",
                     *(f"--only {name}" for name in arguments.only),
                     *(f'--program "{name}"' for name in arguments.program),
                     *([f"--megabytes {arguments.megabytes}"] if arguments.megabytes else [])])


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
