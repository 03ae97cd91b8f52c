"""Compares two folders by what the system says of them, with no code of the program that copied one to the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

Facts = tuple[object, ...]


def facts(root: Path, *, owners: bool = True) -> dict[bytes, Facts]:
    """Return type, mode, owner, time and content of everything below a folder, by path."""
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return dict(_below(top, b"", owners))
    finally:
        os.close(top)


def _below(folder: int, prefix: bytes, owners: bool) -> Iterator[tuple[bytes, Facts]]:
    for name in sorted(os.fsencode(name) for name in os.listdir(folder)):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mode = status.st_mode
        content: object = None
        if stat.S_ISREG(mode):
            content = status.st_size, _digest(folder, name)
        elif stat.S_ISLNK(mode):
            content = os.readlink(name, dir_fd=folder)
        owner = (status.st_uid, status.st_gid) if owners else ()
        yield prefix + name, (oct(mode), owner, status.st_mtime_ns, content)
        if stat.S_ISDIR(mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                yield from _below(below, prefix + name + b"/", owners)
            finally:
                os.close(below)


def _digest(folder: int, name: bytes) -> str:
    digest = sha256()
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
