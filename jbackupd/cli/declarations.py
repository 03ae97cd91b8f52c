"""Declarations at the command line: shown, carried as files, handed to the daemon."""

from __future__ import annotations

import base64
import os
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.asking import answering
from jbackupd.cli.output import Frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import ConfigError, NotFoundError, StorageError, UsageError
from jbackupd.model.texts import _
from jbackupd.model.units import show_duration

if TYPE_CHECKING:
    from jbackupd.format.declaration import Declaration


def evidence_line(frame: Frame, name: str, facts: dict[str, Any]) -> str:
    """Return what is known of a site on one line."""
    # The line's last change is of this start of the daemon only; the contact outlives it.
    since = when(frame, facts["since"] if facts["link"] == "up" else facts.get("last_contact") or facts["since"])
    line = _("the line is up since {time}") if facts["link"] == "up" else _("no contact since {time}")
    parts = [line.format(time=since)]
    if facts["reason"]:
        parts.append(facts["reason"])
    if facts["last_receipt"]:
        parts.append(_("its last receipt is of {time}").format(time=when(frame, facts["last_receipt"])))
    return f"{name}: " + "; ".join(parts)


def when(frame: Frame, text: str | None) -> str:
    """Return a moment of a document for people; nothing stands for this site's start."""
    if text is None:
        return _("this site's start")
    return show_time(datetime.fromisoformat(text), running(frame).zone)


def declaration_line(frame: Frame, declaration: dict[str, Any]) -> str:
    """Return a declaration on one line."""
    made = show_time(datetime.fromisoformat(declaration["made_at"]), running(frame).zone)
    template = {
        "loss": _("{lost}, {acting} acts for it (epoch {epoch}), declared {when}, approved by {officers} [{id}]"),
        "hand-over": _("{lost} hands over to {acting} (epoch {epoch}), begun {when}, approved by {officers} [{id}]"),
        "return": _("{lost} acts for itself again (epoch {epoch}), begun {when}, approved by {officers} [{id}]"),
    }[declaration["kind"]]
    return template.format(
        lost=declaration["lost"], acting=declaration["acting"], epoch=declaration["epoch"], when=made,
        officers=", ".join(_approver(declaration, name) for name in declaration["approved_by"]) or "-",
        id=declaration["id"],
    )


def _approver(declaration: dict[str, Any], name: str) -> str:
    by_code = name in declaration.get("by_code", ())
    return _("{officer} (by telephone)").format(officer=name) if by_code else name


def say_force(frame: Frame, answer: dict[str, Any]) -> None:
    """Say whether a declaration is in force now."""
    if answer["in_force"] and answer["kind"] == "return":
        frame.say(_("The return is in force: {lost} acts for itself again, as soon as it hears of it.").format(
            lost=answer["lost"]
        ))
    elif answer["in_force"]:
        frame.say(_("The declaration is in force: {lost} may not write any more, {acting} acts for it.").format(
            lost=answer["lost"], acting=answer["acting"]
        ))
    else:
        frame.say(_("The declaration is not in force yet: {reason}").format(reason=answer["missing"]))
        say_wait(frame, answer)


def say_wait(frame: Frame, declaration: dict[str, Any]) -> None:
    """Say how long a declaration still waits, whoever approves it."""
    if declaration["waits_until"] is not None:
        frame.say(_("It may come into force in {left}, at {time}; then: jbackupd site proceed {id}").format(
            left=show_duration(declaration["waits_seconds"]), time=when(frame, declaration["waits_until"]),
            id=declaration["id"],
        ))


def zone(frame: Frame) -> tzinfo:
    """Return the site's time zone; Japan's on an officer's machine, which has no configuration."""
    from jbackupd.settings.schema import zone_of

    try:
        return frame.settings().site.zone
    except ConfigError:
        return zone_of("Asia/Tokyo")


def ask(frame: Frame, verb: str, *, local: bool, **arguments: Any) -> dict[str, Any]:
    """Return the answer of the daemon, or of this process with `local`."""
    with answering(frame, local=local) as call:
        return call(verb, **arguments)


def submit(frame: Frame, declaration: Declaration, *, local: bool) -> dict[str, Any]:
    """Hand a declaration in with its approvals."""
    from jbackupd.format.declaration import encode_declaration

    packed = base64.b64encode(encode_declaration(declaration)).decode("ascii")
    return ask(frame, "site.submit", local=local, declaration=packed)


def read_declaration(path: str) -> Declaration:
    """Read a declaration that was carried here.

    Raises:
        NotFoundError, StorageError, FormatError: There is none.
    """
    from jbackupd.format.declaration import decode_declaration

    return decode_declaration(read_file(path))


def read_file(path: str) -> bytes:
    """Return a small file's bytes.

    Raises:
        NotFoundError, StorageError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except FileNotFoundError as error:
        raise NotFoundError("unable to read {path}: it does not exist", "name the right file", path=path) from error
    except OSError as error:
        raise StorageError("unable to read {path}: {reason}", path=path, reason=error.strerror) from error


def passphrase(path: str | None, *, confirm: bool = False) -> str:
    """Return an officer's passphrase: a file's first words, or what is typed, twice with `confirm`."""
    if path is not None:
        return read_file(path).decode("utf-8", "replace").rstrip("\r\n")
    return str(click.prompt(_("passphrase"), hide_input=True, confirmation_prompt=confirm, err=True))


def write_new(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError, StorageError: It is there, or cannot be written.
    """
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except FileExistsError as error:
        raise UsageError("unable to write {path}: it exists", "name a new file", path=path) from error
    except OSError as error:
        raise StorageError("unable to write {path}: {reason}", path=path, reason=error.strerror) from error
