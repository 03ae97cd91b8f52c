"""`jbackupd desk journal`: what clerks have taken in; carried from desk to desk as a sealed file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import NotFoundError, RefusedError, StorageError, UsageError
from jbackupd.model.ids import TenantId, is_word
from jbackupd.model.reasons import reason_of
from jbackupd.model.texts import _, counted

if TYPE_CHECKING:
    from jbackupd.continuity.intake import Ledger
    from jbackupd.service.intakeplaces import Place
    from jbackupd.storage.files import PosixFiles

_FILE_BYTES_MAX = 1 << 30
BY_HAND = "by-hand"
"""The word of the desk that is served by hand, apart from those of recovery plans."""


@click.group(help=_("What clerks have taken in: numbered, sealed, one journal a desk."))
def journal() -> None:
    """Hold the commands of intake journals."""


@journal.command("list", help=_("List the journals of this site's desks, and those that were brought here."))
@click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
@pass_frame
def list_journals(frame: Frame, tenant: str | None) -> None:
    """List journals with their counts."""
    from jbackupd.service.intake import read_ledger
    from jbackupd.service.intakeplaces import places

    files, site_key = state_of(frame)
    owner = tenant_with_intake(frame, tenant)
    rows = [(place, read_ledger(files, place, site_key)) for place in places(files, owner)]
    document = {"tenant": owner, "journals": [_document(place, ledger) for place, ledger in rows]}

    def text() -> None:
        for place, ledger in rows:
            begin = ledger.begin
            if begin is None:
                continue
            last = show_time(ledger.entries[-1].at if ledger.entries else begin.at, running(frame).zone)
            where = _("brought here") if place.received else _("of this site")
            click.echo(counted(
                "{label} ({desk}, {where}): {count} entry, the last one {last}",
                "{label} ({desk}, {where}): {count} entries, the last one {last}", len(ledger.entries),
                label=begin.label, desk=begin.desk, where=where, last=last,
            ))

    frame.emit(document, text)


def _document(place: Place, ledger: Ledger) -> dict[str, Any]:
    begin = ledger.begin
    return {
        "journal": ledger.journal.hex(), "desk": begin.desk if begin else place.name,
        "label": begin.label if begin else None, "received": place.received, "entries": len(ledger.entries),
        "receptions": len(ledger.items), "last_at": ledger.entries[-1].at if ledger.entries else None,
    }


@journal.command(help=_("Write a desk's journal as a sealed file; its passphrase is shown once. The desk may go on."))
@click.option("--to", "target", required=True, metavar="FILE", help=_("where; a file that is there is not replaced"))
@click.option("--desk", metavar="DESK", help=_("which desk of this site; may be left out where there is one"))
@click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
@click.option("--passphrase-file", metavar="FILE", help=_("take the passphrase of this file, do not draw one"))
@pass_frame
def export(
    frame: Frame, target: str, desk: str | None, tenant: str | None, passphrase_file: str | None
) -> None:
    """Write a journal to a file that can be carried."""
    from jbackupd.desk.accounts import generate_password
    from jbackupd.service.intake import export_journal

    files, site_key = state_of(frame)
    place = _own_desk(files, tenant_with_intake(frame, tenant), desk)
    passphrase = (
        _passphrase_of(passphrase_file) if passphrase_file else f"{generate_password()}-{generate_password()}"
    )
    data, entries = export_journal(files, place, site_key, passphrase, datetime.now(UTC))
    write_new(target, data)
    document = {
        "file": target, "tenant": place.tenant, "desk": place.name, "entries": entries, "bytes": len(data),
        **({} if passphrase_file else {"passphrase": passphrase}),
    }

    def text() -> None:
        click.echo(counted("{count} entry is in {path}", "{count} entries are in {path}", entries, path=target))
        if not passphrase_file:
            click.echo(_("passphrase: {passphrase}").format(passphrase=passphrase))

    frame.emit(document, text)
    if not passphrase_file:
        frame.say(_("write the passphrase down and carry it apart from the file; it is shown nowhere else"))


@journal.command("import", help=_("Take a carried journal in. One that came before only grows."))
@click.argument("file", metavar="FILE")
@click.option("--tenant", metavar="TENANT", help=_("whose it must be; default: whose it says it is"))
@click.option("--passphrase-file", metavar="FILE", help=_("where the passphrase is; otherwise it is asked for"))
@pass_frame
def import_file(frame: Frame, file: str, tenant: str | None, passphrase_file: str | None) -> None:
    """Bring a journal of another desk here."""
    from jbackupd.format.intakefile import tenant_of
    from jbackupd.service.intake import import_journal

    data = read_whole(file)
    says = tenant_of(data)
    owner = as_tenant(tenant if tenant is not None else says)
    if owner not in (known := [one.id for one in frame.settings().tenants]) and tenant is None:
        raise RefusedError(
            "this is a journal of {tenant}, which this site does not know",
            "say with --tenant {tenant} that it belongs here; known are: {known}", tenant=says, known=", ".join(known),
        )
    files, site_key = state_of(frame)
    passphrase = _passphrase_of(passphrase_file) if passphrase_file else _asked(frame)
    brought = import_journal(files, owner, data, passphrase, site_key)
    document = {
        "tenant": owner, "desk": brought.desk, "label": brought.label, "entries": brought.records, "new": brought.new,
    }
    frame.emit(document, lambda: click.echo(counted(
        "{label}: {count} entry, {new} of them new here", "{label}: {count} entries, {new} of them new here",
        brought.records, label=brought.label, new=brought.new,
    )))


@journal.command(help=_("Destroy a journal that the rebuilt site has. The desk must be closed, the daemon stopped."))
@click.argument("name", metavar="DESK")
@click.option(
    "--entries", type=int, required=True, metavar="COUNT",
    help=_("how many entries 'desk journal list' shows at the site that it was handed over to"),
)
@click.option("--received", is_flag=True, help=_("DESK is the id of a journal that was brought here"))
@click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
@pass_frame
def erase(frame: Frame, name: str, entries: int, received: bool, tenant: str | None) -> None:
    """Destroy a journal's key, and the journal."""
    from jbackupd.desk.audit import audit_folder, open_audit
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.intakeerasing import erase_journal
    from jbackupd.service.intakeplaces import Place
    from jbackupd.service.lock import state_lock

    if not is_word(name):
        raise UsageError("{text!r} is not a desk's name", "see 'jbackupd desk journal list'", text=name)
    owner = tenant_with_intake(frame, tenant)
    files, site_key = state_of(frame)
    place = Place(owner, received, name)
    # The daemon's desks write under the state folder's lock, a desk by hand under its own.
    with state_lock(files.root), state_lock(os.path.join(files.root, Place(owner, False, BY_HAND).folder)):
        note = erase_journal(files, place, site_key, entries=entries, now=datetime.now(UTC))
        open_audit(files, audit_folder(owner), SystemClock()).erased_intake(journal=note.journal, entries=note.entries)
    document = {"tenant": owner, "desk": name, "journal": note.journal, "label": note.label, "entries": note.entries}
    frame.emit(document, lambda: click.echo(counted(
        "{label}: destroyed with {count} entry", "{label}: destroyed with {count} entries", note.entries,
        label=note.label,
    )))


def state_of(frame: Frame) -> tuple[PosixFiles, bytes]:
    """Return the state folder and the site's local key, made when the site has no identity yet."""
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.identity import load_or_create

    site = frame.settings().site
    files = PosixFiles(site.state)
    return files, load_or_create(files, site.id).local_key


def tenant_with_intake(frame: Frame, given: str | None) -> TenantId:
    """Return whose receptions are meant.

    Raises:
        NotFoundError: Nothing was ever taken in at this site.
        UsageError: There are several, and none was named.
    """
    from jbackupd.service.intakeplaces import tenants_with_intake
    from jbackupd.storage.files import PosixFiles

    if given is not None:
        return as_tenant(given)
    known = tenants_with_intake(PosixFiles(frame.settings().site.state))
    if not known:
        raise NotFoundError(
            "nothing was ever taken in at this site", "bring a journal here with 'jbackupd desk journal import FILE'"
        )
    if len(known) > 1:
        raise UsageError(
            "there are journals of each of {tenants}", "choose one with --tenant", tenants=", ".join(known)
        )
    return known[0]


def as_tenant(text: str) -> TenantId:
    """Return a tenant's id; its name becomes a folder's, so nothing but a word may be one."""
    if not is_word(text):
        raise UsageError("{text!r} is not a tenant's name", "see 'jbackupd config show'", text=text)
    return TenantId(text)


def read_whole(path: str) -> bytes:
    """Return a file's bytes.

    Raises:
        NotFoundError, StorageError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise NotFoundError("unable to read {path}: it does not exist", "name the right file", path=path) from error
    except OSError as error:
        raise StorageError("unable to read {path}: {reason}", path=path, reason=reason_of(error)) from error
    if len(data) > _FILE_BYTES_MAX:
        raise UsageError("{path} is too long for what it should be", "name the right file", path=path)
    return data


def write_new(path: str, data: bytes) -> None:
    """Write a file that is not there yet, mode 0600, durable.

    Raises:
        RefusedError: It is there.
        StorageError: It cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise RefusedError("{path} is there already", "choose another name", path=path) from error
    except OSError as error:
        raise StorageError("unable to write {path}: {reason}", path=path, reason=reason_of(error)) from error


def _own_desk(files: PosixFiles, tenant: TenantId, desk: str | None) -> Place:
    from jbackupd.service.intakeplaces import Place, places

    if desk is not None:
        if not is_word(desk):
            raise UsageError("{text!r} is not a desk's name", "see 'jbackupd desk journal list'", text=desk)
        return Place(tenant, False, desk)
    own = [place for place in places(files, tenant) if not place.received]
    if not own:
        raise NotFoundError("no desk of this site has taken anything in", "see 'jbackupd desk journal list'")
    if len(own) > 1:
        raise UsageError(
            "this site has the desks {desks}", "choose one with --desk", desks=", ".join(place.name for place in own)
        )
    return own[0]


def _passphrase_of(path: str) -> str:
    text = read_whole(path)[:4096].decode("utf-8", "replace").strip()
    if len(text) < 16:
        raise UsageError(
            "the passphrase in {path} is too short", "use at least 16 characters, or let one be drawn", path=path
        )
    return text


def _asked(frame: Frame) -> str:
    if frame.json:
        raise UsageError("nobody can be asked here for the passphrase", "name its file with --passphrase-file")
    return str(click.prompt(_("passphrase"), hide_input=True, err=True))
