"""Accounts of many people at once, decided before anything is made; and the sheet of slips that hands them out."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from jinja2 import Environment, PackageLoader, StrictUndefined

from jbackupd.desk.accounts import Account, Accounts, Grant, generate_password
from jbackupd.desk.roles import Roles
from jbackupd.model.errors import RefusedError, UsageError
from jbackupd.model.texts import _, language
from jbackupd.model.wareki import show_day

STAFF_MAX = 200
LENT_DAYS_MAX = 92
"""What a desk gives at once: three months, after which somebody looks again whether the person is still there."""
_COLUMNS = {
    "account": "account", "アカウント": "account", "利用者名": "account", "person": "person", "氏名": "person",
    "from": "origin", "派遣元": "origin", "role": "role", "役割": "role", "until": "until", "期限": "until",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """An account that somebody is to get."""

    name: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class Slip:
    """What one person is handed out, once."""

    name: str
    grant: Grant
    password: str


def read_until(text: str, today: date, *, days_max: int | None = None) -> date | None:
    """Return the last day of an account; None for an empty text.

    Raises:
        UsageError: It is no day, lies in the past, or is further away than it may be.
    """
    if not text.strip():
        return None
    try:
        until = date.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError("{text!r} is not a day", "write for example 2026-11-30", text=text[:40]) from error
    if until < today:
        raise UsageError("the day {until} is over", "choose a day that is still to come", until=until.isoformat())
    if days_max is not None and until > today + timedelta(days=days_max):
        raise UsageError(
            "the day {until} is more than {days} days away", "choose an earlier one: it can be extended",
            until=until.isoformat(), days=days_max,
        )
    return until


def read_staff(data: bytes, today: date) -> list[Wish]:
    """Read a table of people: CSV in UTF-8 or cp932 with a header line; columns of docs/operating/desk-accounts.md.

    Raises:
        UsageError: It is not such a table, or a line of it cannot become an account; nothing has been made.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp932", "replace")
    lines = list(csv.reader(io.StringIO(text)))
    header = [_COLUMNS.get(cell.strip(), "") for cell in lines[0]] if lines else []
    if not {"account", "person"} <= set(header) or "" in header or "\ufffd" in text:
        raise UsageError(
            "this is no table of staff", "write CSV whose first line is account,person,from,role,until"
        )
    rows = [(number, row) for number, row in enumerate(lines[1:], 2) if any(cell.strip() for cell in row)]
    if not 0 < len(rows) <= STAFF_MAX:
        raise UsageError("the table has {count} lines", "write 1 to {most} people", count=len(rows), most=STAFF_MAX)
    return [_wish(header, row, number, today) for number, row in rows]


def _wish(header: Sequence[str], row: Sequence[str], number: int, today: date) -> Wish:
    cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
    if len(row) != len(header) or not cells["account"] or not cells["person"]:
        raise UsageError(
            "line {line} of the table is not whole", "each person has an account and a name of their own", line=number
        )
    fallback = Grant()
    return Wish(cells["account"], Grant(
        cells.get("role") or fallback.role, cells["person"], cells.get("origin", ""),
        read_until(cells.get("until", ""), today),
    ))


def enrolled(accounts: Accounts, wishes: Sequence[Wish], roles: Roles) -> tuple[Accounts, list[Slip]]:
    """Return accounts with new ones, all of them or none, and what to hand out; each first password must be changed.

    Raises:
        RefusedError: There is an account of this name, or one name stands twice.
        NotFoundError: A role is not known.
        UsageError: A name cannot be an account's.
    """
    slips = []
    for wish in wishes:
        roles.get(wish.grant.role)
        if accounts.get(wish.name) is not None:
            # A second clerk of one name would lock the first one out, and nobody would be told.
            raise RefusedError(
                "the desk has an account {name!r} already",
                "choose another name; 'jbackupd desk account reset' gives this one a new password", name=wish.name,
            )
        slips.append(Slip(wish.name, wish.grant, generate_password()))
        accounts = accounts.with_account(Account.make(wish.name, slips[-1].password, wish.grant, first=True))
    return accounts, slips


def slips_page(slips: Sequence[Slip], *, title: str, roles: Roles) -> str:
    """Return a page of A4 sheets to be cut: one slip for each person, in the language of the texts."""
    environment = Environment(
        loader=PackageLoader("jbackupd.desk"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_=_)
    environment.filters.update(day=show_day)
    return environment.get_template("slips.html").render(
        slips=[(slip, roles.get(slip.grant.role).label) for slip in slips], title=title, language=language(),
    )
