"""Taking back what was taken in at a package's laptop: its journal, and the record of its look-ups. Blocks."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from datetime import datetime

from jbackupd.desk.audit import CHAIN_NAME, KEY_NAME, audit_folder
from jbackupd.format.intakefile import IntakeFile
from jbackupd.format.journal import scan
from jbackupd.format.package import journal_key
from jbackupd.model.errors import NotFoundError, RefusedError
from jbackupd.model.ids import TenantId
from jbackupd.service.intake import Brought, read_ledger, take_in
from jbackupd.service.intakeplaces import places, purpose_of
from jbackupd.service.packages import Known
from jbackupd.storage.chain import verify_chain
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.sealedjournal import JOURNAL_NAME, load_key


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back.

    Attributes:
        journals: What each journal's import did.
        entries: Of the record of look-ups; 0 if there was none.
        broken_line: Where that record is broken; None if it is whole.
    """

    journals: tuple[Brought, ...]
    entries: int
    broken_line: int | None


def take_back(
    files: PosixFiles, name: str, known: Known, tenant: TenantId, folder: str, site_key: bytes, now: datetime
) -> Returned:
    """Take in what a laptop has written beside its package; may be called again, with a later state too.

    Args:
        files: The state folder.
        name: The package's name here.
        folder: The package's folder, as it came back.

    Raises:
        NotFoundError: Nothing was written there.
        RefusedError: A record that came back before is not the beginning of this one.
        ChainError: So for a journal: two laptops wrote one history apart. Nothing was changed.
        DamageError, KeyringError, FormatError: It cannot be read, or is another package's.
    """
    carried = PosixFiles(folder)
    if not os.path.isdir(folder):
        raise NotFoundError("there is no folder {folder}", "name the package's folder", folder=folder)
    key = journal_key(known.key, known.id)
    brought = []
    for place in (one for one in places(carried, tenant) if not one.received):
        own = load_key(carried, place.folder, key, purpose=purpose_of(tenant))
        ledger = read_ledger(carried, place, key)
        if ledger.begin is None:
            continue
        data = carried.read(posixpath.join(place.folder, JOURNAL_NAME))
        whole = data[: scan(data).length]
        file = IntakeFile(tenant, ledger.begin.desk, ledger.begin.label, own.id, own.key, whole, now)
        brought.append(take_in(files, tenant, file, site_key))
    entries, broken = _record(files, name, tenant, carried)
    if not brought and not entries:
        raise NotFoundError("nothing was written at the package in {folder}", "name the right folder", folder=folder)
    return Returned(tuple(brought), entries, broken)


def _record(files: PosixFiles, name: str, tenant: TenantId, carried: PosixFiles) -> tuple[int, int | None]:
    """Keep the laptop's record of look-ups beside this site's, with the key that it needs; broken ones as evidence."""
    source = audit_folder(tenant)
    if not carried.exists(f"{source}/{CHAIN_NAME}"):
        return 0, None
    report = verify_chain(carried, f"{source}/{CHAIN_NAME}")
    data = carried.read(f"{source}/{CHAIN_NAME}")
    target = f"{source}/packages/{name}"
    files.make_folder(target)
    path = f"{target}/{CHAIN_NAME}"
    before = files.read(path) if files.exists(path) else b""
    if not data.startswith(before):
        if not before.startswith(data):
            raise RefusedError(
                "the record of look-ups of {package} is not the one that came back before", "keep both folders as "
                "evidence; move {path} away to take this one in", package=name, path=path,
            )
        data = before
    if data != before:
        write_durably(files, path, data, temporary=path + ".new")
        key = f"{target}/{KEY_NAME}"
        write_durably(files, key, carried.read(f"{source}/{KEY_NAME}"), temporary=key + ".new")
    return report.entries, report.broken.line if report.broken else None
