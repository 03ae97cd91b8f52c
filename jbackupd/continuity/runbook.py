"""A plan for people: what somebody must know and type who has never done this, in the order in which it happens. Pure.

It holds no secret: what opens something is named by where it lies, programs by their paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from jbackupd.continuity.drill import Proof
from jbackupd.continuity.drilltelling import proof_words
from jbackupd.continuity.plan import urgency
from jbackupd.continuity.telling import kind_text
from jbackupd.model.ids import SiteId
from jbackupd.model.texts import _
from jbackupd.model.units import show_duration
from jbackupd.settings.plan import Plan, is_left_out
from jbackupd.settings.steps import Mode, ServiceStep, Step

DIGEST_SHOWN = 16
"""Hex digits of the plan's hash that people compare by eye; the whole one stands there too."""
BOX = "□"


@dataclass(frozen=True, slots=True)
class Block:
    """A table, commands or a text of the runbook.

    Attributes:
        text: What stands above.
        commands: To be typed exactly.
        head: Of the table; empty where the first cell of each row is its name.
    """

    text: str = ""
    commands: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the runbook that can be handed to somebody."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class RunbookFacts:
    """What the plan does not say itself.

    Attributes:
        file: Of the plan, as it is typed.
        digest: Hex SHA-256 of its text.
        site: Where it would be run.
        officers: Names of the officers that this site knows, with those for people.
        approvals: How many of them must approve.
        minutes: How long each step took at worst in drills, in seconds, by its name.
        proof: How the plan stands by its drills, and when that drill was.
        show: Writes a moment for people.
        show_day: Writes a day for people.
    """

    file: str
    digest: str
    site: SiteId
    officers: Sequence[tuple[str, str]]
    approvals: int
    seconds: dict[str, float]
    proof: Proof
    proved_at: datetime | None
    now: datetime
    show: Callable[[datetime], str]
    show_day: Callable[[date], str]


def ordered_steps(plan: Plan) -> list[Step]:
    """Return the steps as a run without failures begins them, one at a time; those after the commit last."""
    urgent, done, found = urgency(plan), set[str](), list[Step]()
    left = list(plan.steps)
    while left:
        ready = [step for step in left if all(need in done for need in step.needs)]
        first = min(ready, key=lambda step: (step.phase == "commit", urgent[step.id]))
        found.append(first)
        done.add(first.id)
        left.remove(first)
    return found


def people_age(plan: Plan, today: date) -> timedelta | None:
    """Return for how long nobody has confirmed the list of people; None if nobody ever has."""
    return None if plan.people_confirmed is None else today - plan.people_confirmed


def people_are_fresh(plan: Plan, today: date) -> bool:
    """Tell whether the list of people was confirmed lately enough to be relied on."""
    age = people_age(plan, today)
    return age is not None and age <= plan.people_within


def runbook(plan: Plan, facts: RunbookFacts) -> list[Section]:
    """Return the runbook in the current language."""
    return [
        Section(_("What this is"), (_what_it_is(plan, facts),)),
        Section(_("Is the site really lost?"), _declaring(plan, facts)),
        Section(_("Where things lie"), (_places(plan),)),
        Section(_("Running the plan"), (_running(plan, facts), _steps(plan, facts), _signs())),
        Section(_("Deciding: commit or undo"), _committing(plan)),
        Section(_("The counter"), _counter(plan)),
        Section(_("When something goes wrong"), _troubles()),
        Section(_("Afterwards"), _afterwards(plan)),
        Section(_("People"), (_people(plan, facts),)),
    ]


def runbook_document(plan: Plan, facts: RunbookFacts) -> dict[str, Any]:
    """Return the runbook for machines: the same content, the steps with their names."""
    return {
        "plan": plan.id, "title": plan.title, "tenant": plan.tenant, "home": plan.home, "site": facts.site,
        "digest": facts.digest, "made_at": facts.now.isoformat(timespec="seconds"), "proof": facts.proof.value,
        "people_confirmed": plan.people_confirmed.isoformat() if plan.people_confirmed else None,
        "people_fresh": people_are_fresh(plan, facts.now.date()),
        "steps": [
            {"step": step.id, "kind": step.kind, "tier": step.tier, "phase": step.phase, "needs": list(step.needs),
             "expected_seconds": facts.seconds.get(step.id), "on_failure": step.on_failure}
            for step in ordered_steps(plan)
        ],
        "sections": [
            {"title": section.title, "blocks": [
                {"text": block.text, "commands": list(block.commands), "head": list(block.head),
                 "rows": [list(row) for row in block.rows]} for block in section.blocks
            ]} for section in runbook(plan, facts)
        ],
    }


def _what_it_is(plan: Plan, facts: RunbookFacts) -> Block:
    proof = proof_words(facts.proof)
    if facts.proved_at is not None:
        proof += f" ({facts.show(facts.proved_at)})"
    total = sum(facts.seconds.get(step.id, 0.0) for step in plan.steps)
    timed = sum(step.id in facts.seconds for step in plan.steps)
    return Block(
        _("Follow this from top to bottom when {home} is lost and its services must go on at {site}. Tick what is "
          "done, write the time and your initials. What is printed in a box is typed exactly so.").format(
            home=plan.home, site=facts.site,
        ),
        rows=(
            (_("plan"), f"{plan.id}: {plan.title}"), (_("municipality"), plan.tenant),
            (_("lost site"), plan.home), (_("run at"), facts.site),
            (_("targets"), _("services back within {rto}; data at most {rpo} old").format(
                rto=show_duration(plan.rto.total_seconds()), rpo=show_duration(plan.rpo.total_seconds())
            )),
            (_("expected time"), _("{duration} for {timed} of {count} steps, as in drills").format(
                duration=show_duration(total), timed=timed, count=len(plan.steps)
            ) if timed else _not_measured()),
            (_("proof"), proof), (_("in charge"), _in_charge(plan)),
            (_("plan's hash"), f"{facts.digest[:DIGEST_SHOWN]}  ({facts.digest})"),
            (_("printed"), facts.show(facts.now)),
        ),
    )


def _in_charge(plan: Plan) -> str:
    return f"{plan.people[0].name} ({plan.people[0].role}) {plan.people[0].telephone}" if plan.people else "-"


def _declaring(plan: Plan, facts: RunbookFacts) -> tuple[Block, ...]:
    people = {person.officer: person for person in plan.people if person.officer is not None}
    rows = tuple(
        (BOX, name, shown or (people[name].name if name in people else ""),
         people[name].telephone if name in people else "-", "")
        for name, shown in facts.officers
    )
    return (
        Block(
            _("Look first, and telephone: power, building, people at {home}. A declaration cannot be taken back. If "
              "only the line is down, wait.").format(home=plan.home),
            commands=("jbackupd site status", f'jbackupd site declare-lost {plan.home} --reason "..."'),
        ),
        Block(
            _("{needed} of these officers approve it, each with the own key; read the ID to them by telephone before "
              "they sign.").format(needed=facts.approvals),
            commands=("jbackupd site approve ID --key OFFICER.key",),
            head=("", _("officer"), _("name"), _("telephone"), _("time, initials")), rows=rows,
        ),
    )


def _places(plan: Plan) -> Block:
    rows = tuple((BOX, place.what, place.where, place.opened_by or "-", "") for place in plan.places)
    text = "" if rows else _("The plan names no places. Write here where the shares lie, and who opens:")
    return Block(
        text, head=("", _("what"), _("where"), _("opened by"), _("time, initials")),
        rows=rows or tuple((BOX, "", "", "", "") for _row in range(3)),
    )


def _running(plan: Plan, facts: RunbookFacts) -> Block:
    return Block(
        _("At {site}, with the shares at hand. --lost-at is the moment of the loss: times count from it. The run tells "
          "what it does, and asks.").format(site=facts.site),
        commands=(
            f"jbackupd recovery run {facts.file} --share A.txt --share B.txt --lost-at 2026-01-31T02:40+09:00",
            "jbackupd recovery history", "jbackupd recovery show RUN",
        ),
    )


def _steps(plan: Plan, facts: RunbookFacts) -> Block:
    rows = []
    for number, step in enumerate(ordered_steps(plan), start=1):
        name = f"{step.id}" + (f": {step.purpose}" if step.purpose else "")
        rows.append((
            BOX, str(number), str(step.tier), name, "\n".join(_doing(plan, step)), ", ".join(step.needs) or "-",
            expected(step, facts.seconds), failure_words(step), "",
        ))
    return Block(
        _("The machine does these by itself, in this order, what is urgent first. Lines that begin with ▶ are for "
          "you."),
        head=("", _("no."), _("tier"), _("step"), _("what happens"), _("needs"), _("expected time"), _("if it fails"),
              _("time")),
        rows=tuple(rows),
    )


def expected(step: Step, seconds: dict[str, float]) -> str:
    """Return how long a step is expected to take: what drills have shown, nothing else."""
    return show_duration(seconds[step.id]) if step.id in seconds else _not_measured()


def _not_measured() -> str:
    return _("not measured")


def _doing(plan: Plan, step: Step) -> Iterator[str]:
    """Yield what a step does, and what a person has to do."""
    said = [str(getattr(step, key)) for key in ("dataset", "file", "unit", "listen", "http", "tcp")
            if getattr(step, key, None) is not None]
    yield kind_text(step.kind) + (f": {', '.join(said)}" if said else "")
    for key in ("cut", "process", "run", "by", "do"):
        script = getattr(step, key, None)
        if script is not None:
            yield _("program: {path}").format(path=script.script)
    if isinstance(step, ServiceStep) and step.container is not None:
        yield _("container: {image}").format(image=step.container.image or step.container.archive)
    if step.kind == "confirm":
        who = f" ({step.who})" if step.who else ""
        yield f"▶ {step.question}{who}"
        yield f"▶ jbackupd recovery answer RUN {step.id} yes"
    if step.on_failure == "ask":
        yield f"▶ jbackupd recovery answer RUN {step.id} retry|continue|halt|rollback"
    if step.phase == "commit":
        yield _("only after the commit")
    if not step.essential:
        yield _("not essential")
    modes: tuple[Mode, ...] = ("disaster", "planned", "failback")
    left_out = [mode for mode in modes if is_left_out(step, mode)]
    if left_out:
        yield _("not with --mode {modes}").format(modes=", ".join(left_out))


def failure_words(step: Step) -> str:
    """Return what a step's failure means."""
    return {
        "halt": _("nothing more begins"), "continue": _("the rest goes on"), "ask": _("you are asked"),
        "rollback": _("everything is undone"),
    }[step.on_failure]


def _signs() -> Block:
    return Block(_(
        "Closing the terminal stops nothing. After a power cut the run waits: 'jbackupd recovery resume RUN' with the "
        "shares goes on with it."
    ), commands=("jbackupd recovery resume RUN --share A.txt --share B.txt",))


def _committing(plan: Plan) -> tuple[Block, ...]:
    if not any(step.phase == "commit" for step in plan.steps):
        return (Block(_("This plan turns nothing: no commit is asked for. To undo everything:"),
                      commands=('jbackupd recovery rollback RUN --reason "..."',)),)
    turned = ", ".join(step.id for step in plan.steps if step.phase == "commit")
    return (Block(
        _("When everything before is up, look at it: open the counter, look somebody up that you know. Only then the "
          "town is turned here ({steps}).").format(steps=turned),
        commands=("jbackupd recovery show RUN", "jbackupd recovery commit RUN --by NAME",
                  'jbackupd recovery rollback RUN --reason "..."'),
    ),)


def _counter(plan: Plan) -> tuple[Block, ...]:
    desks = tuple(
        (BOX, step.id, step.title, str(step.listen), ", ".join(step.accounts), "")
        for step in plan.steps if step.kind == "desk"
    )
    if not desks:
        return (Block(_("This plan opens no counter.")),)
    return (Block(
        _("'jbackupd recovery show RUN' names the address of each counter and the file with the clerks' first "
          "passwords. Hand them out one by one. Tell the clerks: the data is as of the time on the page; what "
          "residents bring is received under a number, and nothing is promised."),
        head=("", _("step"), _("counter"), _("address"), _("accounts"), _("time, initials")), rows=desks,
    ),)


def _troubles() -> tuple[Block, ...]:
    return (
        Block(head=(_("exit code"), _("what it means"), _("what to do")), rows=(
            ("1", _("the plan did not reach its end"), _("read the report; answer, or resume the run")),
            ("3", _("services are back, with gaps"), _("go on; see to the gaps later")),
            ("5", _("refused: not declared, not approved, another site acts, a program was changed"),
             _("read the message; it says what is missing")),
            ("6", _("a share is bad or missing"), _("type it again, or use another one")),
            ("7", _("somebody else is at work"), _("wait, or end the other one")),
            ("8", _("another site or the line does not answer"),
             _("go on with what lies here; tell the network staff")),
            ("9", _("the disk is full"), _("make room on the state folder's disk, and resume")),
        )),
        Block(
            _("If the daemon does not answer, the same commands work with --local once it is stopped. If the machine "
              "is gone, any machine with a copy of the vault's folder and the shares brings the files back:"),
            commands=(
                "systemctl status jbackupd",
                "jbackupd rescue VAULT TENANT/DATASET --share A.txt --share B.txt --to FOLDER",
            ),
        ),
    )


def _afterwards(plan: Plan) -> tuple[Block, ...]:
    return (Block(
        _("What clerks received goes back to {home} as a work list; {home} acts again only when officers let it "
          "return.").format(home=plan.home),
        commands=(
            "jbackupd recovery show RUN --html report.html", "jbackupd recovery close RUN",
            f'jbackupd site return {plan.home} --reason "..."', "jbackupd recovery failback list",
            "jbackupd recovery clean RUN",
        ),
    ),)


def _people(plan: Plan, facts: RunbookFacts) -> Block:
    confirmed = facts.show_day(plan.people_confirmed) if plan.people_confirmed else _("never")
    text = _("List confirmed: {day}.").format(day=confirmed)
    if not people_are_fresh(plan, facts.now.date()):
        text += " " + _("OLDER THAN {limit}: numbers may be wrong.").format(
            limit=show_duration(plan.people_within.total_seconds())
        )
    rows = tuple(
        (BOX, person.role, person.name, person.telephone, person.alternate or "-", "") for person in plan.people
    )
    return Block(
        text, head=("", _("role"), _("name"), _("telephone"), _("if not reached"), _("time, initials")),
        rows=rows or tuple((BOX, "", "", "", "", "") for _row in range(5)),
    )
