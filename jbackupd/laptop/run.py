"""Runs the desk of a package on this machine, for this machine's browser alone; or hands out what was taken in.

Look-ups are recorded and receptions written in the package's folder, or in another one that is named with --work; the
residents are in memory only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import os
import signal
import sys
import webbrowser
from collections.abc import Sequence
from datetime import datetime, timedelta

from starlette.applications import Starlette

from jbackupd.codec.paper import text_of
from jbackupd.codec.shares import Share
from jbackupd.desk.accounts import Account, Accounts, Grant, generate_password
from jbackupd.desk.app import create_app
from jbackupd.desk.audit import CHAIN_NAME, audit_folder, open_audit
from jbackupd.desk.gaiji import parse_font
from jbackupd.desk.roles import SUPERVISOR
from jbackupd.desk.server import DeskServer
from jbackupd.desk.web import DeskSettings
from jbackupd.format.package import journal_key
from jbackupd.laptop.opening import Found, Opened, check_time, find, open_package, with_passphrase, with_shares
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import ConfigError, JbackupdError, KeyringError, UsageError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _, counted, in_language
from jbackupd.model.units import Address
from jbackupd.model.wareki import show_moment
from jbackupd.service.intake import Books, export_journal
from jbackupd.service.intakeplaces import Place
from jbackupd.storage.chain import read_chain
from jbackupd.storage.files import PosixFiles

DESK = "package"
"""How the laptop's journal is called among the tenant's."""
PORTS = (7480, 0)
TRIES = 3
_OFFICER = "kagi"


def main(folder: str, arguments: Sequence[str]) -> int:
    """Run; return the exit code.

    Args:
        folder: The package's.
    """
    asked = _parser().parse_args(arguments)
    with in_language(asked.language):
        try:
            return _run(folder, asked)
        except JbackupdError as error:
            _say(error.render(_(error.message)))
            if error.hint:
                _say("  " + error.render(_(error.hint)))
            return error.exit_code
        except KeyboardInterrupt:
            return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="start.py", description="Opens a municipality's package (市町村パッケージ).")
    parser.add_argument("--share", action="append", default=[], metavar="FILE", help="open with shares: 分割鍵で開く")
    parser.add_argument("--export", metavar="FILE", help="write what was taken in to a file: 受付をファイルに書き出す")
    parser.add_argument("--work", metavar="FOLDER", help="for receptions and the record, if the stick is read-only")
    parser.add_argument("--port", type=int, metavar="PORT", help="of the page on this machine")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.add_argument("--language", choices=("ja", "en"), default="ja")
    return parser


def _run(folder: str, asked: argparse.Namespace) -> int:
    found = find(folder)
    work = PosixFiles(asked.work or folder)
    _show(found)
    key = _key(found, asked.share)
    tenant = TenantId(found.manifest.tenant)
    if asked.export:
        # What was taken in comes out after the package has expired too.
        return _export(found, work, tenant, key, asked.export)
    clock = SystemClock()
    check_time(found.manifest, clock.now(), _newest_entry(work, tenant))
    opened = open_package(found, key)
    accounts = Accounts.decode(opened.content.accounts)
    if asked.share:
        password = generate_password()
        accounts = accounts.with_account(Account.make(_OFFICER, password, Grant(SUPERVISOR.name)))
        _say(_("opened with shares: sign in as {account} with {password}, until this desk ends").format(
            account=_OFFICER, password=password
        ))
    asyncio.run(_serve(opened, accounts, work, tenant, asked))
    return 0


def _show(found: Found) -> None:
    manifest = found.manifest
    _say(_("package of {title}, data as of {as_of}, opens until {until}").format(
        title=manifest.title, as_of=show_moment(manifest.as_of), until=show_moment(manifest.expires_at)
    ))


def _key(found: Found, shares: Sequence[str]) -> bytes:
    if shares:
        return with_shares(found, [_share(path) for path in shares])
    for tries_left in reversed(range(TRIES)):
        name = _asked(_("Account") + ": ", hidden=False)
        try:
            return with_passphrase(found, name, _asked(_("Passphrase") + ": ", hidden=True))
        except KeyringError as error:
            if not tries_left:
                raise
            _say(error.render(_(error.message)))
    raise AssertionError("the last try returns or raises")


def _asked(prompt: str, *, hidden: bool) -> str:
    """Ask a person; without a terminal the lines of standard input answer."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass(prompt) if hidden else input(prompt).strip()


def _share(path: str) -> Share:
    try:
        with open(path, "rb") as file:
            return Share.from_text(text_of(file.read(1 << 20)), source=os.path.basename(path))
    except OSError as error:
        raise UsageError("unable to read {path}: {reason}", path=path, reason=error.strerror or "") from error


def _newest_entry(work: PosixFiles, tenant: TenantId) -> datetime | None:
    path = f"{audit_folder(tenant)}/{CHAIN_NAME}"
    newest = None
    if work.exists(path):
        for entry in read_chain(work, path):
            newest = entry.at
    return datetime.fromisoformat(newest) if newest else None


async def _serve(
    opened: Opened, accounts: Accounts, work: PosixFiles, tenant: TenantId, asked: argparse.Namespace
) -> None:
    """Serve until the person ends it, or the package expires."""
    clock, manifest = SystemClock(), opened.manifest
    audit = open_audit(work, audit_folder(tenant), clock)
    books = Books(work, lambda: opened.journal_key, clock)
    settings = DeskSettings(
        opened.content.database, audit, accounts, manifest.title, asked.language, clock=clock,
        book=books.of(tenant, DESK, manifest.title, audit),
        font=parse_font(opened.content.font) if opened.content.font else None,
    )
    app = await asyncio.to_thread(create_app, settings)
    server = await _started(app, [asked.port] if asked.port is not None else PORTS)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        _say(_("the desk answers at {url}; end it with Ctrl+C").format(url=server.url))
        if not asked.no_browser:
            await asyncio.to_thread(webbrowser.open, server.url)
        if not await _until(stop, manifest.expires_at, clock):
            _say(_("the package has expired: the desk is closed"))
    finally:
        await server.stop()
        audit.chain.close()


async def _until(stop: asyncio.Event, end: datetime, clock: SystemClock) -> bool:
    """Return True when it is told to stop, False at the end."""
    while (left := end - clock.now()) > timedelta():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left.total_seconds(), 60)):
                return await stop.wait()
    return False


async def _started(app: Starlette, ports: Sequence[int]) -> DeskServer:
    """Serve on this machine's own address, on the first of the ports that is free."""
    for port in ports[:-1]:
        server = DeskServer(app, Address("127.0.0.1", port))
        try:
            await server.start()
        except ConfigError:
            await server.stop()
            continue
        return server
    server = DeskServer(app, Address("127.0.0.1", ports[-1]))
    await server.start()
    return server


def _export(found: Found, work: PosixFiles, tenant: TenantId, key: bytes, path: str) -> int:
    """Write the journal as a file under a passphrase that is drawn, to be said on the telephone."""
    passphrase = f"{generate_password()}-{generate_password()}"
    data, entries = export_journal(
        work, Place(tenant, False, DESK), journal_key(key, found.id), passphrase, SystemClock().now()
    )
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UsageError("{path} is there already", "choose another name", path=path) from error
    except OSError as error:
        raise UsageError("unable to write {path}: {reason}", path=path, reason=error.strerror or "") from error
    _say(counted("{count} entry is in {path}", "{count} entries are in {path}", entries, path=path))
    _say(_("passphrase: {passphrase}").format(passphrase=passphrase))
    _say(_("write the passphrase down and carry it apart from the file; it is shown nowhere else"))
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
