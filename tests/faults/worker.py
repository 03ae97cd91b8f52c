"""A real process on a real disk, to be killed: takes points, or sends them, and prints what it acknowledged.

    python -m tests.faults.worker backup FOLDER COUNT
    python -m tests.faults.worker send SOURCE FOLDER COUNT
    python -m tests.faults.worker kill SEED KILLS backup|send ...

`kill` imports everything once, then forks a worker again and again and kills it at random moments.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from jbackupd.catalog.database import Catalog
from jbackupd.storage.files import PosixFiles
from tests.crash.local_backup import Town
from tests.crash.transfer import Receipted, sending

HEARD_MIN = 3
"""Go on killing until so many acknowledgements have been heard: else nothing is tested."""

Say = Callable[[str], None]


def backup(say: Say, folder: str, count: str) -> None:
    """Take points."""
    town = Town(PosixFiles(folder), Catalog(f"{folder}/catalog/imari.sqlite"))
    for _ in range(int(count)):
        result = town.backup()
        say(f"{result.header.sequence} {result.name.hex()}")


def send(say: Say, source: str, folder: str, count: str) -> None:
    """Send points to a holder."""

    def mark(fact: object) -> None:
        if isinstance(fact, Receipted):
            say(f"{fact.sequence} {fact.point.hex()}")

    sending(PosixFiles(source), PosixFiles(folder), mark, count=int(count))()


WORK: dict[str, Callable[..., None]] = {"backup": backup, "send": send}


def kill(seed: str, kills: str, work: str, *arguments: str) -> None:
    """Fork a worker and kill it, so many times; its acknowledgements go to our output.

    The time that a worker is given follows what it gets done, so that a busy machine kills at the same places.
    """
    chance = random.Random(int(seed))
    seconds, heard, count = 0.03, 0, 0
    while count < int(kills) or heard < HEARD_MIN:
        count += 1
        said = _kill_one(chance.uniform(0, seconds), work, arguments)
        heard += said
        seconds = seconds * 0.9 if said > 1 else min(seconds * 1.3, 5)


def _kill_one(seconds: float, work: str, arguments: tuple[str, ...]) -> int:
    """Fork a worker and kill it; return how many acknowledgements were heard."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work_and_exit(writing, work, arguments)
    os.close(writing)
    said = _listen(reading, time.monotonic() + seconds)
    os.kill(child, signal.SIGKILL)
    said += _listen(reading, time.monotonic() + 60)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a worker failed with {os.WEXITSTATUS(status)}")
    return said


def _work_and_exit(writing: int, work: str, arguments: tuple[str, ...]) -> NoReturn:
    def say(line: str) -> None:
        os.write(writing, f"{line}\n".encode())

    try:
        WORK[work](say, *arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _listen(reading: int, until: float) -> int:
    """Pass on what a worker says until it ends or the time has come; return how many lines that were."""
    lines = 0
    while (left := until - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            data = os.read(reading, 65536)
            if not data:
                break
            os.write(1, data)
            lines += data.count(b"\n")
    return lines


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill(*sys.argv[2:])
    else:
        WORK[sys.argv[1]](lambda line: print(line, flush=True), *sys.argv[2:])
