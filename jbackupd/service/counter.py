"""The desks that a recovery run opens, and the look-ups that prove them."""

from __future__ import annotations

import asyncio
import os
import posixpath
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from starlette.applications import Starlette

from jbackupd.desk.accounts import Account, Accounts, Grant, generate_password, save_accounts
from jbackupd.desk.app import DeskSettings, create_app
from jbackupd.desk.audit import DeskAudit
from jbackupd.desk.database import is_current
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.gaiji import load_font
from jbackupd.desk.intake import Book
from jbackupd.desk.keeper import FileKeeper
from jbackupd.desk.probe import probe_desk
from jbackupd.desk.residents import Residents
from jbackupd.desk.restrictions import Restrictions, moment_of_table, no_table, read_restrictions
from jbackupd.desk.roles import LOOK_UP, ROLE_BEFORE_ROLES
from jbackupd.desk.server import DeskServer
from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.ids import TenantId
from jbackupd.runtime.offload import settled
from jbackupd.service.premises import Premises
from jbackupd.settings.steps import CheckStep, DeskStep
from jbackupd.storage.beneath import Beneath
from jbackupd.storage.durable import write_durably

CHECK_ACCOUNT = "jbackupd-check"
_CHECKS_LOOK = Grant(LOOK_UP.name, "jbackupd")
CLERKS_FILE = "first-sign-in.txt"
PROBE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore step brought.

    Attributes:
        point: TENANT/DATASET@SEQUENCE.
        as_of: When that point was begun: nothing in it is older than that moment's state.
        folder: Where its files are.
    """

    point: str
    as_of: datetime
    folder: str


@dataclass(frozen=True, slots=True)
class _Desk:
    """An open desk."""

    server: DeskServer
    residents: Residents
    check_password: str
    certificate: str | None
    drill_book: Book | None


@dataclass(frozen=True, slots=True)
class _Made:
    """A desk that is ready to be served."""

    app: Starlette
    residents: Residents
    check_password: str
    passwords_file: str
    drill_book: Book | None


class Counter:
    """The desks of one run; they stay open until it is closed.

    Args:
        folder: Where their data lies, in the state folder; only clerks' accounts outlive the run there. What clerks
            take in lies elsewhere (service.intake), but for a drill.
        tenant: Whose residents they are.
        drill: What clerks take in is removed with the run.
    """

    def __init__(self, premises: Premises, folder: str, tenant: TenantId, *, drill: bool = False) -> None:
        self._premises = premises
        self._tenant = tenant
        self._drill = drill
        self._folder = folder
        self._open: dict[str, _Desk] = {}

    async def open(self, step: DeskStep, restored: Restored) -> Mapping[str, Any]:
        """Load a resident extract, once, and serve it; return what to note of it.

        Raises:
            DamageError, UsageError: The extract is not what the plan says.
            ConfigError: The address or the certificate cannot be used.
        """
        made = await settled(asyncio.to_thread(self._make, step, restored))
        await self.close_one(step.id)
        server = DeskServer(made.app, step.listen, certificate=step.certificate, private_key=step.private_key)
        try:
            await server.start()
        except BaseException:
            await server.stop()
            made.residents.close()
            raise
        self._open[step.id] = _Desk(server, made.residents, made.check_password, step.certificate, made.drill_book)
        facts = made.residents.facts
        return {
            "url": server.url, "residents": facts.rows, "as_of": facts.as_of.isoformat(),
            "accounts": list(step.accounts), "passwords_file": made.passwords_file,
        }

    def check(self, step: CheckStep) -> Mapping[str, Any]:
        """Look residents up as a clerk does, over HTTP; return what to note of it. Blocks.

        Raises:
            JbackupdError: Somebody was not found, or the desk did not answer as it must.
        """
        desk = self._open.get(step.desk or "")
        if desk is None:
            raise NotFoundError("the desk of step {step} is not open", "resume the run", step=step.desk)
        wanted = [(step.query, step.expect or step.query)] if step.query else _drawn(desk.residents, step.samples)
        if not wanted:
            raise NotFoundError("the desk of step {step} has no residents", "look at its extract", step=step.desk)
        seen = [
            probe_desk(
                desk.server.url, CHECK_ACCOUNT, desk.check_password, query, expect, timeout_seconds=PROBE_SECONDS,
                trusted=_trusting(desk.certificate),
            )
            for query, expect in wanted
        ]
        slowest = max(one.seconds for one in seen)
        return {"look_ups": len(seen), "slowest_seconds": round(slowest, 3), "as_of_shown": seen[-1].as_of}

    async def close(self) -> None:
        """Close all desks."""
        for name in list(self._open):
            await self.close_one(name)

    async def close_one(self, name: str) -> None:
        """Close a step's desk, if it is open."""
        desk = self._open.pop(name, None)
        if desk is not None:
            await desk.server.stop()
            desk.residents.close()
            if desk.drill_book is not None:
                desk.drill_book.close()

    def _make(self, step: DeskStep, restored: Restored) -> _Made:
        folder = posixpath.join(self._folder, step.id)
        self._premises.files.make_folder(folder)
        database = posixpath.join(self._premises.files.root, folder, "residents.db")
        self._load(step, restored, database)
        accounts_file, passwords_file = self._accounts(step, folder)
        check_password = secrets.token_urlsafe(24)
        audit = self._premises.audit()
        book = self._book(step, audit)
        app = create_app(DeskSettings(
            database=database, audit=audit, book=book,
            accounts=FileKeeper(
                self._premises.files, accounts_file, beside=[Account.make(CHECK_ACCOUNT, check_password, _CHECKS_LOOK)],
            ), roles=self._premises.roles, provider=self._premises.provider(), title=step.title,
            language=self._premises.language, secure=step.certificate is not None, clock=self._premises.clock,
            font=load_font(step.font) if step.font else None,
        ))
        return _Made(app, Residents(database), check_password, passwords_file, book if self._drill else None)

    def _book(self, step: DeskStep, audit: DeskAudit) -> Book | None:
        books = self._premises.books
        if books is None:
            return None
        if self._drill:
            folder = posixpath.join(self._folder, step.id, "intake")
            return books.apart(self._tenant, step.id, step.title, audit, folder=folder)
        return books.of(self._tenant, step.id, step.title, audit)

    def _load(self, step: DeskStep, restored: Restored, database: str) -> None:
        if is_current(database):
            return
        with _opened(restored.folder, step.file) as extract:
            load_extract(
                extract, database=database, as_of=restored.as_of, loaded_from=f"{restored.point}: {step.file}",
                mapping=ColumnMap.parse(step.columns, ignore=step.ignore, encoding=step.encoding),
                restrictions=_restrictions(step, restored, os.fstat(extract.fileno()).st_mtime),
            )

    def _accounts(self, step: DeskStep, folder: str) -> tuple[str, str]:
        """Return the file of the clerks' accounts, drawn once; the officer hands out the passwords of another file."""
        files = self._premises.files
        for role in step.roles.values():
            self._premises.roles.get(role)
        path, passwords = posixpath.join(folder, "accounts.json"), posixpath.join(folder, CLERKS_FILE)
        if not files.exists(path):
            drawn = {name: generate_password() for name in step.accounts}
            text = "".join(f"{name}\t{password}\n" for name, password in drawn.items())
            write_durably(files, passwords, text.encode(), temporary=passwords + ".new")
            save_accounts(files, path, Accounts(
                Account.make(name, drawn[name], Grant(step.roles.get(name, ROLE_BEFORE_ROLES))) for name in drawn
            ))
        return path, posixpath.join(files.root, passwords)


def _opened(folder: str, path: str) -> BinaryIO:
    beneath = Beneath(folder)
    try:
        return open(beneath.open_file(os.fsencode(path)), "rb")
    finally:
        beneath.close()


def _restrictions(step: DeskStep, restored: Restored, extract_written: float) -> Restrictions | None:
    """Return what the step's table of support measures says; one that cannot be read hides all addresses."""
    if step.restrictions is None:
        return None
    try:
        table = _opened(restored.folder, step.restrictions)
    except JbackupdError:
        return no_table(restored.as_of)
    with table:
        as_of = moment_of_table(
            restored.as_of, table_written=os.fstat(table.fileno()).st_mtime, extract_written=extract_written
        )
        return read_restrictions(table, encoding=step.encoding, as_of=as_of)


def _trusting(certificate: str | None) -> ssl.SSLContext | None:
    """Return what makes a client trust a desk's own certificate, whatever address it listens at."""
    if certificate is None:
        return None
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    return context


def _drawn(residents: Residents, count: int) -> list[tuple[str, str]]:
    """Draw residents evenly from the data: search each by number, expect the name."""
    rows = residents.facts.rows
    step = max(1, rows // count)
    found = [residents.resident(row) for row in range(1, rows + 1, step)][:count]
    return [(resident.number, resident.name) for resident in found]
