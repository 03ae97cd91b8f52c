"""Making a package: the residents of the newest point, sealed, beside a program that shows them. All of it blocks.

    TO/README.txt, start.py, program/      written when the program is another version than before
    TO/keys.json, data-SERIAL.sealed       written each time
    TO/manifest.json                       last: whoever finds it finds all that it names
    TO/intake/, audit/                     the laptop's own; never touched here

A stick that is pulled out meanwhile is the old package or the new one; only where the program is exchanged there is a
moment in which it is neither, and says so. Writing again makes it whole.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

import jbackupd
from jbackupd.codec.signing import SiteSigner
from jbackupd.desk.extract import load_extract
from jbackupd.desk.gaiji import load_font
from jbackupd.desk.mapfile import load_map
from jbackupd.desk.residents import Residents
from jbackupd.format.package import (
    KEYS,
    MANIFEST,
    Content,
    FileFact,
    Manifest,
    data_name,
    decode_manifest,
    encode_content,
    encode_keys,
    encode_manifest,
    open_data,
    seal_data,
)
from jbackupd.model.errors import DamageError, FormatError, JbackupdError, RefusedError, StorageError
from jbackupd.model.reasons import reason_of
from jbackupd.service.extracts import opened_extract
from jbackupd.service.packageprogram import PROGRAM, START, fact_of, facts_of, write_program
from jbackupd.service.packagereadme import README, readme
from jbackupd.service.packages import FOLDER, Known
from jbackupd.settings.schema import Package, Settings
from jbackupd.storage.durable import destroy_durably, write_durably
from jbackupd.storage.files import PosixFiles

_NEW = "new"
_OURS = re.compile(r"lost\+found|new|program|start\.py|README\.txt|keys\.json|data-[0-9]+\.sealed|.*\.new|intake|audit")


@dataclass(frozen=True, slots=True)
class _Residents:
    """A desk database in memory, and what it shows."""

    data: bytes
    count: int
    point: str
    as_of: datetime


def make_package(
    settings: Settings, package: Package, known: Known, signer: SiteSigner, now: datetime,
    *, more: Callable[[str], None] = lambda _folder: None, program_anew: bool = False,
) -> Manifest:
    """Write a package, or write it anew with the newest point that can be read here.

    Args:
        more: Lays programs for other machines beside; called with the folder when the program is written.
        program_anew: Write the program even if this version of it is there.

    Raises:
        NotFoundError, KeyMissingError: There is no point, or it cannot be read here.
        RefusedError: The folder holds something else.
        ConfigError, FormatError: The extract or the map cannot be used.
        DamageError: So it is, or what was written reads back otherwise.
        NoSpaceError, StorageError: It cannot be written.
    """
    before = _before(package, known)
    residents = _residents(settings, package)
    font = load_font(package.font).data if package.font else b""
    content = encode_content(Content(residents.data, known.accounts, font, settings.language or "ja"))
    serial = before.serial + 1 if before else 1
    try:
        os.makedirs(package.to, mode=0o750, exist_ok=True)
        anew = program_anew or before is None or before.program != jbackupd.__version__
        program = _new_program(package.to, more) if anew else _program_of(before)
        title = package.title or next((one.name for one in settings.tenants if one.id == package.dataset.tenant), "")
        manifest = Manifest(
            known.id.hex(), serial, package.dataset.tenant, title or package.dataset.tenant, settings.site.id,
            package.id, residents.point, residents.as_of, now, now + package.expires, residents.count,
            jbackupd.__version__, program,
        )
        folder = PosixFiles(package.to)
        facts = dict(program)
        for name, data in (
            (README, readme(manifest).encode()), (KEYS, encode_keys(known.keys)),
            (data_name(serial), b"".join(seal_data(known.key, known.id, serial, content))),
        ):
            _put(folder, name, data)
            facts[name] = fact_of(os.path.join(package.to, name))
        _read_back(folder, known, serial, content)
        if anew:
            _exchange_program(package.to)
        manifest = msgspec.structs.replace(manifest, files=facts)
        _put(folder, MANIFEST, encode_manifest(manifest, signer))
        _remove_old(folder, serial)
    except OSError as error:
        raise StorageError(
            "unable to write the package in {folder}: {reason}", "look at the stick or disk", folder=package.to,
            reason=reason_of(error),
        ) from error
    return manifest


def written(package: Package) -> Manifest | None:
    """Return what was written of a package; None if nothing was, or its folder is not there."""
    try:
        with open(os.path.join(package.to, MANIFEST), "rb") as file:
            return decode_manifest(file.read())
    except (OSError, FormatError):
        return None


def destroy(package: Package) -> bool:
    """Destroy a package's keys and data where it was written; return whether they were there.

    What clerks took in stays.
    """
    before = written(package)
    if before is None:
        return False
    folder = PosixFiles(package.to)
    for name in (KEYS, data_name(before.serial), MANIFEST):
        destroy_durably(folder, name)
    return True


def _residents(settings: Settings, package: Package) -> _Residents:
    mapping = load_map(package.map)
    files = PosixFiles(settings.site.state)
    database = posixpath.join(FOLDER, package.id, "residents.db")
    files.make_folder(posixpath.dirname(database))
    path = os.path.join(files.root, database)
    try:
        with opened_extract(settings, package.dataset, package.file, package.restrictions) as extract:
            load_extract(
                extract.source, mapping=mapping, database=path, as_of=extract.as_of, loaded_from=extract.point,
                restrictions=extract.restrictions(mapping.encoding),
            )
            with contextlib.closing(Residents(path)) as residents:
                count = residents.facts.rows
            return _Residents(files.read(database), count, extract.point, extract.as_of)
    finally:
        destroy_durably(files, database)


def _before(package: Package, known: Known) -> Manifest | None:
    """Return what was written before; what else lies in the folder is never written over."""
    before = written(package)
    names = set(os.listdir(package.to)) if os.path.isdir(package.to) else set()
    if before is None and not all(_OURS.fullmatch(name) for name in names):
        raise RefusedError("{folder} holds something else", "name an empty folder for the package", folder=package.to)
    if before is not None and before.id != known.id.hex():
        raise RefusedError(
            "{folder} holds another package", "bring back what was taken in there first; then empty the folder",
            folder=package.to,
        )
    return before


def _new_program(folder: str, more: Callable[[str], None]) -> dict[str, FileFact]:
    """Lay the program out beside the one that is there; return what it consists of."""
    new = os.path.join(folder, _NEW)
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new)
    write_program(new)
    more(new)
    return dict(facts_of(new))


def _program_of(before: Manifest | None) -> dict[str, FileFact]:
    files = before.files if before else {}
    return {name: fact for name, fact in files.items() if name == START or name.startswith(f"{PROGRAM}/")}


def _exchange_program(folder: str) -> None:
    """Put the new program in the place of the old one; until the new manifest stands, start.py calls it damaged."""
    new = os.path.join(folder, _NEW)
    shutil.rmtree(os.path.join(folder, PROGRAM), ignore_errors=True)
    os.rename(os.path.join(new, PROGRAM), os.path.join(folder, PROGRAM))
    os.replace(os.path.join(new, START), os.path.join(folder, START))
    os.rmdir(new)
    os.sync()


def _put(folder: PosixFiles, name: str, data: bytes) -> None:
    write_durably(folder, name, data, temporary=name + ".new")


def _read_back(folder: PosixFiles, known: Known, serial: int, content: bytes) -> None:
    """Open what was written, from the medium as far as the system lets us: a stick may lie."""
    path = os.path.join(folder.root, data_name(serial))
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        sealed = file.read()
    try:
        same = open_data(known.key, known.id, serial, sealed) == content
    except JbackupdError:
        same = False
    if not same:
        raise DamageError(
            "what was written to {folder} reads back otherwise", "use another stick; nothing of it counts",
            folder=folder.root,
        )


def _remove_old(folder: PosixFiles, serial: int) -> None:
    for name in folder.names(""):
        if name.startswith("data-") and name.endswith(".sealed") and name != data_name(serial):
            folder.remove(name)
