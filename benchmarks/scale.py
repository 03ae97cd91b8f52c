"""Very many files, very many chunks: python -m benchmarks.scale [--files 20000 100000] [--small 1000000 --large 440].

Two tables: what a backup of an unchanged tree takes beside restic, in turns; and what each piece of work on a large
vault takes, by the model of tests.scale, each a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.child import Ran, run
from benchmarks.machine import busy_line, machine_line
from benchmarks.programs import Jbackupd, Program, Restic

WORKS = ("first", "unchanged", "changed", "restore-some", "restore", "verify", "reclaim", "rebuild")
FILES_PER_FOLDER = 50


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    print(machine_line())
    print(busy_line() or "The machine was quiet.")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print("\n| unchanged files | jbackupd | restic | ratio |\n|---|---|---|---|")
        for count in arguments.files:
            print(_unchanged(os.path.join(folder, str(count)), count, arguments.rounds), flush=True)
        print("\n| work | seconds | peak MiB | |\n|---|---|---|---|")
        for work in WORKS if arguments.small or arguments.large else ():
            print(_work(os.path.join(folder, "model"), work, arguments), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where; on the file system that is to be measured")
    parser.add_argument("--files", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", type=int, default=20_000, help="small files of the model")
    parser.add_argument("--large", type=int, default=9, help="large files of the model, 22,000 chunks each")
    parser.add_argument("--frames", type=int, default=64, help="frames of the model are so many times smaller")
    return parser.parse_args()


def _unchanged(folder: str, count: int, rounds: int) -> str:
    """Back a tree up with each program, then again and again without a change; return a row of medians."""
    live = os.path.join(folder, "live")
    _make(live, count)
    programs: list[Program] = [Jbackupd(), Restic()]
    for program in programs:
        program.create(os.path.join(folder, program.name.replace(" ", "-")), [live])
        program.back_up(0, 0)
    ran: list[list[Ran]] = [[], []]
    for day in range(1, rounds + 1):
        for found, program in zip(ran, programs, strict=True):
            found.append(program.back_up(day, 0))
    ours, theirs = (statistics.median(one.seconds for one in found) for found in ran)
    return f"| {count:,} | {_took(ran[0])} | {_took(ran[1])} | {ours / theirs:.2f} |"


def _make(live: str, count: int) -> None:
    for number in range(count):
        folder = os.path.join(live, f"{number // 2500:03}", f"{number // FILES_PER_FOLDER % 50:02}")
        if number % FILES_PER_FOLDER == 0:
            os.makedirs(folder)
        with open(os.path.join(folder, f"{number:07}.txt"), "wb") as file:
            file.write(b"%d " % number * (40 + number % 200))


def _took(found: Sequence[Ran]) -> str:
    wall = statistics.median(one.seconds for one in found)
    cpu = statistics.median(one.cpu_seconds for one in found)
    return f"{wall:.2f} s, CPU {cpu:.2f} s, {max(one.peak_bytes for one in found) >> 20} MiB"


def _work(folder: str, work: str, arguments: argparse.Namespace) -> str:
    counts = [f"--{name}={getattr(arguments, name)}" for name in ("small", "large", "frames")]
    done = json.loads(run([sys.executable, "-m", "tests.scale.model", folder, work, *counts]).output)
    seconds, peak = done.pop("seconds"), done.pop("peak_mib")
    told = [f"{count:,} {name}" for name, count in done.items() if name != "work"]
    if work == "rebuild":
        told.append(f"{done['chunks'] / seconds:,.0f} chunks a second")
    return f"| {work} | {seconds} | {peak} | {', '.join(told)} |"


if __name__ == "__main__":
    main()
