"""The deeds of a recovery run's steps at this site: unlock, restore, desk, check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jbackupd.catalog.database import Catalog
from jbackupd.codec.shares import Share, combine
from jbackupd.codec.signing import SiteVerifier
from jbackupd.continuity.record import RunRecord, run_folder
from jbackupd.desk.accounts import Account, Accounts, generate_password, load_accounts, save_accounts
from jbackupd.desk.app import DeskSettings, create_app
from jbackupd.desk.audit import DeskAudit, open_audit
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.probe import probe_desk
from jbackupd.desk.residents import Residents
from jbackupd.desk.server import DeskServer
from jbackupd.model.clock import Clock
from jbackupd.model.errors import KeyMissingError, NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectRef, PointSelector, SiteId, TenantId
from jbackupd.restore.options import RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.settings.plan import CheckStep, DeskStep, RestoreStep, Step, UnlockStep
from jbackupd.storage.beneath import Beneath
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import Vault

Tell = Callable[[Mapping[str, Any]], None]
Freshen = Callable[[TenantId], Awaitable[Mapping[str, Any]]]
"""Asks the other sites for newer points and fetches them; returns what each said."""

AUDIT_FOLDER = "audit"
CHECK_ACCOUNT = "jbackupd-check"
CLERKS_FILE = "first-sign-in.txt"
PROBE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Premises:
    """What the steps work with.

    Attributes:
        files: The state folder.
        store: The tenant's objects at this site.
        verifiers: Who may sign points.
        freshen: Asks the other sites before each restore.
        language: Of the desk's pages until a clerk chooses.
    """

    files: PosixFiles
    store: ObjectStore
    verifiers: Mapping[SiteId, SiteVerifier]
    clock: Clock
    freshen: Freshen
    language: str


class SiteSteps:
    """Does the steps of one run; keeps keys and open desks in memory only.

    Args:
        record: The run's record, to look earlier outcomes up.
        shares: As the officers gave them; forgotten after the unlocking.
    """

    def __init__(self, premises: Premises, record: RunRecord, shares: Sequence[Share]) -> None:
        self._premises = premises
        self._record = record
        self._plan = record.plan
        self._folder = run_folder(record.beginning.run)
        self._shares: Sequence[Share] = shares
        self._keys: RecoveredKeys | None = None
        self._audit: DeskAudit | None = None
        self._desks: dict[str, _OpenDesk] = {}

    async def perform(self, step: Step, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Do a step; see `continuity.run.Actions`."""
        match step:
            case UnlockStep():
                return await asyncio.to_thread(self._unlock)
            case RestoreStep():
                news = await self._premises.freshen(self._plan.tenant)
                return {**await asyncio.to_thread(self._restore, step, stopped, tell), "sites": dict(news)}
            case DeskStep():
                return await self._open_desk(step)
            case CheckStep():
                return await asyncio.to_thread(self._check, step)

    async def close(self) -> None:
        """Close the desks and forget the keys."""
        self._keys, self._shares = None, ()
        for desk in self._desks.values():
            await desk.server.stop()
            desk.residents.close()
        self._desks.clear()

    def _unlock(self) -> Mapping[str, Any]:
        seed = combine(self._shares)
        shares, self._shares = len(self._shares), ()
        store = self._premises.store
        objects = [
            store.read_checked(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)
        ]
        self._keys = RecoveredKeys.from_seed(seed, self._plan.tenant, objects)
        return {"shares": shares, "key_objects": len(objects)}

    def _restore(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        if self._keys is None:
            raise KeyMissingError("the keys are not unlocked", "let the step need the unlock step")
        self._premises.files.make_folder(self._folder)
        catalog_path = posixpath.join(self._premises.files.root, self._folder, "catalog.sqlite")
        with contextlib.closing(Catalog(catalog_path)) as catalog:
            found = reconcile(self._premises.store, catalog, self._keys, tenant=self._plan.tenant, with_chunks=False)
            vault = Vault(
                self._premises.store, catalog, self._keys, tenant=self._plan.tenant,
                verifiers=self._premises.verifiers,
            )
            stored = vault.points.find(PointSelector.parse(f"{step.dataset}@{step.point}"))
            target = self._data_folder(step.id)

            def progress(done: RestoreResult) -> None:
                tell({"point": stored.label, "bytes": done.bytes, "files": done.files})

            result = restore(
                vault.open_point(stored), target, RestoreOptions(resume=True), progress=progress,
                stopped=stopped.is_set,
            )
        if result.tree_error is not None:
            raise result.tree_error
        if result.problems:
            raise result.problems[0].error
        return {
            "point": stored.label, "as_of": stored.header.begun_at.isoformat(), "files": result.files + result.kept,
            "bytes": result.bytes, "kept": result.kept, "folder": target, "incomplete": stored.header.incomplete,
            "damaged_indexes": len(found.damaged),
        }

    async def _open_desk(self, step: DeskStep) -> Mapping[str, Any]:
        loaded = await asyncio.to_thread(self._load_desk, step)
        if step.id in self._desks:
            await self._desks.pop(step.id).server.stop()
        app = create_app(DeskSettings(
            database=loaded.database, audit=loaded.audit, accounts=loaded.accounts, title=step.title,
            language=self._premises.language, secure=step.certificate is not None, clock=self._premises.clock,
        ))
        server = DeskServer(app, step.listen, certificate=step.certificate, private_key=step.private_key)
        await server.start()
        self._desks[step.id] = _OpenDesk(server, loaded.residents, loaded.check_password)
        return {
            "url": server.url, "residents": loaded.residents.facts.rows,
            "as_of": loaded.residents.facts.as_of.isoformat(), "accounts": list(step.accounts),
            "passwords_file": loaded.passwords_file,
        }

    def _load_desk(self, step: DeskStep) -> _LoadedDesk:
        folder = posixpath.join(self._folder, "desk", step.id)
        self._premises.files.make_folder(folder)
        database = posixpath.join(self._premises.files.root, folder, "residents.db")
        self._load_residents(step, database)
        if self._audit is None:
            self._audit = open_audit(self._premises.files, AUDIT_FOLDER, self._premises.clock)
        residents = Residents(database)
        facts = residents.facts
        self._audit.opened(loaded_from=facts.loaded_from, as_of=facts.as_of.isoformat(), rows=facts.rows)
        accounts, passwords_file = self._accounts(step, folder)
        check_password = secrets.token_urlsafe(24)
        return _LoadedDesk(
            database, residents, self._audit, accounts.with_account(Account.make(CHECK_ACCOUNT, check_password)),
            check_password, passwords_file,
        )

    def _load_residents(self, step: DeskStep, database: str) -> None:
        """Build the desk's database from the extract that the restore step brought; done once."""
        if os.path.exists(database):
            return
        beneath = Beneath(self._data_folder(step.data))
        try:
            descriptor = beneath.open_file(os.fsencode(step.file))
        finally:
            beneath.close()
        with open(descriptor, "rb") as extract:
            load_extract(
                extract, database=database, as_of=self._as_of(step.data), loaded_from=f"{step.data}: {step.file}",
                mapping=ColumnMap.parse(step.columns, ignore=step.ignore, encoding=step.encoding),
            )

    def _as_of(self, restore_step: str) -> datetime:
        """Return when the point of a restore step was begun: nothing in it is older than that moment's state."""
        return datetime.fromisoformat(self._record.steps[restore_step].detail["as_of"])

    def _accounts(self, step: DeskStep, folder: str) -> tuple[Accounts, str]:
        """Return the clerks' accounts, drawn once; their first passwords lie in a file for the officer to hand out."""
        files = self._premises.files
        path, passwords = posixpath.join(folder, "accounts.json"), posixpath.join(folder, CLERKS_FILE)
        if not files.exists(path):
            drawn = {name: generate_password() for name in step.accounts}
            text = "".join(f"{name}\t{password}\n" for name, password in drawn.items())
            write_durably(files, passwords, text.encode(), temporary=passwords + ".new")
            save_accounts(files, path, Accounts(Account.make(name, drawn[name]) for name in drawn))
        return load_accounts(files, path), posixpath.join(files.root, passwords)

    def _check(self, step: CheckStep) -> Mapping[str, Any]:
        desk = self._desks.get(step.desk)
        if desk is None:
            raise NotFoundError("the desk of step {step} is not open", "resume the run", step=step.desk)
        wanted = [(step.query, step.expect or step.query)] if step.query else _drawn(desk.residents, step.samples)
        seconds = []
        as_of = ""
        for query, expect in wanted:
            seen = probe_desk(
                desk.server.url, CHECK_ACCOUNT, desk.check_password, query, expect, timeout_seconds=PROBE_SECONDS
            )
            seconds.append(seen.seconds)
            as_of = seen.as_of
        return {"look_ups": len(wanted), "slowest_seconds": round(max(seconds), 3), "as_of_shown": as_of}

    def _data_folder(self, step: str) -> str:
        return posixpath.join(self._premises.files.root, self._folder, "data", step)


@dataclass(frozen=True, slots=True)
class _LoadedDesk:
    database: str
    residents: Residents
    audit: DeskAudit
    accounts: Accounts
    check_password: str
    passwords_file: str


@dataclass(frozen=True, slots=True)
class _OpenDesk:
    server: DeskServer
    residents: Residents
    check_password: str


def _drawn(residents: Residents, count: int) -> list[tuple[str, str]]:
    """Draw residents evenly from the data: search each by number, expect the name."""
    rows = residents.facts.rows
    step = max(1, rows // count)
    found = [residents.resident(row) for row in range(1, rows + 1, step)][:count]
    return [(resident.number, resident.name) for resident in found]
