"""`jbackupd site`: this site's card; declare another site lost, approve, look at the evidence.

`jbackupd officer`: the keys of those who approve.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.codes import approve_by_telephone, make_codes, site_codes
from jbackupd.cli.deciding import BY, login
from jbackupd.cli.declarations import (
    ask,
    declaration_line,
    evidence_line,
    passphrase,
    read_declaration,
    read_file,
    say_force,
    say_wait,
    submit,
    when,
    write_new,
    zone,
)
from jbackupd.cli.evidence import all_clear, evidence, observation_line, observe
from jbackupd.cli.output import Frame, pass_frame, show_path, show_time
from jbackupd.model.errors import UsageError
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.format.declaration import Declaration


@click.group(help=_("Site cards; declare a site lost."))
def site() -> None:
    """Group of commands."""


@site.command(help=_("Make this site's identity, if it has none, and show its card."))
@pass_frame
def init(frame: Frame) -> None:
    """Make the identity; harmless twice."""
    from jbackupd.service.lock import state_lock
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.identity import load_or_create

    settings = frame.settings()
    os.makedirs(settings.site.state, mode=0o700, exist_ok=True)
    with state_lock(settings.site.state):
        load_or_create(PosixFiles(settings.site.state), settings.site.id)
    _show_card(frame)


@site.command(help=_("Show this site's card: what the other sites need to know it."))
@pass_frame
def card(frame: Frame) -> None:
    """Show the card and its fingerprint."""
    _show_card(frame)


def _show_card(frame: Frame) -> None:
    from jbackupd.format.identity import encode_card
    from jbackupd.storage.files import PosixFiles
    from jbackupd.vault.identity import load_identity

    settings = frame.settings()
    shown = load_identity(PosixFiles(settings.site.state), settings.site.id).card
    path = os.path.join(settings.site.state, "site", f"{shown.id}.card")
    document = {"site": shown.id, "card": path, "fingerprint": shown.fingerprint, "text": encode_card(shown)}
    frame.emit(document, lambda: click.echo(encode_card(shown), nl=False))
    frame.say(_("The card is in {path}. Compare its fingerprint by telephone: {fingerprint}").format(
        path=path, fingerprint=shown.fingerprint
    ))


@site.command(help=_("Show what is known of the other sites, and which were declared lost."))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def status(frame: Frame, local: bool) -> None:
    """Show the evidence and the declarations."""
    answer = ask(frame, "site.status", local=local)
    frame.emit(answer, lambda: _show_status(frame, answer))


def _show_status(frame: Frame, answer: dict[str, Any]) -> None:
    for name, facts in sorted(answer["evidence"].items()):
        click.echo(evidence_line(frame, name, facts))
    for dataset, point in answer["held"].items():
        click.echo(_("held here: {dataset}@{sequence} of {time}").format(
            dataset=dataset, sequence=point["point"], time=when(frame, point["begun_at"])
        ))
    for title, key in (
        (_("declared"), "declarations"), (_("waiting for approval"), "pending"), (_("IN CONFLICT"), "conflicts")
    ):
        for declaration in answer[key]:
            click.echo(f"{title}: " + declaration_line(frame, declaration))
            if key == "pending":
                say_wait(frame, declaration)
    for tenant, facts in answer["returning"].items():
        template = _("{tenant}: all that the other sites have is here; points are taken again") if facts["done"] else _(
            "{tenant}: this site has returned and fetches what the others have: {size} so far; no point is taken yet"
        )
        click.echo(template.format(tenant=tenant, size=show_size(facts["bytes"])))
        for alarm in facts["alarms"]:
            click.echo("    " + _("ALARM: {alarm}").format(alarm=alarm))


@site.command("declare-lost", help=_("Begin to declare a site lost, or hand in approvals that were made elsewhere."))
@click.argument("lost", metavar="SITE")
@click.option("--reason", default="", help=_("what is known, for the record"))
@click.option("--out", metavar="FILE", help=_("write the declaration to a file, to carry it to the officers"))
@click.option("--approval", "approvals", multiple=True, metavar="FILE", help=_("a declaration approved by an officer"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def declare_lost(
    frame: Frame, lost: str, reason: str, out: str | None, approvals: tuple[str, ...], local: bool
) -> None:
    """Begin a declaration; nothing changes before enough officers have approved it."""
    if approvals:
        for path in approvals:
            declaration = read_declaration(path)
            if declaration.statement.lost != lost:
                raise UsageError(
                    "{path} is about the site {other}, not {site}", "name the right file", path=path,
                    other=declaration.statement.lost, site=lost,
                )
            answer = submit(frame, declaration, local=local)
        frame.emit(answer, lambda: click.echo(declaration_line(frame, answer)))
        say_force(frame, answer)
        return
    answer = ask(frame, "site.declare", local=local, site=lost, reason=reason)
    if out is not None:
        write_new(out, base64.b64decode(answer["declaration"]))
    frame.emit(answer, lambda: click.echo(answer["id"]))
    frame.say(declaration_line(frame, answer))
    frame.say(_("Nothing has changed yet. Officers approve with: jbackupd site approve {id} --key FILE").format(
        id=answer["id"]
    ))


@site.command(help=_("Take back a declaration that is not in force yet."))
@click.argument("declaration", metavar="ID")
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def withdraw(frame: Frame, declaration: str, local: bool) -> None:
    """Withdraw a pending declaration at this site; copies that were carried elsewhere can still be handed in."""
    answer = ask(frame, "site.withdraw", local=local, id=declaration)
    frame.emit(answer, lambda: click.echo(declaration_line(frame, answer)))


@site.command(help=_("Bring a declaration that has its approvals into force, after the waiting time."))
@click.argument("declaration", metavar="ID")
@click.option("--without-waiting", is_flag=True, help=_("at once: every officer must have approved it"))
@BY
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def proceed(frame: Frame, declaration: str, without_waiting: bool, by: str, local: bool) -> None:
    """Proceed with a declaration; exit code 75 while it waits."""
    answer = ask(
        frame, "site.proceed", local=local, id=declaration, without_waiting=without_waiting, by=by or login()
    )
    frame.emit(answer, lambda: click.echo(declaration_line(frame, answer)))
    say_force(frame, answer)


@site.command(help=_("Approve a declaration as an officer."))
@click.argument("declaration", metavar="[ID]", required=False)
@click.option("--key", metavar="FILE", help=_("the officer's key"))
@click.option("--code", metavar="CODE", help=_("the code that an officer reads out over the telephone"))
@click.option("--passphrase-file", metavar="FILE", help=_("read the passphrase from a file"))
@click.option("--declaration", "path", metavar="FILE", help=_("approve a declaration that was carried here"))
@click.option("--out", metavar="FILE", help=_("where to write it with the approval"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def approve(
    frame: Frame, declaration: str | None, key: str | None, code: str | None, passphrase_file: str | None,
    path: str | None, out: str | None, local: bool,
) -> None:
    """Sign a declaration, or hand in an officer's code; with enough approvals it is in force."""
    from jbackupd.continuity.officer import open_officer
    from jbackupd.format.declaration import approve as approved
    from jbackupd.format.declaration import decode_declaration, encode_declaration

    if (key is None) == (code is None):
        raise UsageError("it is not clear who approves", "add --key FILE, or --code with what an officer reads out")
    if code is not None and path is None and out is None:
        approve_by_telephone(frame, declaration, code, local=local)
        return
    if key is None:
        raise UsageError("a code is heard where the declaration waits", "leave --declaration and --out away")
    if (declaration is None) == (path is None) or (path is None) != (out is None):
        raise UsageError("it is not clear what to approve", "name an ID, or --declaration FILE with --out FILE")
    if path is not None:
        wanted, evidence = read_declaration(path), None
    else:
        answer = ask(frame, "site.declaration", local=local, id=declaration)
        wanted, evidence = decode_declaration(base64.b64decode(answer["declaration"])), answer["evidence"]
    _say_what_is_signed(frame, wanted, evidence)
    officer = open_officer(read_file(key), passphrase(passphrase_file))
    signed = wanted.with_approval(approved(wanted, officer.officer, officer.signer))
    if out is not None:
        write_new(out, encode_declaration(signed))
        frame.emit({"id": signed.id, "officer": officer.officer, "file": out}, lambda: click.echo(out))
        return
    answer = submit(frame, signed, local=local)
    frame.emit(answer, lambda: click.echo(declaration_line(frame, answer)))
    say_force(frame, answer)


@site.command("hand-over", help=_("Hand this site's work over to another one; it stops first, so nothing is lost."))
@click.option("--to", "acting", required=True, metavar="SITE", help=_("the site that takes over"))
@click.option("--reason", default="", help=_("what is known, for the record"))
@click.option("--out", metavar="FILE", help=_("write the declaration to a file, to carry it to the officers"))
@pass_frame
def hand_over(frame: Frame, acting: str, reason: str, out: str | None) -> None:
    """Begin a hand-over of this site; nothing changes before enough officers have approved it here."""
    own = frame.settings().site.id
    _begin(frame, out, "site.declare", site=own, acting=acting, planned=True, reason=reason)


@site.command("return", help=_("Let a site act for itself again, at the site that acts for it now."))
@click.argument("home", metavar="SITE")
@click.option("--reason", default="", help=_("what is known, for the record"))
@click.option("--out", metavar="FILE", help=_("write the declaration to a file, to carry it to the officers"))
@pass_frame
def let_return(frame: Frame, home: str, reason: str, out: str | None) -> None:
    """Begin a return; nothing changes before enough officers have approved it here."""
    _begin(frame, out, "site.declare", site=home, acting=home, planned=True, reason=reason)


def _begin(frame: Frame, out: str | None, verb: str, **arguments: Any) -> None:
    answer = ask(frame, verb, local=False, **arguments)
    if out is not None:
        write_new(out, base64.b64decode(answer["declaration"]))
    frame.emit(answer, lambda: click.echo(answer["id"]))
    frame.say(declaration_line(frame, answer))
    frame.say(_("Nothing has changed yet. Officers approve with: jbackupd site approve {id} --key FILE").format(
        id=answer["id"]
    ))


def _say_what_is_signed(frame: Frame, wanted: Declaration, evidence: dict[str, Any] | None) -> None:
    """Show an officer what the signature stands under, before the passphrase is asked for."""
    statement = wanted.statement
    made = show_time(statement.made_at, zone(frame))
    if wanted.is_return:
        template = _("You sign: {lost} acts for itself again, and who acts for it stops; begun {when} [{id}]")
    elif statement.planned:
        template = _("You sign: {lost} stops and hands over to {acting}; begun {when} [{id}]")
    else:
        template = _("You sign: {lost} is lost, and {acting} acts for it from now on; declared {when} [{id}]")
    frame.say(template.format(lost=statement.lost, acting=statement.acting, when=made, id=wanted.id))
    if statement.reason:
        frame.say(_("reason: {reason}").format(reason=show_path(statement.reason.encode())))
    if evidence is not None and statement.lost in evidence["sites"]:
        frame.say(evidence_line(frame, statement.lost, evidence["sites"][statement.lost]))
    for each in () if evidence is None else evidence.get("checklist", ()):
        frame.say(observation_line(frame, each))


@click.group(help=_("Keys of the officers whose approval counts."))
def officer() -> None:
    """Group of commands."""


@officer.command(help=_("Make an officer's key, sealed by a passphrase, and the card that goes to every site."))
@click.argument("name")
@click.option("--to", "folder", required=True, metavar="DIR", help=_("folder for key and card"))
@click.option("--passphrase-file", metavar="FILE", help=_("read the passphrase from a file"))
@pass_frame
def create(frame: Frame, name: str, folder: str, passphrase_file: str | None) -> None:
    """Write NAME.key and NAME.card; neither is overwritten."""
    from jbackupd.continuity.officer import make_officer
    from jbackupd.format.identity import encode_card
    from jbackupd.model.ids import is_word

    if not is_word(name):
        raise UsageError("{name!r} is not a name", "use a-z, 0-9 and inner hyphens, at most 32", name=name)
    made, data = make_officer(name, passphrase(passphrase_file, confirm=True))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    key, card_path = (os.path.join(folder, f"{name}.{ending}") for ending in ("key", "card"))
    write_new(key, data, mode=0o600)
    write_new(card_path, encode_card(made.card).encode())
    frame.emit(
        {"officer": name, "key": key, "card": card_path, "fingerprint": made.card.fingerprint},
        lambda: click.echo(f"{key}\n{card_path}"),
    )
    frame.say(
        _("The key stays with {name} alone; the card goes into the configuration of every site.").format(name=name)
    )


officer.add_command(make_codes)
for _command in (site_codes, evidence, observe, all_clear):
    site.add_command(_command)
