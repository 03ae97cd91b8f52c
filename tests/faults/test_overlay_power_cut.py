"""A power cut under an overlay: a real ext4 loses everything that was not synced. Needs root and a loop device."""

from __future__ import annotations

import fcntl
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from overlays import NAMES, SIZES, Rig

from jbackupd.restore.lazy import BLOCK_BYTES
from jbackupd.restore.overlay import Overlay

GOINGDOWN = 0x8004587D
WITHOUT_LOG = 2
ROUNDS = 40


class Disk:
    """An ext4 of its own that can lose power."""

    def __init__(self, folder: Path) -> None:
        self.image, self.at = folder / "image", folder / "disk"
        self.at.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(128 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.at)], check=True)

    def unmount(self) -> None:
        # Lazily: a test that has failed may hold files open.
        subprocess.run(["umount", "-l", str(self.at)], check=True)

    def lose_power(self) -> None:
        folder = os.open(self.at, os.O_RDONLY)
        fcntl.ioctl(folder, GOINGDOWN, struct.pack("I", WITHOUT_LOG))
        os.close(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a mounted disk."""
    made = Disk(tmp_path)
    yield made
    made.unmount()


@pytest.mark.soak
def test_what_was_synced_is_there_after_a_power_cut_and_nothing_else_is_made_up(disk: Disk) -> None:
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        rig = Rig(str(disk.at / f"upper{seed}"))
        synced = act(rig, chance)
        disk.lose_power()
        rig.overlay.lazy.abandon()
        os.close(rig.overlay._top)
        disk.unmount()
        disk.mount()
        rig.overlay = Overlay(rig.folder, rig.point)
        for name, (content, untouched) in synced.items():
            found = rig.content(name)
            for at in untouched:
                part = slice(at * 512, (at + 1) * 512)
                assert found[part] == content[part], (seed, name, at)
        rig.overlay.close()
        subprocess.run(["rm", "-rf", rig.folder], check=True)


def act(rig: Rig, chance: random.Random) -> dict[bytes, tuple[bytes, list[int]]]:
    """Write, cut and fill, sync all, write more; return what was synced, and which sectors nobody wrote after it."""
    names = [name for name in NAMES[: len(SIZES)] if rig.model[name]]
    for _ in range(chance.randrange(10)):
        name = chance.choice(names)
        if chance.random() < 0.2:
            length = chance.randrange(len(rig.model[name]) + 1)
            rig.overlay.truncate(name, length)
            rig.model[name] = rig.model[name][:length]
        else:
            write(rig, name, chance)
    rig.sync_all()
    synced = {name: rig.model[name] for name in names}
    untouched = {name: set(range(len(content) // 512)) for name, content in synced.items()}
    for _ in range(chance.randrange(10)):
        name = chance.choice(names)
        first, last = write(rig, name, chance)
        untouched[name] -= set(range(first // 512, last // 512 + 1))
        rig.content(chance.choice(names))
    return {name: (synced[name], sorted(untouched[name])) for name in names}


def write(rig: Rig, name: bytes, chance: random.Random) -> tuple[int, int]:
    offset, length = chance.randrange(6 * BLOCK_BYTES), chance.randrange(1, 2 * BLOCK_BYTES)
    rig.write(name, offset, chance.randbytes(length), sync=False)
    return offset, offset + length
