"""What the reading commands share: a point opened by its name, and its entries for people and machines."""

from __future__ import annotations

import codecs
import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, path_fields, show_time, time_text
from jbackupd.model.errors import UsageError
from jbackupd.model.ids import PointSelector
from jbackupd.model.records import TreeEntry
from jbackupd.model.texts import _
from jbackupd.model.units import show_duration

if TYPE_CHECKING:
    from jbackupd.vault.vault import OpenPoint, StoredPoint, Vault


@contextlib.contextmanager
def opened_vault(frame: Frame, name: str) -> Iterator[tuple[Vault, StoredPoint]]:
    """Open the vault that holds a point, and find the point; says which one was picked.

    Args:
        frame: The call.
        name: TENANT/DATASET[@SELECTOR].
    """
    from jbackupd.service.wiring import open_vault

    selector = PointSelector.parse(name)
    settings = frame.settings()
    with open_vault(settings, selector.dataset.tenant) as vault:
        yield vault, picked_point(frame, vault, selector)


def picked_point(frame: Frame, vault: Vault, selector: PointSelector) -> StoredPoint:
    """Find a point; unless it was named by its number, say which one it is and how old."""
    stored = vault.points.find(selector)
    say_picked(frame, stored, selector)
    return stored


def say_picked(frame: Frame, stored: StoredPoint, selector: PointSelector) -> None:
    """Say which point was picked and how old it is, unless it was named by its number."""
    if selector.sequence is None:
        age = (datetime.now(UTC) - stored.header.taken_at).total_seconds()
        picked = _("point {point}, taken {time}, {age} ago")
        time = show_time(stored.header.taken_at, frame.settings().site.zone)
        frame.say(picked.format(point=stored.label, time=time, age=show_duration(age)))


@contextlib.contextmanager
def opened_point(frame: Frame, name: str) -> Iterator[OpenPoint]:
    """Open a point to read its files; says which one was picked."""
    with opened_vault(frame, name) as (vault, stored):
        yield vault.open_point(stored)


def header_fields(stored: StoredPoint) -> dict[str, Any]:
    """Return a point's clear part for a document."""
    header = stored.header
    return {
        "point": stored.label,
        "dataset": str(header.dataset),
        "sequence": header.sequence,
        "name": stored.name.hex(),
        "taken_at": time_text(header.taken_at),
        "begun_at": time_text(header.begun_at),
        "site": header.site,
        "epoch": header.epoch,
        "incomplete": header.incomplete,
        "added_objects": len(header.added),
    }


def entry_fields(entry: TreeEntry) -> dict[str, Any]:
    """Return an entry of a tree for a document."""
    fields: dict[str, Any] = {
        **path_fields(entry.path),
        "type": entry.type.name.lower(),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": time_text(datetime.fromtimestamp(entry.mtime_ns // 1_000_000_000, UTC)),
        "mtime_ns": entry.mtime_ns,
    }
    if entry.target:
        fields["target"] = path_fields(entry.target)
    return fields


def _check_encoding(context: click.Context, option: click.Parameter, name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise UsageError("{name!r} is not an encoding", "write for example cp932 or euc-jp", name=name) from error
    return name


ENCODING = click.option(
    "--encoding", default="utf-8", metavar="NAME", callback=_check_encoding,
    help=_("how names are written and shown, for example cp932 (default utf-8)"),
)
"""The encoding of names, for the paths that are asked for as for those that are shown."""


def tree_path(path: str, encoding: str = "utf-8") -> bytes:
    """Return a path as a tree has it: the bytes that its names have in an encoding, without outer slashes.

    Bytes that are no text of the terminal are passed on as they are.

    Raises:
        UsageError: The encoding has no such character.
    """
    raw = os.fsencode(path)
    if codecs.lookup(encoding).name == "utf-8":
        return raw.strip(b"/")
    try:
        return raw.decode("utf-8").encode(encoding).strip(b"/")
    except UnicodeDecodeError:
        # Typed by completion, or from a list of raw names: bytes of the source already.
        return raw.strip(b"/")
    except UnicodeEncodeError as error:
        raise UsageError(
            "{path} cannot be written in {encoding}", "name it as 'jbackupd ls --encoding {encoding}' shows it",
            path=path, encoding=encoding,
        ) from error


def below(entries: Iterable[TreeEntry], folder: bytes, *, recursive: bool) -> Iterator[TreeEntry]:
    """Yield a named entry itself and, if it is a folder, what is directly in it, or everything below.

    Args:
        entries: Of a tree, in any order.
        folder: As in a tree; empty for the top.
        recursive: Everything below instead of one level.
    """
    prefix = folder + b"/" if folder else b""
    for entry in entries:
        inside = entry.path.startswith(prefix) and (recursive or b"/" not in entry.path[len(prefix) :])
        if inside or entry.path == folder:
            yield entry
