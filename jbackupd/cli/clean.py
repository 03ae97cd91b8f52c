"""`jbackupd recovery clean`: remove what a run laid out, once it is no longer needed."""

from __future__ import annotations

import sys
from typing import Any

import click

from jbackupd.cli.asking import answering
from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import RefusedError, UsageError
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_size


@click.command(help=_("Remove what a run laid out: restored data, desks, passwords. Journal and audit log stay."))
@click.argument("run_name", metavar="RUN")
@click.option("--give-up", is_flag=True, help=_("also a run that never ended; it can never be resumed then"))
@click.option("--dry-run", is_flag=True, help=_("only show what would be removed"))
@click.option("--yes", is_flag=True, help=_("do not ask for the run's name"))
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@pass_frame
def clean(frame: Frame, run_name: str, give_up: bool, dry_run: bool, yes: bool, local: bool) -> None:
    """Show what a run laid out, have its name typed, and remove it."""
    with answering(frame, local=local) as call:
        found = call("recovery.clean", run=run_name, given_up=give_up, dry_run=True)
        if not dry_run:
            if not frame.json:
                _show_parts(found["parts"], err=True)
            if not yes:
                _let_type(frame, run_name)
            found = call("recovery.clean", run=run_name, given_up=give_up)
    frame.emit(found, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    if found["removed"] is None:
        _show_parts(found["parts"])
    else:
        click.echo(counted(
            "removed: {count} file, {size}; nothing is left but the journal",
            "removed: {count} files, {size}; nothing is left but the journal", found["removed"]["files"],
            size=show_size(found["removed"]["bytes"]),
        ))


def _show_parts(parts: list[dict[str, Any]], *, err: bool = False) -> None:
    for part in parts:
        click.echo(counted(
            "{path}: {count} file, {size}", "{path}: {count} files, {size}", part["files"],
            path=part["path"], size=show_size(part["bytes"]),
        ), err=err)


def _let_type(frame: Frame, run_name: str) -> None:
    """Have a person type the run's name: a line that was recalled from a shell's history must remove nothing."""
    if frame.json or not sys.stdin.isatty():
        raise UsageError("nobody can be asked here for the run's name", "add --yes if this run is really meant")
    if click.prompt(_("type the run's name to remove this"), err=True) != run_name:
        raise RefusedError("that is not the run's name; nothing was removed")
