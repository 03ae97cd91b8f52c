"""Folders of days: a first day, and what changes it in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from benchmarks.folders import day_folder

FIRST_MTIME = 1_775_000_000
"""Files of the first day are older than any backup, as in life: programs distrust files that are seconds old."""
DAY_SECONDS = 86_400


def write_days(
    folder: str, days: int, make: Callable[[str], None], advance: Callable[[str, int], None],
) -> None:
    """Write day0..dayN.

    Args:
        make: Fills the first day's folder.
        advance: Changes a copy of the day before; gets the number of the day.
    """
    os.makedirs(day_folder(folder, 0))
    make(day_folder(folder, 0))
    age(day_folder(folder, 0))
    for day in range(1, days + 1):
        # What a day does not touch keeps its times, or every program would read it again.
        shutil.copytree(day_folder(folder, day - 1), day_folder(folder, day), symlinks=True)
        advance(day_folder(folder, day), day)


def age(folder: str, day: int = 0) -> None:
    """Give all files below a folder the time of a day."""
    moment = FIRST_MTIME + day * DAY_SECONDS
    for path in paths(os.fsencode(folder)):
        os.utime(path, (moment, moment), follow_symlinks=False)


def paths(root: bytes) -> Iterator[bytes]:
    """Yield the paths of all files below a folder, in no order."""
    for folder, _folders, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names)


def put(path: bytes, data: bytes) -> int:
    """Write a file and the folders above it; return its size."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        return file.write(data)
