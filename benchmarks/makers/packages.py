"""Installed software and its upgrade: real packages where `fetch-tools` laid them down, else invented ones."""

from __future__ import annotations

import glob
import os
import shutil
import zipfile
from random import Random

from benchmarks.makers.days import age, put
from benchmarks.makers.text import prose
from benchmarks.tools import NEWER

_WHEELS = (
    ("django", "[Dd]jango-4.2.7-*.whl", "[Dd]jango-5.0-*.whl"),
    ("sqlalchemy", "[Ss][Qq][Ll][Aa]lchemy-2.0.25-*.whl", "[Ss][Qq][Ll][Aa]lchemy-2.0.27-*.whl"),
    ("pillow", "pillow-10.2.0-*.whl", "pillow-10.3.0-*.whl"),
    ("numpy", "numpy-1.26.3-*.whl", "numpy-1.26.4-*.whl"),
)
"""Each with what it is upgraded to; in the order in which they are taken until there is enough."""

REAL_BYTES_MIN = 30_000_000
"""Below this one real package would be most of the tree."""


def install(folder: str, wanted_bytes: int) -> None:
    """Put packages of about so many bytes into a folder."""
    size = 0
    for name, old, _new in _WHEELS if wanted_bytes > REAL_BYTES_MIN else ():
        found = _wheel(old)
        if found and size < wanted_bytes:
            size += _unpack(found, os.path.join(folder, name))
    if not size:
        _invent(folder, wanted_bytes)


def upgrade(folder: str) -> None:
    """Replace every package by its newer version; whatever it holds gets the time of the upgrade."""
    if os.path.isdir(os.path.join(folder, "invented")):
        _invent_upgrade(folder)
    for name, _old, new in _WHEELS:
        found = _wheel(new)
        if found and os.path.isdir(os.path.join(folder, name)):
            shutil.rmtree(os.path.join(folder, name))
            _unpack(found, os.path.join(folder, name))
    age(folder, 2)


def _wheel(pattern: str) -> str | None:
    return next(iter(sorted(glob.glob(os.path.join(NEWER, "wheels", pattern)))), None)


def _unpack(wheel: str, folder: str) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(
            put(os.fsencode(os.path.join(folder, info.filename)), archive.read(info))
            for info in archive.infolist() if not info.is_dir()
        )


def _invent(folder: str, wanted_bytes: int) -> None:
    """Write modules of functions, and one library to twenty of them."""
    random = Random(9)
    size = number = 0
    while size < wanted_bytes:
        place = os.fsencode(f"{folder}/invented/{number % 31:02d}/module{number:04d}")
        functions = [_function(random) for _ in range(random.randint(5, 60))]
        size += put(place + b".py", b"# version 1.0\n" + b"\n\n".join(functions))
        if number % 20 == 0:
            size += put(place + b".so", b"\x7fELF" + _library(random, random.randint(20, 200)))
        number += 1


def _function(random: Random) -> bytes:
    return b"def %s(self):\n    %s" % (prose(random, 9).replace(b" ", b"_"), prose(random, random.randint(80, 900)))


def _library(random: Random, parts: int) -> bytes:
    """Return code between addresses, as a linker lays it out."""
    return b"".join(random.randbytes(700) + (at * 1024).to_bytes(8, "little") * 4 for at in range(parts))


def _invent_upgrade(folder: str) -> None:
    """Change the version everywhere, a function in every third module, and all addresses of a library."""
    random = Random(10)
    for parent, _folders, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.fsencode(os.path.join(parent, name))
            with open(path, "rb") as file:
                data = file.read()
            if name.endswith(".so"):
                data = data[:4] + b"\x90" * 256 + data[4:]
                data = b"".join(data[at : at + 728] + random.randbytes(4) for at in range(0, len(data), 732))
            else:
                functions = data.replace(b"# version 1.0", b"# version 1.1", 1).split(b"\n\n")
                if random.random() < 0.33:
                    functions[random.randrange(len(functions))] = _function(random)
                data = b"\n\n".join(functions)
            put(path, data)
