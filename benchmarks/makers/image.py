"""Images of disks: blocks changed at random, and an ext4 file system that e2fsprogs writes without mounting."""

from __future__ import annotations

import os
import shutil
import subprocess
from random import Random

from benchmarks.folders import day_folder
from benchmarks.makers.days import age, paths, put, write_days
from benchmarks.makers.office import content, edit
from benchmarks.makers.text import prose
from benchmarks.tools import debian

BLOCK = 4096


def make_image(folder: str, megabytes: int, days: int) -> None:
    """Write disk.img: 40 % never written, the rest half text, half incompressible; 1 to 3 % of the blocks change."""
    random = Random(3)
    blocks = megabytes * 10**6 // BLOCK
    write_days(folder, days, lambda at: _new_image(os.path.join(at, "disk.img"), random, blocks),
               lambda at, _day: _change_image(os.path.join(at, "disk.img"), random, blocks))


def _new_image(path: str, random: Random, blocks: int) -> None:
    with open(path, "wb") as file:
        done = 0
        while done < blocks:
            count = min(random.randint(16, 2048), blocks - done)
            kind = random.random()
            if kind < 0.4:
                file.write(bytes(count * BLOCK))
            else:
                file.write(prose(random, count * BLOCK) if kind < 0.8 else random.randbytes(count * BLOCK))
            done += count


def _change_image(path: str, random: Random, blocks: int) -> None:
    """Change 1 to 3 % of the blocks, mostly alone: a few bytes in three quarters of them, the others wholly new."""
    wanted = round(blocks * random.uniform(0.01, 0.03))
    with open(path, "r+b") as file:
        while wanted > 0:
            count = min(random.choice((1, 1, 1, 2, 4, 16)), wanted)
            at = random.randrange(blocks - count) * BLOCK
            file.seek(at)
            old = file.read(count * BLOCK)
            file.seek(at)
            file.write(_changed_blocks(random, old))
            wanted -= count


def _changed_blocks(random: Random, old: bytes) -> bytes:
    kind = random.random()
    if kind < 0.05:
        return random.randbytes(len(old))
    if kind < 0.25:
        return prose(random, len(old))
    new = bytearray(old)
    for start in range(0, len(old), BLOCK):
        for _ in range(4):
            at = start + random.randrange(BLOCK - 16)
            new[at : at + 16] = random.randbytes(16)
    return bytes(new)


def make_ext4(folder: str, megabytes: int, days: int) -> None:
    """Write disk.img: an ext4 file system two thirds full; a day edits 3 % of its files, adds 1 %, deletes 0.5 %."""
    random = Random(8)
    tree = os.path.join(folder, "tree")
    size = count = 0
    while size < megabytes * 10**6 * 2 // 3:
        size += put(os.fsencode(f"{tree}/{count % 23:02d}/{count:05d}.txt"), content(random, 12_000))
        if count % 50 == 0:
            size += put(os.fsencode(f"{tree}/data/{count:05d}.log"), prose(random, random.randint(1, 4) << 18))
        count += 1
    age(tree)
    image = os.path.join(folder, "disk.img")
    _e2fs("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0,hash_seed=1a2b3c4d-0000-4000-8000-000000000001",
          "-U", "1a2b3c4d-0000-4000-8000-000000000002", "-d", tree, image, f"{megabytes * 10**6 // BLOCK * 4}k")
    for day in range(days + 1):
        if day:
            _change_files(image, tree, random, day)
        os.makedirs(day_folder(folder, day))
        shutil.copyfile(image, os.path.join(day_folder(folder, day), "disk.img"))
        age(day_folder(folder, day), day)
    os.unlink(image)
    shutil.rmtree(tree)


def _change_files(image: str, tree: str, random: Random, day: int) -> None:
    """Write edited files anew, as editors do; debugfs takes the next free blocks for them."""
    script = []
    found = sorted(paths(os.fsencode(tree)))
    for path in random.sample(found, max(2, len(found) * 3 // 100)):
        with open(path, "rb") as file:
            put(path, edit(file.read(), b".txt", random))
        script += [f"rm {_inside(tree, path)}", f"write {os.fsdecode(path)} {_inside(tree, path)}"]
    for path in random.sample(found, max(1, len(found) // 200)):
        os.unlink(path)
        script.append(f"rm {_inside(tree, path)}")
    for number in range(max(1, len(found) // 100)):
        path = os.fsencode(f"{tree}/{number % 23:02d}/new{day:02d}{number:05d}.txt")
        put(path, content(random, 12_000))
        script.append(f"write {os.fsdecode(path)} {_inside(tree, path)}")
    _e2fs("debugfs", "-w", "-f", "-", image, said="\n".join(script))


def _inside(tree: str, path: bytes) -> str:
    return os.fsdecode(path).removeprefix(tree)


def _e2fs(name: str, *words: str, said: str = "") -> None:
    program = debian(name)
    if program is None:
        raise SystemExit(f"{name} is not installed (Debian: apt-get install e2fsprogs)")
    # Deterministic: the time that it writes into superblock and inodes is given.
    env = {**os.environ, "E2FSPROGS_FAKE_TIME": "1775000000", "SOURCE_DATE_EPOCH": "1775000000", "LC_ALL": "C"}
    subprocess.run([program, *words], check=True, env=env, input=said.encode(),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
