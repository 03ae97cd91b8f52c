"""`jbackupd restore`: put a point, or some paths of it, into a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, path_fields, show_path
from jbackupd.cli.progress import Progress
from jbackupd.cli.reading import ENCODING, header_fields, picked_point, tree_path
from jbackupd.model.errors import NotFoundError, UsageError
from jbackupd.model.ids import PointSelector, TenantId
from jbackupd.model.records import EntryType
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.restore.options import RestoreResult
    from jbackupd.vault.keyring import KeySource
    from jbackupd.vault.vault import OpenPoint

CONFLICTS = ("refuse", "skip", "newer", "overwrite", "rename")


@click.command(help=_("Put a point, or some paths of it, into a folder."))
@click.argument("point", metavar="POINT")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--to", "target", required=True, metavar="DIR", help=_("a new or empty folder"))
@click.option("--conflict", type=click.Choice(CONFLICTS), default="refuse", help=_("what to do with what is there"))
@click.option("--in-place", is_flag=True, help=_("make what is there right, and write only what differs"))
@click.option("--resume", is_flag=True, help=_("go on with an interrupted restore"))
@click.option("--allow-setuid", is_flag=True, help=_("keep setuid and setgid bits"))
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("read with shares of the recovery key"))
@click.option("--dry-run", is_flag=True, help=_("tell what would be restored, write nothing"))
@ENCODING
@pass_frame
def restore(
    frame: Frame, point: str, paths: tuple[str, ...], target: str, conflict: str, in_place: bool, resume: bool,
    allow_setuid: bool, shares: tuple[str, ...], dry_run: bool, encoding: str,
) -> int:
    """Restore; exit code 4 when something was damaged: it is named and was not placed."""
    from jbackupd.restore.options import Conflict, RestoreOptions
    from jbackupd.restore.place import restore as place
    from jbackupd.runtime.heap import keep_freed_memory

    keep_freed_memory()
    selector = PointSelector.parse(point)
    wanted = tuple(tree_path(path, encoding) for path in paths)
    if in_place and conflict != "refuse":
        raise UsageError("--in-place and --conflict exclude each other", "choose one of them")
    rule = Conflict.IN_PLACE if in_place else Conflict(conflict)
    with _opened(frame, selector, shares) as opened:
        total = _wanted_bytes(opened, wanted, encoding)
        if dry_run:
            document = {**header_fields(opened.stored), "to": target, **total, "dry_run": True}
            frame.emit(document, lambda: click.echo(_("{files} files, {size}").format(
                files=total["files"], size=show_size(total["bytes"])
            )))
            return 0
        options = RestoreOptions(
            wanted, rule, resume, opened.stored.label, allow_setuid, set_owner=os.geteuid() == 0
        )
        with Progress(opened.stored.label, quiet=frame.quiet) as progress:
            result = place(
                opened, target, options,
                progress=lambda done: progress.update(done.bytes_read, total["bytes"], files=done.files),
            )
        frame.emit(
            {**header_fields(opened.stored), "to": target, **_result_fields(result)}, lambda: _show(result, target)
        )
        _say_what_is_missing(frame, result, encoding)
        return result.exit_code


@contextlib.contextmanager
def _opened(frame: Frame, selector: PointSelector, shares: tuple[str, ...]) -> Iterator[OpenPoint]:
    from jbackupd.service.wiring import open_vault

    settings = frame.settings()
    keys = _keys(frame, selector.dataset.tenant, shares) if shares else None
    with open_vault(settings, selector.dataset.tenant, keys) as vault:
        yield vault.open_point(picked_point(frame, vault, selector))


def _keys(frame: Frame, tenant: TenantId, shares: tuple[str, ...]) -> KeySource:
    from jbackupd.cli.key import read_shares
    from jbackupd.service.adopting import open_keys, recovery_seed

    return open_keys(frame.settings(), tenant, recovery_seed(tenant, read_shares(shares)))


def _wanted_bytes(point: OpenPoint, paths: tuple[bytes, ...], encoding: str) -> dict[str, int]:
    """Count what will be restored.

    Raises:
        NotFoundError: A path is not in the point.
    """
    if not paths:
        return {"files": point.body.statistics.files, "bytes": point.body.statistics.source_bytes}
    seen: set[bytes] = set()
    files = size = 0
    for entry in point.entries():
        above = [path for path in paths if entry.path == path or entry.path.startswith(path + b"/")]
        seen.update(above)
        if above and entry.type is EntryType.FILE:
            files, size = files + 1, size + entry.size
    for path in paths:
        if path not in seen:
            raise NotFoundError(
                "{point} has no {path}", "see 'jbackupd ls {point}'",
                point=point.stored.label, path=show_path(path, encoding),
            )
    return {"files": files, "bytes": size}


def _result_fields(result: RestoreResult) -> dict[str, Any]:
    return {
        "files": result.files, "folders": result.folders, "symlinks": result.symlinks, "bytes": result.bytes,
        "bytes_written": result.bytes_written, "kept": result.kept, "skipped": result.skipped,
        "owners_not_set": result.owners_not_set,
        "setuid_dropped": result.setuid_dropped,
        "problems": [
            {**path_fields(problem.path), "code": problem.error.code, "message": str(problem.error)}
            for problem in result.problems
        ],
        "problems_more": result.problems_more,
        "tree_error": None if result.tree_error is None else str(result.tree_error),
    }


def _show(result: RestoreResult, target: str) -> None:
    click.echo(_("restored {files} files, {folders} folders, {symlinks} symlinks, {size} into {target}").format(
        files=result.files, folders=result.folders, symlinks=result.symlinks, size=show_size(result.bytes),
        target=target,
    ))


def _say_what_is_missing(frame: Frame, result: RestoreResult, encoding: str) -> None:
    if result.kept:
        frame.say(_("{count} files were there already and right").format(count=result.kept))
    if result.skipped:
        frame.say(_("{count} files were left as they were").format(count=result.skipped))
    if result.owners_not_set:
        frame.say(_("{count} entries belong to you now: their owners are only set as root").format(
            count=result.owners_not_set
        ))
    if result.setuid_dropped:
        frame.say(_("{count} files lost their setuid bit; keep it with --allow-setuid").format(
            count=result.setuid_dropped
        ))
    for problem in result.problems:
        click.echo(_("not restored: {path}: {reason}").format(
            path=show_path(problem.path, encoding), reason=problem.error.render(_(problem.error.message))
        ), err=True)
    if result.problems_more:
        click.echo(_("not restored: {count} more").format(count=result.problems_more), err=True)
    if result.tree_error is not None:
        click.echo(_("the list of files is damaged; what it named before that was restored: {reason}").format(
            reason=result.tree_error.render(_(result.tree_error.message))
        ), err=True)
