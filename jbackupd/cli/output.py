"""What every command shares: the settings it was started with, data to stdout, talk to stderr.

Data is one JSON document with --json, else a text for people. A document has "schema": 1; sizes
are bytes, times RFC 3339 with offset, names that are not UTF-8 come as path_b64 as well.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import _, in_language, language
from jbackupd.model.wareki import show_moment

if TYPE_CHECKING:
    from jbackupd.settings.schema import Settings

DOCUMENT_SCHEMA = 1
DEFAULT_CONFIG = "/etc/jbackupd/jbackupd.toml"


@dataclass
class Frame:
    """One call of the command line.

    Attributes:
        config: Path of the configuration file.
        json: Whether data goes out as one JSON document.
        quiet: Whether talk is left out; errors are always said.
    """

    config: str = DEFAULT_CONFIG
    json: bool = False
    quiet: bool = False
    _settings: Settings | None = field(default=None, repr=False)

    def settings(self) -> Settings:
        """Return the configuration, loaded once.

        Raises:
            ConfigError: It cannot be used.
        """
        if self._settings is None:
            from jbackupd.settings.load import load

            self._settings = load(self.config)
        return self._settings

    def emit(self, document: Mapping[str, Any], text: Callable[[], None]) -> None:
        """Write a result: the document with --json, else whatever `text` prints."""
        if self.json:
            print_document(document)
        else:
            text()

    def say(self, message: str) -> None:
        """Tell the person something that is not data."""
        if not self.quiet:
            click.echo(message, err=True)


pass_frame = click.make_pass_decorator(Frame)


def print_document(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout."""
    text = json.dumps({"schema": DOCUMENT_SCHEMA, **document}, ensure_ascii=False, indent=2, default=_plain)
    # Names of files may hold bytes that are not UTF-8; path_b64 carries those exactly.
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "document"):
        return value.document()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def time_text(moment: datetime) -> str:
    """Return a moment for machines: RFC 3339, UTC, seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def show_time(moment: datetime, zone: tzinfo) -> str:
    """Return a moment for people: in both calendars in Japanese, else 2026-11-23 04:10 JST."""
    if language() == "ja":
        return show_moment(moment)
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def path_fields(path: bytes) -> dict[str, str]:
    """Return a name for a document: path, and path_b64 where the bytes are not UTF-8."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {
            "path": path.decode("utf-8", "replace"),
            "path_b64": base64.b64encode(path).decode("ascii"),
        }


def show_path(path: bytes, encoding: str = "utf-8") -> str:
    """Return a name for people: printable, never able to move the cursor; unknown bytes as backslash escapes."""
    text = path.decode(encoding, "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def error_document(error: JbackupdError) -> dict[str, Any]:
    """Return an error for machines; never translated."""
    # Fields may be texts of ours that translate themselves when they are filled in.
    with in_language("en"):
        body: dict[str, Any] = {
            "code": error.code,
            "message": error.render(error.message),
            "hint": error.render(error.hint),
            "exit_code": error.exit_code,
            "retry": error.retry.value,
        }
    problems = error.fields.get("problems")
    if isinstance(problems, tuple):
        body["problems"] = [problem.document() for problem in problems]
    return {"error": body}


def report(error: JbackupdError, *, as_json: bool) -> int:
    """Write an error and return its exit code: a document on stdout with --json, else what and what next."""
    if as_json:
        print_document(error_document(error))
    else:
        click.echo(_("error: {message}").format(message=error.render(_(error.message))), err=True)
        if error.hint:
            click.echo(_("next: {hint}").format(hint=error.render(_(error.hint))), err=True)
    return error.exit_code
