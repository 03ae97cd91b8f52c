"""Files that are there again under other names, that are packed, that are many, that are alike."""

from __future__ import annotations

import gzip
import os
import shutil
from random import Random

from benchmarks.folders import day_folder
from benchmarks.makers.days import age, paths, put, write_days
from benchmarks.makers.dump import BYTES_PER_RESIDENT, Register
from benchmarks.makers.text import prose

SMALL_FILES_PER_MEGABYTE = 500
_NAMES = tuple(f"dump-202611{day}.sql" for day in range(22, 31))


def make_noise(folder: str, megabytes: int, days: int) -> None:
    """Write noise.bin: 1 % is replaced a day in stretches of 4 to 256 KiB, 0.1 % is appended."""
    random = Random(5)
    write_days(folder, days, lambda at: _new_noise(os.path.join(at, "noise.bin"), random, megabytes),
               lambda at, _day: _change_noise(os.path.join(at, "noise.bin"), random))


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


def make_packed(folder: str, megabytes: int, days: int) -> None:
    """Write ten encrypted archives, of which one is replaced a day, and a dump gzipped anew."""
    random = Random(11)
    register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT // 2)
    archive = megabytes * 10**6 * 3 // 40

    def make(at: str) -> None:
        for number in range(10):
            put(os.fsencode(f"{at}/archive-{number:04d}.gpg"), random.randbytes(archive))
        _gzip(register, at)

    def advance(at: str, day: int) -> None:
        os.unlink(f"{at}/archive-{day - 1:04d}.gpg")
        put(os.fsencode(f"{at}/archive-{day + 9:04d}.gpg"), random.randbytes(archive))
        register.advance(day)
        _gzip(register, at)

    write_days(folder, days, make, advance)


def _gzip(register: Register, at: str) -> None:
    path = os.path.join(at, "dump.sql")
    register.write(path)
    with open(path, "rb") as file, gzip.GzipFile(f"{path}.gz", "wb", compresslevel=6, mtime=0) as packed:
        shutil.copyfileobj(file, packed, 1 << 20)
    os.unlink(path)


def make_rotated(folder: str, megabytes: int, days: int) -> None:
    """Write deleted/dayN with the dump of that day alone, and kept/dayN with all dumps so far."""
    register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT)
    for day in range(days + 1):
        if day:
            register.advance(day)
        alone, all_days = (day_folder(os.path.join(folder, part), day) for part in ("deleted", "kept"))
        os.makedirs(alone)
        register.write(os.path.join(alone, _NAMES[day]))
        age(alone, day)
        if day:
            shutil.copytree(day_folder(os.path.join(folder, "kept"), day - 1), all_days)
        os.makedirs(all_days, exist_ok=True)
        shutil.copy2(os.path.join(alone, _NAMES[day]), all_days)


def make_moved(folder: str, megabytes: int, days: int) -> None:
    """Write six large files; a day moves all of them to another folder, the next gives them other names."""
    random = Random(12)

    def make(at: str) -> None:
        for number in range(6):
            half = megabytes * 10**6 // 12
            put(os.fsencode(f"{at}/in/film{number}.mov"), random.randbytes(half) + prose(random, half))

    def advance(at: str, day: int) -> None:
        for path in sorted(paths(os.fsencode(at))):
            place, name = os.path.split(path)
            new = os.path.join(os.fsencode(at), b"out", name) if day % 2 else os.path.join(place, b"seen-" + name)
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.rename(path, new)

    write_days(folder, days, make, advance)


def make_twins(folder: str, megabytes: int, days: int) -> None:
    """Write a dump as day 0; its copy with 3 % of the rows other as day 1; that copy a day later as day 2."""
    register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT)
    for day in range(days + 1):
        for _ in range((0, 3, 1)[min(day, 2)]):
            register.advance(day)
        os.makedirs(day_folder(folder, day))
        register.write(os.path.join(day_folder(folder, day), "test.sql" if day else "dump.sql"))
        age(day_folder(folder, day), day)


def make_files(folder: str, megabytes: int, days: int) -> None:
    """Write many small files, 500 in a megabyte, once: a day that is not there is as the one before it."""
    random = Random(13)
    at = day_folder(folder, 0)
    for number in range(megabytes * SMALL_FILES_PER_MEGABYTE):
        name = f"{at}/{number % 97:02d}/{number // 97 % 11:02d}/台帳{number:06d}.txt"
        put(os.fsencode(name), prose(random, random.randint(100, 3_900)))
    age(at)


def make_deltas(folder: str, megabytes: int, days: int) -> None:
    """Write day0..dayN/dump.sql as pg_dump would."""
    register = Register(megabytes * 10**6 // BYTES_PER_RESIDENT)
    for day in range(days + 1):
        if day:
            register.advance(day)
        os.makedirs(day_folder(folder, day))
        register.write(os.path.join(day_folder(folder, day), "dump.sql"))
        age(day_folder(folder, day), day)
