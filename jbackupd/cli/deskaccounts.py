"""`jbackupd desk account`: who may sign in at a desk. An open desk sees every change at its next page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import JbackupdError, NotFoundError, UsageError
from jbackupd.model.texts import _

if TYPE_CHECKING:
    from jbackupd.desk.accounts import Account, Accounts
    from jbackupd.desk.roles import Roles
    from jbackupd.desk.staff import Slip
    from jbackupd.storage.files import PosixFiles

BY_HAND = "desk/accounts.json"
"""Of the desk that `jbackupd desk serve` opens; below the state folder."""
_PLANS_DESK = re.compile(r"([A-Za-z0-9-]{1,80})/([a-z0-9-]{1,40})")

_whose = click.option(
    "--desk", "of_desk", metavar="RUN/STEP", help=_("of a recovery run's desk; default: the one served by hand")
)


def _granting(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--person", metavar="NAME", help=_("who it belongs to: an account is never shared")),
        click.option("--from", "origin", metavar="TEXT", help=_("the municipality that lent this person")),
        click.option("--role", metavar="ROLE", help=_("look-up, reception, issue, supervisor, or one of desk.roles")),
        click.option("--until", metavar="DAY", help=_("the last day on which it may be used; 'never' for no end")),
    ):
        command = option(command)
    return command


@click.group(help=_("Who may sign in at the desk."))
def account() -> None:
    """Hold the commands of accounts."""


@account.command("add", help=_("Make an account; its first password is shown once."))
@click.argument("name")
@_granting
@_whose
@pass_frame
def add(
    frame: Frame, name: str, person: str | None, origin: str | None, role: str | None, until: str | None,
    of_desk: str | None,
) -> None:
    """Make an account with a generated password; exit code 5 if there is one of this name."""
    from jbackupd.desk.accounts import Grant
    from jbackupd.desk.staff import Wish, enrolled

    roles = _roles(frame)
    wish = Wish(name, _granted(Grant(), person, origin, role, until))
    made: list[Slip] = []

    def decide(accounts: Accounts) -> Accounts:
        after, made[:] = enrolled(accounts, [wish], roles)
        return after

    _change(frame, of_desk, decide, new=True)
    _show_password(frame, made[0].name, made[0].password)


@account.command("enroll", help=_("Make accounts for a table of people (CSV), all or none, with slips to hand out."))
@click.argument("table", type=click.Path(exists=True, dir_okay=False))
@click.option("--slips", required=True, metavar="FILE", help=_("where the page of slips goes; it holds passwords"))
@click.option("--title", metavar="TEXT", help=_("the municipality's name; default: the tenant's"))
@_whose
@pass_frame
def enroll(frame: Frame, table: str, slips: str, title: str | None, of_desk: str | None) -> None:
    """Make many accounts; the page is written before any of them holds."""
    from jbackupd.cli.journal import read_whole, write_new
    from jbackupd.desk.staff import enrolled, read_staff, slips_page

    roles, wishes = _roles(frame), read_staff(read_whole(table), _today())
    town = title or next((one.name for one in frame.settings().tenants if one.name), "")

    def decide(accounts: Accounts) -> Accounts:
        after, made = enrolled(accounts, wishes, roles)
        # First the paper: accounts whose passwords nobody knows would have to be reset one by one.
        write_new(slips, slips_page(made, title=town, roles=roles).encode())
        return after

    try:
        _change(frame, of_desk, decide, new=True)
    except JbackupdError:
        frame.say(_("no account was made; a page of slips that was written opens nothing"))
        raise
    frame.emit({"accounts": [wish.name for wish in wishes], "slips": os.path.abspath(slips)}, lambda: click.echo(
        _("{count} accounts made; print {path}, cut it, hand it out and destroy the file").format(
            count=len(wishes), path=slips,
        )
    ))


@account.command("change", help=_("Give an account another role, end or owner; stop it or allow it again."))
@click.argument("name")
@_granting
@click.option("--stop/--allow", "stop", default=None, help=_("it may not be used until it is allowed again"))
@_whose
@pass_frame
def change(
    frame: Frame, name: str, person: str | None, origin: str | None, role: str | None, until: str | None,
    stop: bool | None, of_desk: str | None,
) -> None:
    """Change what an account may do, and for how long."""
    if all(given is None for given in (person, origin, role, until, stop)):
        raise UsageError("nothing is to be changed", "give --role, --until, --person, --from, --stop or --allow")
    roles = _roles(frame)

    def decide(accounts: Accounts) -> Accounts:
        known = _known(accounts, name)
        grant = _granted(known.grant, person, origin, role, until)
        roles.get(grant.role)
        return accounts.with_account(replace(known, grant=grant, stopped=known.stopped if stop is None else stop))

    after = _known(_change(frame, of_desk, decide), name)
    frame.emit(_document(after), lambda: click.echo(_line(after)))


@account.command("reset", help=_("Give an account a new password; it is shown once, the old one is no longer taken."))
@click.argument("name")
@_whose
@pass_frame
def reset(frame: Frame, name: str, of_desk: str | None) -> None:
    """Draw an account's password anew; whoever is signed in with the old one no longer is."""
    from jbackupd.desk.accounts import generate_password

    password = generate_password()
    _change(frame, of_desk, lambda accounts: accounts.with_account(
        _known(accounts, name).with_password(password, first=True)
    ))
    _show_password(frame, name, password)


@account.command("remove", help=_("Remove an account; whoever is signed in with it no longer is."))
@click.argument("name")
@_whose
@pass_frame
def remove(frame: Frame, name: str, of_desk: str | None) -> None:
    """Remove an account."""
    _change(frame, of_desk, lambda accounts: accounts.without(_known(accounts, name).name))


@account.command("list", help=_("List the accounts: whose, what they may do, and until when."))
@_whose
@pass_frame
def list_accounts(frame: Frame, of_desk: str | None) -> None:
    """List the accounts."""
    found = list(accounts_of(frame, of_desk))
    frame.emit({"accounts": [_document(one) for one in found]}, lambda: click.echo("\n".join(map(_line, found))))


def accounts_of(frame: Frame, of_desk: str | None = None) -> Accounts:
    """Return the accounts of a desk.

    Raises:
        NotFoundError: There is no such desk.
    """
    from jbackupd.desk.accounts import load_accounts

    return load_accounts(*_place(frame, of_desk))


def _place(frame: Frame, of_desk: str | None) -> tuple[PosixFiles, str]:
    from jbackupd.continuity.record import FOLDER
    from jbackupd.storage.files import PosixFiles

    files = PosixFiles(frame.settings().site.state)
    if of_desk is None:
        return files, BY_HAND
    match = _PLANS_DESK.fullmatch(of_desk)
    path = f"{FOLDER}/{match[1]}/desk/{match[2]}/accounts.json" if match else ""
    if match is None or not files.exists(path):
        raise NotFoundError(
            "there is no desk {desk!r}", "write RUN/STEP: 'jbackupd recovery history' names the runs", desk=of_desk
        )
    return files, path


def _change(
    frame: Frame, of_desk: str | None, decide: Callable[[Accounts], Accounts], *, new: bool = False
) -> Accounts:
    """Change a desk's accounts; an open desk records it in the audit log when it sees it."""
    from jbackupd.desk.accounts import load_accounts, save_accounts
    from jbackupd.desk.keeper import changing

    files, path = _place(frame, of_desk)
    if new:
        files.make_folder(os.path.dirname(path))
    elif not files.exists(path):
        raise _unknown("")
    with changing(files, path):
        after = decide(load_accounts(files, path))
        save_accounts(files, path, after)
    return after


def _known(accounts: Accounts, name: str) -> Account:
    found = accounts.get(name)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> NotFoundError:
    return NotFoundError("the desk has no account {name!r}", "jbackupd desk account list shows them", name=name)


def _granted(known: Any, person: str | None, origin: str | None, role: str | None, until: str | None) -> Any:
    from jbackupd.desk.staff import read_until

    end = known.until
    if until is not None:
        end = None if until == "never" else read_until(until, _today())
    return replace(
        known, person=known.person if person is None else person, origin=known.origin if origin is None else origin,
        role=known.role if role is None else role, until=end,
    )


def _roles(frame: Frame) -> Roles:
    from jbackupd.service.deskaccess import roles_of

    return roles_of(frame.settings())


def _today() -> date:
    from jbackupd.model.clock import SystemClock
    from jbackupd.model.wareki import JST

    return SystemClock().now().astimezone(JST).date()


def _show_password(frame: Frame, name: str, password: str) -> None:
    frame.emit({"account": name, "password": password}, lambda: click.echo(
        _("account {name}, first password {password}").format(name=name, password=password)
    ))


def _document(one: Account) -> dict[str, Any]:
    grant = one.grant
    return {
        "account": one.name, "role": grant.role, "person": grant.person, "from": grant.origin,
        "until": grant.until.isoformat() if grant.until else None, "standing": one.standing(_today()).value,
        "first": one.first,
    }


def _line(one: Account) -> str:
    from jbackupd.model.wareki import show_day

    grant = one.grant
    words = [one.name, grant.role, grant.person + (f" ({grant.origin})" if grant.origin else "")]
    words.append(_("until {day}").format(day=show_day(grant.until)) if grant.until else _("no end"))
    standing = {"active": "", "stopped": _("stopped"), "ended": _("time is over")}[one.standing(_today()).value]
    return "  ".join(word for word in (*words, standing or (_("not used yet") if one.first else "")) if word)
