"""What a configuration that cannot be used still tells: where the state is, and in which time people live there.

A daemon goes on with the configuration that it has. Whoever breaks the file on disk must still be able to ask it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import tomli
from pydantic import TypeAdapter, ValidationError

from jbackupd.model.errors import ConfigError
from jbackupd.settings.load import config_files, read_text
from jbackupd.settings.schema import FilePath, Site, zone_of

_SITE_TABLE = re.compile(r"^\s*\[\s*site\s*\]\s*(?:#.*)?$")
_ANY_TABLE = re.compile(r"^\s*\[")
_STATE: TypeAdapter[str] = TypeAdapter(FilePath)


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What is known of a site whose configuration is broken."""

    state: str
    zone: tzinfo


def salvage(file: str) -> Salvaged | None:
    """Return what can be read of a broken configuration; None if it does not tell the state folder.

    A file that anybody may write to tells nothing: it could send questions to somebody else's socket.

    Args:
        file: The main file, as for `load`.
    """
    site: dict[str, Any] = {}
    for table in _site_tables(file):
        site = {**table, **site}
    try:
        state = _STATE.validate_python(
            site.get("state"), strict=True, context={"folder": os.path.dirname(os.path.abspath(file))}
        )
    except ValidationError:
        return None
    return Salvaged(state, _zone(site.get("timezone")))


def _site_tables(file: str) -> Iterator[dict[str, Any]]:
    try:
        files = config_files(file)
    except ConfigError:
        files = [file]
    for name in files:
        try:
            yield _site_table(read_text(name))
        except (ConfigError, RecursionError):
            continue


def _site_table(text: str) -> dict[str, Any]:
    """Return what a file says under [site]; of a file that is no TOML, the lines there that are."""
    try:
        tables = tomli.loads(text)
    except ValueError:  # not TOML, or a number of more digits than Python reads
        found: dict[str, Any] = {}
        for line in _site_lines(text):
            try:
                found = {**tomli.loads(line), **found}
            except ValueError:
                continue
        return found
    site = tables.get("site")
    return site if isinstance(site, dict) else {}


def _site_lines(text: str) -> Iterator[str]:
    inside = False
    for line in text.splitlines():
        if _ANY_TABLE.match(line):
            inside = _SITE_TABLE.match(line) is not None
        elif inside:
            yield line


def _zone(name: object) -> tzinfo:
    try:
        return zone_of(name if isinstance(name, str) else Site.model_fields["timezone"].default)
    except (ValueError, OSError, KeyError):
        return zone_of(Site.model_fields["timezone"].default)
