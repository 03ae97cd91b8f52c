"""A part of a point that stands for the whole: which files, or which slices of long ones, are restored to prove it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from jbackupd.model.records import EntryType, TreeEntry

FILES_MAX = 200
BYTES_MAX = 64 * 1024 * 1024
SLICE_BYTES = 1024 * 1024
SLICES = 8
"""Of a file that is too long to be restored for a sample."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is looked at.

    Attributes:
        files: To be restored whole.
        long: To be read in slices; there is one such file at most.
        is_all: Nothing was left out: it proves the point, not only a part of it.
        total_files, total_bytes: Of the point.
    """

    files: tuple[TreeEntry, ...]
    long: TreeEntry | None
    is_all: bool
    total_files: int
    total_bytes: int


def choose(
    entries: Iterable[TreeEntry], random: Random, *, files_max: int = FILES_MAX, bytes_max: int = BYTES_MAX
) -> Choice:
    """Choose evenly among all files of a point: everything of a small one. Takes the memory of `files_max` entries.

    Source: J. S. Vitter, Random Sampling with a Reservoir, 1985, algorithm R.
    """
    drawn: list[TreeEntry] = []
    count = size = 0
    for entry in entries:
        if entry.type is not EntryType.FILE:
            continue
        count, size = count + 1, size + entry.size
        if len(drawn) < files_max:
            drawn.append(entry)
        elif (place := random.randrange(count)) < files_max:
            drawn[place] = entry
    random.shuffle(drawn)
    files: list[TreeEntry] = []
    long: TreeEntry | None = None
    left = bytes_max
    for entry in drawn:
        if entry.size <= left:
            files.append(entry)
            left -= entry.size
        elif long is None:
            long = entry
    return Choice(tuple(sorted(files, key=lambda entry: entry.path)), long, len(files) == count, count, size)


def slices(size: int, random: Random, *, slice_bytes: int = SLICE_BYTES, count: int = SLICES) -> list[tuple[int, int]]:
    """Return offsets and lengths of what is read of a long file: its begin, its end, and places between."""
    last = max(0, size - slice_bytes)
    offsets = {0, last} | {random.randrange(last + 1) for _slice in range(count - 2)}
    return [(offset, min(slice_bytes, size - offset)) for offset in sorted(offsets)]
