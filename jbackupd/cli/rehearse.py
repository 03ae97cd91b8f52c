"""`jbackupd recovery rehearse|drills`: run a plan for nobody, in isolation, and keep the record."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.deciding import login
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.cli.watching import FAILED, follow
from jbackupd.cli.watching import shown_in as shown_in_zone
from jbackupd.model.errors import UsageError
from jbackupd.model.texts import _

if TYPE_CHECKING:
    from jbackupd.continuity.drill import DrillRecord
    from jbackupd.service.drillchild import Word


@click.command(help=_("Rehearse a plan in namespaces of its own, without a way out; nothing is left but its record."))
@click.argument("plan", metavar="PLAN")
@click.option("--share", "shares", multiple=True, required=True, metavar="FILE", help=_("a share of the recovery key"))
@click.option("--scenario", default="", help=_("what is assumed to have happened, for the record"))
@click.option("--participant", "participants", multiple=True, metavar="NAME", help=_("who takes part, for the record"))
@click.option("--by", default="", metavar="NAME", help=_("who does this, for the record; without it the login's name"))
@click.option("--yes", "agree", is_flag=True, help=_("answer every question of the plan with yes"))
@click.option("--html", "page", metavar="FILE", help=_("write the record as a page to print"))
@pass_frame
def rehearse(
    frame: Frame, plan: str, shares: tuple[str, ...], scenario: str, participants: tuple[str, ...], by: str,
    agree: bool, page: str | None,
) -> int:
    """Rehearse a plan; exit code 1 if the drill does not prove it."""
    from jbackupd.cli.recovery import read_text, share_texts
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.drills import Drills
    from jbackupd.service.recoveryverbs import ShareText
    from jbackupd.settings.plan import load_plan

    wanted, text = load_plan(plan), read_text(plan)
    asking = any(step.kind == "confirm" or step.on_failure == "ask" for step in wanted.steps)
    if asking and not agree and not sys.stdin.isatty():
        raise UsageError("the plan asks people, and nobody sits here", "add --yes, or call it at a terminal")
    drills = Drills(frame.settings(), frame.config, SystemClock())
    answers = _Answers(frame)
    record = drills.rehearse(
        wanted, text, hashlib.sha256(text.encode()).hexdigest(),
        [ShareText(share["source"], share["text"]) for share in share_texts(shares)], scenario=scenario,
        participants=participants, by=by or login(), agree=agree,
        tell=follow(frame, local=True, ask=None if agree else answers.ask), answers=answers.take,
    )
    _write_page(frame, record, page)
    frame.emit(_document(record), lambda: _show(frame, record))
    return 0 if record.outcome.value == "proved" else FAILED


@click.command(help=_("List the drills of this site, or show the record of one."))
@click.argument("name", metavar="[DRILL]", required=False)
@click.option("--html", "page", metavar="FILE", help=_("write the record as a page to print"))
@pass_frame
def drills(frame: Frame, name: str | None, page: str | None) -> None:
    """Show drills, oldest first."""
    from jbackupd.continuity.drilltelling import outcome_words
    from jbackupd.model.clock import SystemClock
    from jbackupd.service.drills import Drills

    known = Drills(frame.settings(), frame.config, SystemClock())
    if name is not None:
        record = known.record(name)
        _write_page(frame, record, page)
        frame.emit(_document(record), lambda: _show(frame, record))
        return
    if page is not None:
        raise UsageError("it is not clear of which drill", "name one: 'jbackupd recovery drills'")
    records = known.records()

    def text() -> None:
        zone = running(frame).zone
        for one in records:
            click.echo(f"{one.name}  {show_time(one.begun_at, zone)}  {outcome_words(one.outcome)}")

    frame.emit({"drills": [_document(one) for one in records]}, text)


class _Answers:
    """Reads people's words at the terminal and hands them to the drill."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._say: Callable[[Word], None] | None = None

    def take(self, say: Callable[[Word], None]) -> None:
        """Take what hands words over."""
        self._say = say

    def ask(self, _run: str, asked: dict[str, Any]) -> None:
        """Ask beside the watching."""
        from jbackupd.continuity.telling import CHOICES
        from jbackupd.service.drillchild import Word

        def read() -> None:
            while (word := sys.stdin.readline().strip()) not in CHOICES[asked["kind"]]:
                self._frame.say(_("type one of: {choices}").format(choices=", ".join(CHOICES[asked["kind"]])))
            assert self._say is not None
            self._say(Word(word, asked["step"]))

        threading.Thread(target=read, name="answer", daemon=True).start()


def _document(record: DrillRecord) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def _write_page(frame: Frame, record: DrillRecord, page: str | None) -> None:
    if page is None:
        return
    from jbackupd.cli.recovery import write_text
    from jbackupd.continuity.drillpage import drill_page

    write_text(page, drill_page(record, shown_in_zone(running(frame).zone)))
    frame.say(_("the record is in {path}").format(path=page))


def _show(frame: Frame, record: DrillRecord) -> None:
    from jbackupd.continuity.drilltelling import record_lines

    for line in record_lines(record, shown_in_zone(running(frame).zone)):
        click.echo(line)
