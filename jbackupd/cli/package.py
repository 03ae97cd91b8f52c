"""`jbackupd tenant package`: residents and a desk in a folder, for one laptop without a network (市町村パッケージ)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError
from jbackupd.model.texts import _, counted

if TYPE_CHECKING:
    from jbackupd.format.package import Manifest
    from jbackupd.service.packages import Founded
    from jbackupd.settings.schema import Package


@click.group(help=_("What a municipality keeps at its own office."))
def tenant() -> None:
    """Hold the commands of tenants."""


@tenant.group(help=_("Residents and a desk in a folder that one laptop without a network opens (市町村パッケージ)."))
def package() -> None:
    """Hold the commands of packages."""


@package.command("list", help=_("List the packages of this site and how old they are."))
@pass_frame
def list_packages(frame: Frame) -> None:
    """List packages; needs no daemon."""
    from jbackupd.service.packaging import written

    found = [(one, written(one)) for one in frame.settings().packages]
    document = {"packages": [{"package": one.id, "to": one.to, **_facts(last)} for one, last in found]}

    def text() -> None:
        for one, last in found:
            click.echo(f"{one.id}  {one.to}  " + (_line(frame, last) if last else _("nothing is written there")))
        if not found:
            frame.say(_("the configuration has no [[package]]"))

    frame.emit(document, text)


@package.command(help=_("Write a package now, of the newest point; the first time with who may open it."))
@click.argument("name", metavar="PACKAGE")
@click.option(
    "--clerk", "clerks", multiple=True, metavar="NAME[=ROLE]", help=_("who may open it, the first time (role: issue)")
)
@click.option("--slips", metavar="FILE", help=_("page with the passphrases, to print; without it they are shown once"))
@click.option(
    "--wheels", multiple=True, metavar="TAG=FOLDER", help=_("also for another kind of machine, with its libraries")
)
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def write(
    frame: Frame, name: str, clerks: tuple[str, ...], slips: str | None, wheels: tuple[str, ...], local: bool
) -> None:
    """Found a package if that was never done, and write it."""
    from jbackupd.service.packages import is_founded, package_named
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    wanted = package_named(settings, name)
    there = is_founded(PosixFiles(settings.site.state), name)
    if there and clerks:
        raise RefusedError(
            "the package {package} was founded already", "'jbackupd tenant package erase' forgets it", package=name
        )
    if not there and not clerks:
        raise UsageError("nobody could open the package {package}", "name who may with --clerk NAME", package=name)
    if wheels and not local:
        raise UsageError("programs for other machines are laid in by this process", "add --local")
    founded = None if there else _found(frame, wanted, clerks, slips)
    note = _written_here(frame, wanted, wheels) if local else running(frame).call("package.write", package=name)

    def text() -> None:
        click.echo(counted(
            "{folder}: {count} resident of {point}, opens until {until}",
            "{folder}: {count} residents of {point}, opens until {until}", note["residents"], folder=wanted.to,
            point=note["point"], until=_time(frame, note["expires_at"]),
        ))
        if founded is not None and slips is None:
            for account, passphrase in founded.passphrases.items():
                click.echo(_("account {name}, passphrase {passphrase}").format(name=account, passphrase=passphrase))
        if slips is not None and founded is not None:
            click.echo(_("print {path}, cut it, hand it out and destroy the file").format(path=slips))

    shown = dict(founded.passphrases) if founded is not None and slips is None else None
    frame.emit({**note, "folder": wanted.to, "passphrases": shown}, text)


@package.command(help=_("Read a whole package and check every file, its signature, and that this site can open it."))
@click.argument("name", metavar="PACKAGE")
@click.option("--folder", metavar="FOLDER", help=_("where it lies now, if not where it was written"))
@pass_frame
def verify(frame: Frame, name: str, folder: str | None) -> None:
    """Check a package; exit code 4 if something of it is damaged."""
    from jbackupd.service.packages import load, package_named
    from jbackupd.service.packageverify import verify_package
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    wanted = package_named(settings, name)
    identity = _identity(frame)
    known = load(PosixFiles(settings.site.state), name, identity.local_key)
    manifest = verify_package(folder or wanted.to, known, identity.signer.public)
    if datetime.now(UTC) > manifest.expires_at:
        raise RefusedError("the package {package} has expired", "write it again", package=name)
    frame.emit({"package": name, **_facts(manifest)}, lambda: click.echo(_line(frame, manifest)))


@package.command(help=_("Take back what was taken in at a package's laptop, and the record of its look-ups."))
@click.argument("name", metavar="PACKAGE")
@click.option("--folder", metavar="FOLDER", help=_("where it lies now, if not where it was written"))
@pass_frame
def returned(frame: Frame, name: str, folder: str | None) -> int:
    """Take a laptop's journal in; exit code 4 if its record of look-ups is broken."""
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.packagereturns import take_back
    from jbackupd.service.packages import load, package_named
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    wanted = package_named(settings, name)
    files, key = PosixFiles(settings.site.state), _identity(frame).local_key
    back = take_back(
        files, name, load(files, name, key), wanted.dataset.tenant, folder or wanted.to, key, SystemClock().now()
    )
    document = {
        "package": name, "record_entries": back.entries, "record_broken_line": back.broken_line,
        "journals": [{"desk": one.desk, "label": one.label, "records": one.records, "new": one.new}
                     for one in back.journals],
    }

    def text() -> None:
        for one in back.journals:
            click.echo(_("{label}: {new} new of {records}").format(label=one.label, new=one.new, records=one.records))
        click.echo(counted("record of look-ups: {count} entry", "record of look-ups: {count} entries", back.entries))
        if back.broken_line is not None:
            click.echo(_("the record of look-ups is broken in line {line}").format(line=back.broken_line), err=True)

    frame.emit(document, text)
    return 0 if back.broken_line is None else 4


@package.command(help=_("Forget a package's key: it is never written anew; what lies at the laptop still opens."))
@click.argument("name", metavar="PACKAGE")
@click.option("--yes", is_flag=True, help=_("do not ask"))
@pass_frame
def erase(frame: Frame, name: str, yes: bool) -> None:
    """Destroy what this site keeps of a package, and the package where it was written if that is there."""
    from jbackupd.service.packages import forget, is_founded
    from jbackupd.service.packaging import destroy
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    files = PosixFiles(settings.site.state)
    if not is_founded(files, name):
        raise NotFoundError(
            "the package {package} was never founded here", "see 'jbackupd tenant package list'", package=name
        )
    if not yes and not click.confirm(_("bring back what was taken in first; forget the package {name}?").format(
        name=name
    ), err=True):
        raise RefusedError("nothing was forgotten")
    wanted = next((one for one in settings.packages if one.id == name), None)
    destroyed = wanted is not None and destroy(wanted)
    forget(files, name)
    frame.emit({"package": name, "folder_destroyed": destroyed}, lambda: click.echo(
        _("forgotten; its data and keys are destroyed in {folder}").format(folder=wanted.to)
        if destroyed and wanted is not None
        else _("forgotten; copies of the folder still open with their passphrases until they expire")
    ))


def _found(frame: Frame, wanted: Package, clerks: tuple[str, ...], slips: str | None) -> Founded:
    from jbackupd.cli.journal import write_new
    from jbackupd.desk.accounts import Grant
    from jbackupd.desk.roles import ROLE_BEFORE_ROLES
    from jbackupd.desk.staff import Slip, slips_page
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.deskaccess import roles_of
    from jbackupd.service.packages import found
    from jbackupd.service.wiring import existing_store, known_verifiers
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.recoverykey import recovery_public

    settings = frame.settings()
    files, roles = PosixFiles(settings.site.state), roles_of(settings)
    pairs = [(name, role or ROLE_BEFORE_ROLES) for name, _sign, role in (clerk.partition("=") for clerk in clerks)]
    if len({name for name, _role in pairs}) != len(pairs):
        raise UsageError("one clerk is named twice", "name each once")
    tenant_of = wanted.dataset.tenant
    if slips is not None and os.path.exists(slips):
        raise RefusedError("{path} is there already", "choose another name", path=slips)
    founded = found(
        files, wanted.id, pairs, recovery_public(existing_store(files, tenant_of), known_verifiers(settings)),
        site_key=_identity(frame).local_key, roles=roles, now=SystemClock().now(),
    )
    if slips is not None:
        title = wanted.title or next((one.name for one in settings.tenants if one.id == tenant_of and one.name), "")
        made = [Slip(name, Grant(role), founded.passphrases[name]) for name, role in pairs]
        write_new(slips, slips_page(made, title=title, roles=roles).encode())
    return founded


def _written_here(frame: Frame, wanted: Package, wheels: tuple[str, ...]) -> dict[str, Any]:
    import msgspec

    from jbackupd.model.clock import SystemClock
    from jbackupd.service.lock import state_lock
    from jbackupd.service.packagekeeping import document
    from jbackupd.service.packageprogram import add_wheels
    from jbackupd.service.packages import load
    from jbackupd.service.packaging import make_package
    from jbackupd.storage.files import PosixFiles

    settings, identity = frame.settings(), _identity(frame)

    def more(folder: str) -> None:
        for each in wheels:
            tag, _sign, source = each.partition("=")
            add_wheels(folder, tag, source)

    with state_lock(settings.site.state):
        known = load(PosixFiles(settings.site.state), wanted.id, identity.local_key)
        manifest = make_package(
            settings, wanted, known, identity.signer, SystemClock().now(), more=more, program_anew=bool(wheels)
        )
    found: dict[str, Any] = msgspec.to_builtins(document(manifest))
    return found


def _identity(frame: Frame) -> Any:
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.identity import load_identity

    settings = frame.settings()
    return load_identity(PosixFiles(settings.site.state), settings.site.id)


def _facts(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"point": None}
    return {
        "point": manifest.point, "as_of": manifest.as_of.isoformat(), "made_at": manifest.made_at.isoformat(),
        "expires_at": manifest.expires_at.isoformat(), "serial": manifest.serial, "residents": manifest.residents,
        "program": manifest.program,
    }


def _line(frame: Frame, manifest: Manifest) -> str:
    return _("{point}, {residents} residents, opens until {until}").format(
        point=manifest.point, residents=manifest.residents, until=_time(frame, manifest.expires_at),
    )


def _time(frame: Frame, moment: datetime | str) -> str:
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return show_time(at, frame.settings().site.zone)
