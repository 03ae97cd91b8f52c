"""Folders of a run: a day's data, the live folder that programs see, digests and sizes. Names are bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator


def day_folder(folder: str, day: int) -> str:
    """Return where a day's data is."""
    return os.path.join(folder, f"day{day}")


def entries(root: str) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yield what is below a folder with its path from there: sorted, each folder before what is in it."""
    waiting = [(b"", os.fsencode(root))]
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                yield prefix + entry.name, entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((prefix + entry.name + b"/", entry.path))


def show_day(source: str, live: str) -> None:
    """Make the live folder equal to a day's; a file of the same size and time stays as it is."""
    os.makedirs(live, exist_ok=True)
    wanted = dict(entries(source))
    for path, entry in reversed(list(entries(live))):
        if path not in wanted or wanted[path].is_dir() != entry.is_dir():
            (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)
    for path, entry in wanted.items():
        target = os.path.join(os.fsencode(live), path)
        if entry.is_dir(follow_symlinks=False):
            os.makedirs(target, exist_ok=True)
        elif not _same(entry.path, target):
            shutil.copy2(entry.path, target)


def _same(one: bytes, other: bytes) -> bool:
    if not os.path.exists(other):
        return False
    here, there = os.stat(one), os.stat(other)
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def digest(root: str) -> str:
    """Return one SHA-256 over all paths, kinds, sizes and contents below a folder."""
    whole = hashlib.sha256()
    for path, entry in sorted(entries(root), key=lambda found: found[0]):
        if entry.is_dir(follow_symlinks=False):
            whole.update(b"d %d %s\n" % (len(path), path))
            continue
        with open(entry.path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        whole.update(b"f %d %s %s\n" % (len(path), path, content))
    return whole.hexdigest()


def total_bytes(*roots: str) -> int:
    """Return the bytes of all files below folders; a missing folder holds none."""
    return sum(
        entry.stat(follow_symlinks=False).st_size
        for root in roots if os.path.isdir(root)
        for _path, entry in entries(root) if entry.is_file(follow_symlinks=False)
    )


def as_one_file(root: str, archive: str) -> str:
    """Return a single file with all that is below a folder: the only file there, else a new archive."""
    files = [entry for _path, entry in entries(root)]
    if len(files) == 1 and files[0].is_file():
        return os.fsdecode(files[0].path)
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path, entry in entries(root):
            tar.add(os.fsdecode(entry.path), os.fsdecode(path), recursive=False)
    return archive
