"""What is backed up: five kinds of data and how each changes in a day. The same seed gives the same bytes.

    python -m benchmarks.workloads NAME FOLDER [MEGABYTES [DAYS]]

writes FOLDER/day0 .. dayN, each the whole data as it is on that day. The runner makes them in a process of its own:
what a child inherits counts as its memory.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from random import Random

from benchmarks.dump import make_register
from benchmarks.folders import day_folder
from jbackupd.demo.names import DEPARTMENTS, SENTENCES, TOWNS
from jbackupd.demo.town import EXTRACT, advance_day, make_town

BLOCK = 4096
FIRST_MTIME = 1_775_000_000
"""Files of the first day are older than any backup, as in life: programs distrust files that are seconds old."""
Make = Callable[[str, int, int], None]
"""Writes day0..dayN into a folder: folder, megabytes (about), number of days after the first."""


def _days(make: Callable[[str], None], advance: Callable[[str, int], None]) -> Callable[[str, int], None]:
    """Return a maker of all days from one of the first and a step that changes a folder in place."""

    def write(folder: str, days: int) -> None:
        os.makedirs(day_folder(folder, 0))
        make(day_folder(folder, 0))
        _age(day_folder(folder, 0))
        for day in range(1, days + 1):
            # What a day does not touch keeps its times, or every program would read it again.
            shutil.copytree(day_folder(folder, day - 1), day_folder(folder, day), symlinks=True)
            advance(day_folder(folder, day), day)

    return write


def _age(folder: str) -> None:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            os.utime(os.path.join(parent, name), (FIRST_MTIME, FIRST_MTIME), follow_symlinks=False)


# The demo town's extract.

_EXTRACT_BYTES_PER_RESIDENT = 270
"""Twice what it is: half the size of the others, because it is made slowly and a town's extract is small."""


def make_extract(folder: str, megabytes: int, days: int) -> None:
    """Write the resident extract of `jbackupd demo`, larger: CSV in cp932, in a fixed order."""
    town = os.path.join(folder, "town")
    make_town(town, residents=megabytes * 10**6 // _EXTRACT_BYTES_PER_RESIDENT)
    for day in range(days + 1):
        if day:
            advance_day(town, day=day)
        os.makedirs(day_folder(folder, day))
        shutil.copyfile(os.path.join(town, EXTRACT), os.path.join(day_folder(folder, day), "extract.csv"))
    shutil.rmtree(town)


# A disk's image.


def make_image(folder: str, megabytes: int, days: int) -> None:
    """Write disk.img: 40 % never written, the rest half text, half incompressible; 1 to 3 % of the blocks change."""
    random = Random(3)
    blocks = megabytes * 10**6 // BLOCK
    write = _days(lambda at: _new_image(os.path.join(at, "disk.img"), random, blocks),
                  lambda at, day: _change_image(os.path.join(at, "disk.img"), random, blocks))
    write(folder, days)


def _new_image(path: str, random: Random, blocks: int) -> None:
    with open(path, "wb") as file:
        done = 0
        while done < blocks:
            count = min(random.randint(16, 2048), blocks - done)
            kind = random.random()
            if kind < 0.4:
                file.write(bytes(count * BLOCK))
            else:
                file.write(_text(random, count * BLOCK) if kind < 0.7 else random.randbytes(count * BLOCK))
            done += count


def _change_image(path: str, random: Random, blocks: int) -> None:
    """Change 1 to 3 % of the blocks in runs of 1 to 16: a few bytes in half of them, the others wholly new."""
    wanted = round(blocks * random.uniform(0.01, 0.03))
    with open(path, "r+b") as file:
        while wanted > 0:
            count = min(random.randint(1, 16), wanted)
            at = random.randrange(blocks - count) * BLOCK
            file.seek(at)
            old = file.read(count * BLOCK)
            file.seek(at)
            file.write(_changed_blocks(random, old))
            wanted -= count


def _changed_blocks(random: Random, old: bytes) -> bytes:
    kind = random.random()
    if kind < 0.25:
        return random.randbytes(len(old))
    if kind < 0.5:
        return _text(random, len(old))
    new = bytearray(old)
    for start in range(0, len(old), BLOCK):
        for _ in range(4):
            at = start + random.randrange(BLOCK - 16)
            new[at : at + 16] = random.randbytes(16)
    return bytes(new)


def _text(random: Random, size: int) -> bytes:
    """Return bytes that compress about threefold, as logs and program text do."""
    if not _WORDS:
        maker = Random(0)
        _WORDS.extend(bytes(maker.choices(b"etaoinshrdlucmfw", k=maker.randint(2, 11))) for _ in range(6000))
    # Squaring draws the first words of the list far more often, as in any language.
    drawn = [_WORDS[int(random.random() ** 2 * len(_WORDS))] for _ in range(size // 7)]
    text = b" ".join(drawn)
    return text[:size].ljust(size, b"\n")


_WORDS: list[bytes] = []


# A share of a town hall.


def make_office(folder: str, megabytes: int, days: int) -> None:
    """Write a tree of small files: text and tables, zipped documents, pictures; some names are cp932 bytes."""
    random = Random(4)
    write = _days(lambda at: _new_office(at, random, megabytes), lambda at, day: _edit_office(at, random, day))
    write(folder, days)


_OFFICE_KINDS = ((0.45, b".txt"), (0.85, b".docz"), (1.0, b".jpg"))


def _new_office(folder: str, random: Random, megabytes: int) -> None:
    count, size = 0, 0
    while size < megabytes * 10**6:
        encoding = "cp932" if count % 4 == 0 else "utf-8"
        path = f"{random.choice(DEPARTMENTS)}/{random.randint(1, 40):02d}_{random.choice(TOWNS)}/文書{count:05d}"
        chance = random.random()
        kind = next(ending for part, ending in _OFFICE_KINDS if chance < part)
        size += _put(os.path.join(os.fsencode(folder), path.encode(encoding) + kind), _content(random, kind))
        count += 1


def _content(random: Random, kind: bytes) -> bytes:
    size = int(random.lognormvariate(8.8, 1.0))
    if kind == b".jpg":
        return random.randbytes(size * 3)
    text = _report(random, size)
    return zlib.compress(text) if kind == b".docz" else text


def _report(random: Random, size: int) -> bytes:
    lines = [f"{random.choice(SENTENCES)}(第{random.randrange(10**6)}号 {random.getrandbits(64):x})"
             for _ in range(size // 60 + 1)]
    return "\r\n".join(lines).encode()


def _edit_office(folder: str, random: Random, day: int) -> None:
    """Edit 2 % of the files, add 0.5 %, delete 0.2 %; on the second day a department is renamed."""
    paths = sorted(_paths(os.fsencode(folder)))
    chosen = random.sample(paths, max(3, len(paths) // 50))
    for path in chosen:
        _edit(path, random)
    for number in range(max(1, len(paths) // 200)):
        name = f"追加{day:02d}_{number:04d}.docz".encode()
        _put(os.path.join(os.path.dirname(random.choice(paths)), name), _content(random, b".docz"))
    for path in random.sample(paths, max(1, len(paths) // 500)):
        os.unlink(path)
    department = os.path.join(os.fsencode(folder), DEPARTMENTS[0].encode())
    if day == 2 and os.path.isdir(department):
        os.rename(department, department + "_旧".encode())


def _edit(path: bytes, random: Random) -> None:
    """Put a paragraph into a document, or replace a picture."""
    with open(path, "rb") as file:
        data = file.read()
    kind = os.path.splitext(path)[1]
    if kind == b".jpg":
        _put(path, random.randbytes(len(data)))
        return
    text = zlib.decompress(data) if kind == b".docz" else data
    at = random.randrange(len(text) + 1)
    text = text[:at] + _report(random, 400) + text[at:]
    _put(path, zlib.compress(text) if kind == b".docz" else text)


def _paths(root: bytes) -> Iterator[bytes]:
    for folder, _folders, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names)


def _put(path: bytes, data: bytes) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        return file.write(data)


# Data that nothing can compress: pictures, archives, what is encrypted already.


def make_noise(folder: str, megabytes: int, days: int) -> None:
    """Write noise.bin: 1 % is replaced a day in stretches of 4 to 256 KiB, 0.1 % is appended."""
    random = Random(5)
    write = _days(lambda at: _new_noise(os.path.join(at, "noise.bin"), random, megabytes),
                  lambda at, day: _change_noise(os.path.join(at, "noise.bin"), random))
    write(folder, days)


def _new_noise(path: str, random: Random, megabytes: int) -> None:
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(random.randbytes(10**6))


def _change_noise(path: str, random: Random) -> None:
    size = os.path.getsize(path)
    wanted = size // 100
    with open(path, "r+b") as file:
        while wanted > 0:
            count = min(random.choice((4, 4, 8, 16, 32, 64, 128, 256)) * 1024, wanted)
            file.seek(random.randrange(size - count))
            file.write(random.randbytes(count))
            wanted -= count
        file.seek(0, os.SEEK_END)
        file.write(random.randbytes(size // 1000))


MAKERS: dict[str, Make] = {
    "register": make_register,
    "extract": make_extract,
    "image": make_image,
    "office": make_office,
    "noise": make_noise,
}


if __name__ == "__main__":
    MAKERS[sys.argv[1]](sys.argv[2], int((sys.argv[3:] or ["64"])[0]), int((sys.argv[4:] or ["2"])[0]))
