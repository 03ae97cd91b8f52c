"""A tree of everything that a file system holds, a site that takes it, and both ways back."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jbackupd.cli.rescue import main as rescue
from jbackupd.codec.shares import split
from jbackupd.restore.options import RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from tests.support.onesite import TENANT, Site

NAMES = [
    *(bytes((i,)) for i in range(1, 256) if i not in b"/."),
    *(b"a" + bytes((i,)) for i in range(1, 256) if i not in b"/."),
    "住民台帳.csv".encode("cp932"), "ソ能表".encode("cp932"), "住民台帳.csv".encode(), "𠮷野家".encode(),
    "葛󠄀城".encode(), "が".encode(), "か\u3099".encode(), "é".encode(), "e\u0301".encode(), b"~1.txt",
    b"\xff\xfe\xfd", b"\xc3\x28", b"\xe3\x81", b"x" * 255, "あ".encode() * 85, b"...", b"..x", b". ", b" ", b"-rf",
    b"--", b"con", b"aux.txt", b"trail ", b"trail.", b"new\nline", b"\x1b[2J\x07", b"%s%n{}", b"$(id)", b"`id`",
    b".jb-partial-0123456789abcdef", b"a.jb-before-restore", b"A", b"a", b"I\xcc\x87", "İ".encode(), "ı".encode(),
]
TARGETS = [
    b"/", b"..", b".", b"a", b"/etc/passwd", b"../../../../etc", b"no/where", b"/proc/self/exe", b"x" * 4095,
    bytes(i for i in range(1, 256)), "葛城".encode("cp932"), b"loop", b"trail/", b"//",
]
TIMES = [0, 1, -1, -1_999_999_999, 999_999_999, 1_700_000_000_123_456_789, 4_000_000_000 * 10**9 + 7]


def make_tree(root: Path) -> None:
    """Make the tree; as root also with owners and special bits."""
    chance = random.Random(1)
    root.mkdir()
    top = os.fsencode(root)
    for folder in (b"names", b"modes", b"links", b"times", b"sizes", b"empty"):
        os.mkdir(top + b"/" + folder)
    for name in dict.fromkeys(NAMES):
        _write(top + b"/names/" + name, name)
    for mode in (0o000, 0o400, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o7777):
        _write(top + b"/modes/f%04o" % mode, b"%o" % mode, mode)
        os.mkdir(top + b"/modes/d%04o" % mode)
        os.chmod(top + b"/modes/d%04o" % mode, mode)
    if os.geteuid() == 0:
        for uid, gid in ((1, 2), (65534, 65534), (4_000_000_000, 3_000_000_000)):
            _write(top + b"/modes/of%d" % uid, b"", 0o640)
            os.chown(top + b"/modes/of%d" % uid, uid, gid)
    for number, target in enumerate(TARGETS):
        os.symlink(target, top + b"/links/%d" % number)
        os.utime(top + b"/links/%d" % number, ns=(0, TIMES[number % len(TIMES)]), follow_symlinks=False)
    os.symlink(b"loop", top + b"/links/loop")
    for size in (0, 1, 2, 63, 4095, 4096, 65_535, 65_537, 1 << 20, (4 << 20) + 1, 9_000_001):
        _write(top + b"/sizes/%d" % size, chance.randbytes(size))
        _write(top + b"/sizes/zeros-%d" % size, bytes(size))
    with open(top + b"/sizes/sparse", "wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"an island")
    path = top
    for _ in range(60):
        path += b"/" + b"deep" * 30
        make_at(path)
    for number, moment in enumerate(TIMES):
        path = top + b"/times/%d" % number
        _write(path, b"")
        os.utime(path, ns=(0, moment))
        os.mkdir(path + b"d")
        os.utime(path + b"d", ns=(0, moment))


def make_at(path: bytes) -> None:
    """Make a folder whose path is longer than the system takes at once."""
    folder = os.open(b"/", os.O_RDONLY)
    *above, name = path.strip(b"/").split(b"/")
    for part in above:
        below = os.open(part, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.mkdir(name, dir_fd=folder)
    os.close(os.open(b"leaf", os.O_CREAT, 0o600, dir_fd=folder))
    os.close(folder)


def _write(path: bytes, content: bytes, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees that are too deep for what removes pytest's folders."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def source(work: Path) -> Path:
    make_tree(work / "source")
    return work / "source"


@pytest.fixture
def site(work: Path) -> Site:
    (work / "site").mkdir()
    return Site(work / "site")


@pytest.fixture
def restored(site: Site, work: Path) -> Callable[[int], tuple[Path, RestoreResult]]:
    """Gives a point's restored folder and what the restore said."""

    def give(sequence: int) -> tuple[Path, RestoreResult]:
        target = work / f"restored{sequence}"
        options = RestoreOptions(allow_setuid=True, set_owner=os.geteuid() == 0)
        return target, restore(site.open_point(sequence), str(target), options)

    return give


@pytest.fixture
def rescued(site: Site, work: Path) -> Callable[[int], tuple[Path, int]]:
    """Gives a point's rescued folder and the exit code."""
    shares = []
    for share in split(site.seed, threshold=2, count=3, label=TENANT)[1:]:
        path = work / f"share{share.index}.txt"
        path.write_text(share.to_text())
        shares += ["--share", str(path)]

    def give(sequence: int) -> tuple[Path, int]:
        target = work / f"rescued{sequence}"
        vault = str(site.folder / "vaults" / "imari")
        return target, rescue([vault, f"imari/juki@{sequence}", *shares, "--to", str(target)])

    return give
