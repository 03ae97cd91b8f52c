"""`jbackupd desk` and `jbackupd audit`: the minimal service by hand, and its record."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.deposits import adopt, deposits, erase_deposits
from jbackupd.cli.deskaccounts import BY_HAND as ACCOUNTS
from jbackupd.cli.deskaccounts import account, accounts_of
from jbackupd.cli.journal import BY_HAND, journal
from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import DamageError, NotFoundError, UsageError
from jbackupd.model.ids import TenantId, is_word
from jbackupd.model.texts import _, counted, language

if TYPE_CHECKING:
    from jbackupd.desk.app import DeskSettings
    from jbackupd.storage.chain import ChainReport, Entry
    from jbackupd.storage.files import PosixFiles

DATA = "desk/residents.sqlite"


@click.group(help=_("The minimal service: look-up of residents. A recovery plan does all this by itself."))
def desk() -> None:
    """Hold the commands of the desk."""


desk.add_command(journal)
desk.add_command(account)
for _command in (deposits, adopt, erase_deposits):
    journal.add_command(_command)


@desk.command("load", help=_("Load a resident extract (CSV) into the desk."))
@click.argument("extract", type=click.Path(exists=True, dir_okay=False))
@click.option("--map", "map_file", required=True, metavar="FILE", help=_("column map (TOML)"))
@click.option("--as-of", required=True, metavar="TIME", help=_("the moment that the data shows, with its offset"))
@click.option("--from", "loaded_from", metavar="TEXT", help=_("where the data came from; default: the file's name"))
@click.option("--restrictions", type=click.Path(exists=True, dir_okay=False), help=_("table of support measures (CSV)"))
@click.option("--restrictions-as-of", metavar="TIME", help=_("the moment that the table shows, with its offset"))
@pass_frame
def load(
    frame: Frame, extract: str, map_file: str, as_of: str, loaded_from: str | None, restrictions: str | None,
    restrictions_as_of: str | None,
) -> None:
    """Build the desk's data anew."""
    import os

    from jbackupd.desk.extract import load_extract
    from jbackupd.desk.mapfile import load_map
    from jbackupd.desk.restrictions import read_restrictions

    moment = moment_of(as_of)
    mapping = load_map(map_file)
    database = os.path.join(frame.settings().site.state, DATA)
    if (restrictions is None) != (restrictions_as_of is None):
        raise UsageError("a table of support measures needs its moment", "give --restrictions and --restrictions-as-of")
    table = None
    if restrictions is not None and restrictions_as_of is not None:
        with open(restrictions, "rb") as source:
            table = read_restrictions(source, encoding=mapping.encoding, as_of=moment_of(restrictions_as_of))
    with open(extract, "rb") as source:
        report = load_extract(
            source, mapping=mapping, database=database, as_of=moment,
            loaded_from=loaded_from or os.path.basename(extract), restrictions=table,
        )
    document = {
        "rows": report.rows, "restricted": report.restricted, "restrictions_trusted": report.restrictions_trusted,
        "unclear_births": report.unclear_births, "ignored": report.ignored, "seconds": round(report.seconds, 3),
    }
    frame.emit(document, lambda: click.echo(
        counted(
            "loaded {count} resident in {seconds:.1f} s, {restricted} under support measures",
            "loaded {count} residents in {seconds:.1f} s, {restricted} of them under support measures",
            report.rows, seconds=report.seconds, restricted=report.restricted,
        )
    ))
    if not report.restrictions_trusted:
        if table is not None and table.problem is not None:
            frame.say(table.problem.render(_(table.problem.message)))
        frame.say(_("all addresses are masked: flags of support measures are missing, unreadable or too old"))


@desk.command("serve", help=_("Serve the desk until it is interrupted."))
@click.option("--title", metavar="TEXT", help=_("the municipality's name; default: the tenant's"))
@click.option("--certificate", metavar="FILE", help=_("PEM certificate chain; with it only https is spoken"))
@click.option("--private-key", metavar="FILE", help=_("PEM key of the certificate"))
@click.option("--tenant", metavar="TENANT", help=_("whose residents they are; needed unless there is one tenant"))
@click.option("--font", metavar="FILE", help=_("TrueType or OpenType font with the shapes of 外字"))
@pass_frame
def serve(
    frame: Frame, title: str | None, certificate: str | None, private_key: str | None, tenant: str | None,
    font: str | None,
) -> None:
    """Serve the loaded data."""
    import os

    from jbackupd.desk.app import DeskSettings
    from jbackupd.desk.audit import audit_folder, open_audit
    from jbackupd.desk.gaiji import load_font
    from jbackupd.desk.keeper import FileKeeper
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.deskaccess import provider_of, roles_of
    from jbackupd.service.intake import Books
    from jbackupd.service.intakeplaces import Place
    from jbackupd.service.lock import state_lock
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.identity import load_or_create

    settings = frame.settings()
    files = PosixFiles(settings.site.state)
    if not accounts_of(frame):
        raise NotFoundError("the desk has no account yet", "make one with 'jbackupd desk account add NAME'")
    owner = _owner(frame, tenant)
    clock = SystemClock()
    town = title or next((one.name for one in settings.tenants if one.id == owner and one.name), owner)
    site_key = load_or_create(files, settings.site.id).local_key
    # One process writes this desk's journal, and the audit log beside it.
    with state_lock(os.path.join(settings.site.state, Place(owner, False, BY_HAND).folder)):
        audit = open_audit(files, audit_folder(owner), clock)
        desk_settings = DeskSettings(
            os.path.join(settings.site.state, DATA), audit, FileKeeper(files, ACCOUNTS), town,
            settings.language or language(), roles=roles_of(settings), provider=provider_of(settings, owner),
            secure=certificate is not None, clock=clock, font=load_font(font) if font else None,
            book=Books(files, lambda: site_key, clock).of(owner, BY_HAND, town, audit),
        )
        asyncio.run(_serve(frame, desk_settings, certificate, private_key))


def _owner(frame: Frame, given: str | None) -> TenantId:
    """Return whose residents the desk shows: their look-ups go into this tenant's audit log."""
    if given is not None:
        return _tenant(given)
    tenants = [tenant.id for tenant in frame.settings().tenants]
    if len(tenants) != 1:
        raise UsageError(
            "it is not known whose residents these are: the configuration has {count} tenants",
            "name the municipality with --tenant", count=len(tenants),
        )
    return tenants[0]


def _tenant(text: str) -> TenantId:
    # The name becomes a folder's: nothing but a word may.
    if not is_word(text):
        raise UsageError("{text!r} is not a tenant's name", "see 'jbackupd config show'", text=text)
    return TenantId(text)


async def _serve(frame: Frame, settings: DeskSettings, certificate: str | None, private_key: str | None) -> None:
    from jbackupd.desk.app import create_app
    from jbackupd.desk.server import DeskServer

    app = await asyncio.to_thread(create_app, settings)
    server = DeskServer(app, frame.settings().desk.listen, certificate=certificate, private_key=private_key)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    try:
        frame.say(_("the desk answers at {url}; end it with Ctrl+C").format(url=server.url))
        await stop.wait()
    finally:
        await server.stop()


@click.group(help=_("The record of every look-up at the desk."))
def audit() -> None:
    """Hold the commands of the audit log."""


@audit.command("verify", help=_("Check the whole chain; note its head, and compare it later."))
@click.option("--file", "file", metavar="FILE", help=_("another log than this site's"))
@click.option("--tenant", metavar="TENANT", help=_("whose log; may be left out where there is one"))
@pass_frame
def verify(frame: Frame, file: str | None, tenant: str | None) -> int:
    """Check a log; exit code 4 names the first broken line."""
    from jbackupd.storage.chain import verify_chain

    files, path = _chain(frame, file, tenant)
    if not files.exists(path):
        raise NotFoundError("there is no audit log {path}", "it begins when the desk is started", path=path)
    report = verify_chain(files, path)
    broken = report.broken
    document = {
        "entries": report.entries, "head": report.head, "torn_bytes": report.torn_bytes,
        "broken": {"line": broken.line, "offset": broken.offset, "reason": broken.reason} if broken else None,
    }
    frame.emit(document, lambda: _show_report(report))
    return DamageError.exit_code if broken else 0


def _show_report(report: ChainReport) -> None:
    if report.broken:
        click.echo(_("broken in line {line}: {reason}").format(
            line=report.broken.line, reason=_(report.broken.reason)
        ))
    click.echo(counted(
        "{count} entry is whole, head {head}", "{count} entries are whole, head {head}", report.entries,
        head=report.head,
    ))
    if report.torn_bytes:
        click.echo(counted(
            "{count} byte of an entry that was never finished follows",
            "{count} bytes of an entry that was never finished follow", report.torn_bytes,
        ))


@audit.command("show", help=_("Show entries; with --words or --number only the look-ups of that search or person."))
@click.option("--file", "file", metavar="FILE", help=_("another log than this site's"))
@click.option("--tenant", metavar="TENANT", help=_("whose log; may be left out where there is one"))
@click.option("--words", metavar="TEXT", help=_("only searches for exactly this; needs the key beside the log"))
@click.option("--number", metavar="NUMBER", help=_("only views of the resident with this number; needs the key"))
@click.option("--who", metavar="ACCOUNT", help=_("only what this account did"))
@click.option("--purpose", metavar="PURPOSE", help=_("only for this: safety, certificate, shelter, inquiry or other"))
@pass_frame
def show(
    frame: Frame, file: str | None, tenant: str | None, words: str | None, number: str | None, who: str | None,
    purpose: str | None,
) -> None:
    """Show entries of a log."""
    from jbackupd.desk.audit import KEY_NAME, person_digest, search_digest
    from jbackupd.desk.purposes import Purpose
    from jbackupd.desk.query import understand
    from jbackupd.storage.chain import read_chain

    if purpose is not None and purpose not in {one.value for one in Purpose}:
        raise UsageError("{text!r} is no purpose", "there are: {purposes}", text=purpose, purposes=", ".join(
            one.value for one in Purpose
        ))
    files, path = _chain(frame, file, tenant)
    wanted = set()
    if words is not None or number is not None:
        key = files.read(f"{path.rpartition('/')[0]}/{KEY_NAME}".lstrip("/"))
        wanted |= {search_digest(key, understand(words))} if words is not None else set()
        wanted |= {person_digest(key, number)} if number is not None else set()
    entries = (
        entry for entry in read_chain(files, path)
        if (not wanted or {entry.fields.get("words"), entry.fields.get("person")} & wanted)
        and (who is None or entry.fields.get("who") == who)
        and (purpose is None or entry.fields.get("purpose") == purpose)
    )
    if frame.json:
        frame.emit({"entries": [_entry_document(entry) for entry in entries]}, lambda: None)
        return
    for entry in entries:
        fields = " ".join(f"{name}={_plain(value)}" for name, value in entry.fields.items())
        click.echo(f"{entry.sequence:6} {entry.at} {fields}")


def _entry_document(entry: Entry) -> dict[str, Any]:
    return {"sequence": entry.sequence, "at": entry.at, **entry.fields, "digest": entry.digest}


def _plain(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)


def _chain(frame: Frame, file: str | None, tenant: str | None) -> tuple[PosixFiles, str]:
    import os

    from jbackupd.desk.audit import CHAIN_NAME, audit_folder, audited_tenants
    from jbackupd.storage.files import PosixFiles

    if file is not None:
        return PosixFiles(os.path.dirname(os.path.abspath(file))), os.path.basename(file)
    files = PosixFiles(frame.settings().site.state)
    known = audited_tenants(files)
    if tenant is None and len(known) != 1:
        if not known:
            raise NotFoundError("there is no audit log yet", "it begins when the desk is started")
        raise UsageError(
            "there is an audit log for each of {tenants}", "choose one with --tenant", tenants=", ".join(known)
        )
    owner = known[0] if tenant is None else _tenant(tenant)
    return files, f"{audit_folder(owner)}/{CHAIN_NAME}"


def moment_of(text: str) -> datetime:
    """Return a moment that was typed with its offset.

    Raises:
        UsageError: It is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError("{text!r} is not a moment", "write for example 2026-11-23T04:10+09:00", text=text)
    return moment
