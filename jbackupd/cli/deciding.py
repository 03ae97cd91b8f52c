"""`jbackupd recovery answer|commit|rollback`: what people say to a run."""

from __future__ import annotations

import getpass
import os

import click

from jbackupd.cli.asking import answering
from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.texts import _

BY = click.option(
    "--by", default="", metavar="NAME", help=_("who does this, for the record; without it the login's name")
)


def login() -> str:
    """Return the name of whoever is signed in here; behind sudo the one who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@click.command(help=_("Answer what a step of a run asks."))
@click.argument("run_name", metavar="RUN")
@click.argument("step")
@click.argument("choice", type=click.Choice(["yes", "no", "retry", "continue", "halt", "rollback"]))
@BY
@pass_frame
def answer(frame: Frame, run_name: str, step: str, choice: str, by: str) -> None:
    """Answer a step: yes or no to a question, anything else to a failure."""
    with answering(frame, local=False) as call:
        taken = call("recovery.answer", run=run_name, step=step, choice=choice, by=by or login())
    frame.emit(taken, lambda: click.echo(f"{step}: {choice}"))


@click.command(help=_("Say that everything is up and was looked at: the last phase of a run begins."))
@click.argument("run_name", metavar="RUN")
@BY
@pass_frame
def commit(frame: Frame, run_name: str, by: str) -> int:
    """Commit a run and watch it to its end."""
    from jbackupd.cli.watching import watch

    return watch(frame, "recovery.commit", local=False, run=run_name, by=by or login())


@click.command(help=_("Undo everything that a run did: traffic goes back, services end, desks close. Data stays."))
@click.argument("run_name", metavar="RUN")
@click.option("--reason", required=True, help=_("why, for the record"))
@BY
@pass_frame
def rollback(frame: Frame, run_name: str, reason: str, by: str) -> int:
    """Roll a run back; exit code 0 if all of it could be undone."""
    from jbackupd.cli.watching import FAILED, told, watched

    with answering(frame, local=False) as call:
        document = watched(frame, call, "recovery.rollback", local=False, run=run_name, reason=reason, by=by or login())
    told(frame, document)
    undone = document["rollback"] is not None and document["over"] and not document["rollback"]["stuck"]
    return 0 if undone else FAILED
