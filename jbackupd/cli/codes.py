"""`jbackupd officer codes` makes an officer's codes for the telephone; `jbackupd site codes` gives them to a site.

`approve_by_telephone` is `site approve --code`.
"""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.declarations import (
    ask,
    declaration_line,
    passphrase,
    read_file,
    say_force,
    when,
    write_new,
    zone,
)
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.model.errors import UsageError
from jbackupd.model.texts import _

if TYPE_CHECKING:
    from jbackupd.continuity.codebook import Matter

VALID_DAYS = 400
"""A fiscal year, and a month to make the next ones."""
CODES_EACH = 2
"""One to use, one for when a declaration was withdrawn and begun again."""
EPOCHS = "2-3"
"""A first loss, and then that of the site that took over."""


@click.command("codes", help=_("Make codes with which an officer can approve by telephone, to print and lock away."))
@click.option("--key", required=True, metavar="FILE", help=_("the officer's key"))
@click.option("--passphrase-file", metavar="FILE", help=_("read the passphrase from a file"))
@click.option("--to", "folder", required=True, metavar="DIR", help=_("folder for the page and the file for the sites"))
@click.option("--lost", multiple=True, metavar="SITE", help=_("a site that may be lost (default: all configured)"))
@click.option("--acting", multiple=True, metavar="SITE", help=_("a site that may act for it (default: all configured)"))
@click.option("--epochs", default=EPOCHS, show_default=True, metavar="A-B", help=_("for which epochs"))
@click.option("--each", type=click.IntRange(1, 9), default=CODES_EACH, show_default=True,
              help=_("how many codes for each of them"))
@click.option("--days", type=click.IntRange(1, 3660), default=VALID_DAYS, show_default=True,
              help=_("how long they are valid"))
@pass_frame
def make_codes(
    frame: Frame, key: str, passphrase_file: str | None, folder: str, lost: tuple[str, ...], acting: tuple[str, ...],
    epochs: str, each: int, days: int,
) -> None:
    """Write OFFICER-DAY.codes for the sites and OFFICER-DAY.html to print; neither is overwritten."""
    from jbackupd.continuity.codebook import make_book
    from jbackupd.continuity.codepage import codes_page
    from jbackupd.continuity.officer import open_officer
    from jbackupd.format.promise import encode_book

    wanted, now = _matters(frame, lost, acting, epochs), datetime.now(UTC)
    officer = open_officer(read_file(key), passphrase(passphrase_file))
    lines = make_book(officer, wanted, each=each, made_at=now, valid_until=now + timedelta(days=days))
    stem = os.path.join(folder, f"{officer.officer}-{now.astimezone(zone(frame)):%Y-%m-%d}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_new(f"{stem}.codes", encode_book([line.promise for line in lines]))
    page = codes_page(lines, lambda moment: show_time(moment, zone(frame)))
    write_new(f"{stem}.html", page.encode(), mode=0o600)
    document = {
        "officer": officer.officer, "file": f"{stem}.codes", "page": f"{stem}.html", "codes": len(lines),
        "valid_until": (now + timedelta(days=days)).isoformat(timespec="seconds"),
    }
    frame.emit(document, lambda: click.echo(f"{stem}.html\n{stem}.codes"))
    frame.say(_("Print {page}, lock the paper away, and destroy the file: whoever reads it can approve as {officer}.")
              .format(page=f"{stem}.html", officer=officer.officer))
    frame.say(_("{file} holds no secret: give it to every site with 'jbackupd site codes take'.").format(
        file=f"{stem}.codes"
    ))


def _matters(frame: Frame, lost: tuple[str, ...], acting: tuple[str, ...], epochs: str) -> list[Matter]:
    from jbackupd.continuity.codebook import matters_of
    from jbackupd.model.ids import SiteId, is_word

    for name in (*lost, *acting):
        if not is_word(name):
            raise UsageError("{name!r} is not a name", "use a-z, 0-9 and inner hyphens, at most 32", name=name)
    first, _hyphen, last = epochs.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and 2 <= int(first) <= int(last or first) <= 999):
        raise UsageError("{text!r} names no epochs", "write 2-3, or 4", text=epochs)
    known: list[str] = []
    if not (lost and acting):
        settings = frame.settings()
        known = [settings.site.id, *(peer.id for peer in settings.peers)]
    return matters_of(
        [SiteId(name) for name in lost or known], [SiteId(name) for name in acting or known],
        range(int(first), int(last or first) + 1),
    )


@click.group("codes", help=_("Codes that officers have made for the telephone, as the sites know them."))
def site_codes() -> None:
    """Group of commands."""


@site_codes.command(help=_("Keep the file of an officer's codes here; a newer one replaces the older one."))
@click.argument("file", metavar="FILE")
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def take(frame: Frame, file: str, local: bool) -> None:
    """Take an officer's promises, in as many pieces as requests need."""
    from jbackupd.continuity.codes import PIECE
    from jbackupd.format.promise import decode_book, encode_book

    promises = decode_book(read_file(file))
    for at in range(0, len(promises), PIECE):
        piece = base64.b64encode(encode_book(promises[at : at + PIECE])).decode("ascii")
        answer = ask(frame, "site.take-codes", local=local, promises=piece)
    frame.emit(answer, lambda: _show_book(frame, answer))


@site_codes.command("list", help=_("Show for what officers have made codes, and how many were read out here."))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def show(frame: Frame, local: bool) -> None:
    """Show what is kept; never a code."""
    answer = ask(frame, "site.codes", local=local)
    frame.emit(answer, lambda: _show_books(frame, answer))


def _show_books(frame: Frame, answer: dict[str, Any]) -> None:
    for book in answer["books"]:
        _show_book(frame, book)
    if not answer["books"]:
        frame.say(_("no officer has given codes yet: 'jbackupd officer codes'"))
    if answer["wrong"]:
        click.echo(_("wrong codes tried here: {count}, {lately} within the last hour").format(
            count=answer["wrong"], lately=answer["wrong_lately"]
        ))


def _show_book(frame: Frame, book: dict[str, Any]) -> None:
    click.echo(_("{officer}: made {made}, valid until {until}").format(
        officer=book["officer"], made=when(frame, book["made_at"]), until=when(frame, book["valid_until"])
    ))
    for matter in book["matters"]:
        click.echo("    " + _("{lost} → {acting}, epoch {epoch}: {left} of {codes} codes left").format(
            **matter, left=matter["codes"] - matter["spent"]
        ))


def approve_by_telephone(frame: Frame, declaration: str | None, code: str, *, local: bool) -> None:
    """Hand in what an officer has read out.

    Args:
        declaration: Its id; None for the only one that waits.
    """
    answer = ask(frame, "site.approve-code", local=local, id=declaration or "", code=code)
    frame.emit(answer, lambda: click.echo(declaration_line(frame, answer)))
    frame.say(_("That was a code of {officer}. Let it be struck out, and say the declaration: {id}").format(
        officer=answer["officer"], id=answer["id"]
    ))
    say_force(frame, answer)
