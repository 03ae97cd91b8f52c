"""Following a recovery run at the terminal: its steps, how far they are, what people are asked, what it came to."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import click

from jbackupd.cli.asking import Caller, answering
from jbackupd.cli.deciding import login
from jbackupd.cli.output import Frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_size

FAILED, INCOMPLETE = 1, 3
PROGRESS_SECONDS = 5.0
LIVING = ("desk", "export", "mount", "postgres", "service")
"""Kinds of steps whose work ends with the process that has done them."""


def watch(frame: Frame, verb: str, *, local: bool, **arguments: Any) -> int:
    """Let a run begin or go on, follow it to its end, tell what it came to; return the command's exit code."""
    with answering(frame, local=local) as call:
        document = watched(frame, call, verb, local=local, **arguments)
        code = told(frame, document)
        if local and any(step["kind"] in LIVING and step["state"] == "done" for step in document["steps"]):
            frame.say(_("what the run has opened stays until this command ends (Ctrl-C)"))
            call.serve()
    return code


def watched(frame: Frame, call: Caller, verb: str, *, local: bool, **arguments: Any) -> dict[str, Any]:
    """Follow a run to its end and return its report; whoever sits at the terminal is asked what it asks."""
    return call(verb, follow(frame, local=local, ask=functools.partial(_let_answer, frame, call)), **arguments)


def follow(
    frame: Frame, *, local: bool, ask: Callable[[str, dict[str, Any]], None] | None
) -> Callable[[dict[str, Any]], None]:
    """Return what says each event of a run.

    Args:
        ask: Lets people answer: (the run's name, what is asked).
    """
    from jbackupd.continuity.telling import asks_text, error_text, event_text

    tell_progress = _progress(frame)
    run = ""

    def news(event: dict[str, Any]) -> None:
        nonlocal run
        if "step" not in event:
            run = event["run"]
            shown = _("run {run}") if local else _("run {run}; closing this terminal does not stop it")
            frame.say(shown.format(run=run))
        elif event["event"] == "progress":
            tell_progress(event)
        elif event["event"] == "asks":
            for line in asks_text(event, run):
                frame.say(line)
            if ask is not None:
                ask(run, event)
        else:
            reason = error_text(event["error"]) if "error" in event else ""
            frame.say(f"{event_text(event)} {reason}".rstrip())

    return news


def told(frame: Frame, document: dict[str, Any]) -> int:
    """Write a run's report; return 0, or the exit code of what kept it from its end."""
    frame.emit(document, lambda: _show_run(frame, document))
    if document["proved"]:
        return 0
    codes = [step["detail"]["error"]["exit_code"] for step in document["steps"] if "error" in step["detail"]]
    if document["stopped"] is not None:
        codes.insert(0, document["stopped"]["exit_code"])
    elif document["back"] and document["over"] and document["rollback"] is None:
        return INCOMPLETE
    return codes[0] if codes else FAILED


def shown_in(zone: tzinfo) -> Callable[[datetime], str]:
    """Return what writes a moment for people."""
    return lambda moment: show_time(moment, zone)


def _let_answer(frame: Frame, call: Caller, run: str, asked: dict[str, Any]) -> None:
    """Read an answer from the terminal, beside the watching: the run may be answered from elsewhere meanwhile."""
    if frame.json or not sys.stdin.isatty():
        return
    from jbackupd.continuity.telling import CHOICES

    choices = CHOICES[asked["kind"]]

    def ask() -> None:
        while (word := sys.stdin.readline().strip()) not in choices:
            frame.say(_("type one of: {choices}").format(choices=", ".join(choices)))
        try:
            _answer(call, run, asked, word)
        except JbackupdError as error:
            frame.say(str(error))

    threading.Thread(target=ask, name="answer", daemon=True).start()


def _answer(call: Caller, run: str, asked: dict[str, Any], word: str) -> None:
    by = login()
    if asked["kind"] == "commit":
        if word == "commit":
            call.aside("recovery.commit", run=run, by=by)
        elif word == "rollback":
            call.aside("recovery.rollback", run=run, by=by, reason=_("decided when everything was up"))
    else:
        call.aside("recovery.answer", run=run, step=asked["step"], choice=word, by=by)


def _progress(frame: Frame) -> Callable[[dict[str, Any]], None]:
    """Return what says now and then how far a step is."""
    said_at: dict[str, float] = {}

    def tell(event: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - said_at.setdefault(event["step"], now) < PROGRESS_SECONDS:
            return
        said_at[event["step"]] = now
        if "fetched_bytes" in event:
            far = _("{size} fetched").format(size=show_size(event["fetched_bytes"]))
        else:
            far = counted(
                "{size} in {count} file", "{size} in {count} files", event["files"], size=show_size(event["bytes"])
            )
        frame.say(f"{event['step']}: {far}")

    return tell


def _show_run(frame: Frame, document: dict[str, Any]) -> None:
    from jbackupd.continuity.telling import (
        alarms_of,
        asks_text,
        detail_text,
        error_text,
        outcome_text,
        reached_rows,
        state_text,
        times_of,
    )

    click.echo(f"{document['title']} ({document['run']}): {outcome_text(document)}")
    for step in document["steps"]:
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f} s"
        line = f"  {step['step']:<16} {state_text(step['state'])}  {seconds}  {detail_text(step['detail'])}"
        click.echo(line.rstrip())
    for name, reached, target, verdict in reached_rows(document):
        click.echo(_("{name}: {reached} (target {target}): {verdict}").format(
            name=name, reached=reached, target=target, verdict=verdict
        ))
    for name, value in times_of(document, shown_in(running(frame).zone)):
        click.echo(f"{name}: {value}")
    for alarm in alarms_of(document):
        click.echo(_("ALARM: {alarm}").format(alarm=alarm))
    for asked in document["asks"]:
        for text in asks_text(asked, document["run"]):
            click.echo(text)
    if document["stopped"] is not None:
        click.echo(error_text(document["stopped"]))
