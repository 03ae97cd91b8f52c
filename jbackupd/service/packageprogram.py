"""The program that lies in a package: this one, and the libraries that its desk needs, as they are installed here.

    start.py                  runs with Python alone, and finds the program that fits
    program/TAG/              jbackupd and libraries for one kind of machine: linux-x86_64-cp311
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterator

import jbackupd
from jbackupd.format.package import FileFact
from jbackupd.model.errors import ConfigError, UsageError

PROGRAM = "program"
START = "start.py"
_NEEDED = ("blake3", "cryptography", "jinja2", "msgspec", "pyjwt", "python-multipart", "starlette", "uvicorn")
"""What the desk of a laptop imports; what these need in turn is found in their own metadata."""
_UNUSED_FOLDERS = frozenset({"__pycache__", "demo", "parts", "tests"})
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TAG = re.compile(r"[a-z0-9_.]+-[a-z0-9_]+-cp3[0-9]+")


def machine_tag() -> str:
    """Return which machines the program of this one fits; `start.py` says the same of the machine it runs on."""
    return f"{sysconfig.get_platform()}-cp{sys.version_info.major}{sys.version_info.minor}"


def libraries() -> list[str]:
    """Return the names of all distributions that the desk needs, sorted.

    Raises:
        ConfigError: One is not installed.
    """
    found: set[str] = set()
    left = list(_NEEDED)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for requirement in _distribution(name).requires or ():
            needed, _, condition = requirement.partition(";")
            # Extras are not needed; what is for another system only is not installed here.
            match = _NAME.match(needed.strip())
            if match and "extra ==" not in condition and _is_installed(match[0]):
                left.append(match[0])
    return sorted(found)


def write_program(folder: str) -> None:
    """Lay start.py and the program of this machine into a package's folder.

    Raises:
        ConfigError: A library cannot be copied.
        OSError: It cannot be written.
    """
    target = os.path.join(folder, PROGRAM, machine_tag())
    source = os.path.dirname(os.path.abspath(jbackupd.__file__))
    shutil.copytree(
        source, os.path.join(target, "jbackupd"), copy_function=_copied,
        ignore=lambda _folder, names: [name for name in names if name in _UNUSED_FOLDERS],
    )
    for name in libraries():
        distribution = _distribution(name)
        for file in distribution.files or ():
            if ".." in file.parts or "__pycache__" in file.parts or file.is_absolute():
                continue
            to = os.path.join(target, *file.parts)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            _copied(str(distribution.locate_file(file)), to)
    _copied(os.path.join(source, "laptop", START), os.path.join(folder, START))


def add_wheels(folder: str, tag: str, wheels: str) -> None:
    """Lay the program for another kind of machine into a package's folder.

    Args:
        tag: Which: linux-aarch64-cp311.
        wheels: A folder with a wheel of every library.

    Raises:
        UsageError: The tag is none, or a library's wheel is missing or none.
    """
    if not _TAG.fullmatch(tag) or tag == machine_tag():
        raise UsageError(
            "{tag!r} names no other kind of machine", "write for example linux-aarch64-cp312", tag=tag
        )
    target = os.path.join(folder, PROGRAM, tag)
    here = os.path.join(folder, PROGRAM, machine_tag(), "jbackupd")
    shutil.copytree(here, os.path.join(target, "jbackupd"), copy_function=_copied)
    names = os.listdir(wheels)
    for library in libraries():
        fitting = [
            name for name in names
            if name.endswith(".whl") and re.sub(r"[-_.]+", "-", name.split("-")[0]).lower() == library
        ]
        if len(fitting) != 1:
            raise UsageError(
                "the folder {wheels} has {count} wheels of {library}", "put one wheel of each of these there: {needed}",
                wheels=wheels, count=len(fitting), library=library, needed=", ".join(libraries()),
            )
        _unpacked(os.path.join(wheels, fitting[0]), target)


def facts_of(folder: str) -> Iterator[tuple[str, FileFact]]:
    """Yield all files of the program and start.py, with their length and digest."""
    yield START, fact_of(os.path.join(folder, START))
    for where, folders, names in os.walk(os.path.join(folder, PROGRAM)):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(where, name)
            yield os.path.relpath(path, folder).replace(os.sep, "/"), fact_of(path)


def fact_of(path: str) -> FileFact:
    """Return a file's length and digest."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFact(file.tell(), digest)


def _unpacked(wheel: str, target: str) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("/") or ".." in name.split("/"):
                    raise UsageError("{wheel} is no wheel", "fetch it again", wheel=wheel)
                archive.extract(name, target)
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError("{wheel} is no wheel", "fetch it again", wheel=wheel) from error


def _copied(source: str, target: str) -> str:
    # Contents alone: a stick has no owners and modes.
    try:
        return shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise ConfigError(
            "the program is not whole here: {path} is missing", "install jbackupd again", path=source
        ) from error


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("the library {name} is not installed", "install jbackupd again", name=name) from error
