"""`jbackupd recovery failback`: what the desks took in goes into the rebuilt system, with a second person's look."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.journal import state_of, tenant_with_intake, write_new
from jbackupd.cli.output import Frame, pass_frame, show_time
from jbackupd.cli.running import running
from jbackupd.model.errors import EXIT_INCOMPLETE
from jbackupd.model.texts import _, counted

if TYPE_CHECKING:
    from jbackupd.continuity.failback import ItemEvent, Queue, Task
    from jbackupd.continuity.intake import Item
    from jbackupd.continuity.reconcile import Proposal
    from jbackupd.service.failback import Failback

_tenant = click.option("--tenant", metavar="TENANT", help=_("whose; may be left out where there is one"))
_by = click.option("--by", required=True, metavar="NAME", help=_("who does this; confirming is another person's"))
_reason = click.option("--reason", default="", metavar="TEXT", help=_("why, in a few words"))
_number = click.argument("number", metavar="NUMBER")


@click.group(help=_("Work off what the desks took in: entered by one person, confirmed by another."))
def failback() -> None:
    """Hold the commands of the failback queue."""


@failback.command("list", help=_("List the items that are open, and how many are in each state."))
@click.option("--all", "everything", is_flag=True, help=_("also what is done"))
@click.option("--html", "page", metavar="FILE", help=_("write the list as a page to print"))
@_tenant
@pass_frame
def list_items(frame: Frame, everything: bool, page: str | None, tenant: str | None) -> None:
    """List the queue."""
    with _opened(frame, tenant) as work:
        queue = work.queue
        tasks = queue.tasks if everything else queue.open
        frame.emit(
            {**_counts(work), "items": [_document(task) for task in tasks]}, lambda: _show_list(frame, work, everything)
        )
        if page is not None:
            from jbackupd.continuity.failbackpage import queue_page

            write_new(page, queue_page(tasks, work.tenant, datetime.now(UTC)).encode())
            frame.say(_("the list is in {path}").format(path=page))
        if queue.done:
            frame.say(_("nothing is open: everything that the desks took in is entered, confirmed, or withdrawn"))


@failback.command(help=_("Show an item: what was taken in, its corrections, and what was done with it."))
@_number
@_tenant
@pass_frame
def show(frame: Frame, number: str, tenant: str | None) -> None:
    """Show one item."""
    with _opened(frame, tenant) as work:
        task = work.queue.find(number)
        frame.emit(_document(task, whole=True), lambda: _show_task(frame, task))


@failback.command(help=_("Say that an item is entered into the main system; another person confirms it."))
@_number
@_by
@_tenant
@click.option("--duplicate", is_flag=True, help=_("it was there already: confirmed, it is a duplicate"))
@pass_frame
def enter(frame: Frame, number: str, by: str, tenant: str | None, duplicate: bool) -> None:
    """Note that somebody entered an item, or found it entered."""
    from jbackupd.continuity.failback import ItemEvent

    _note(frame, number, ItemEvent.DUPLICATE if duplicate else ItemEvent.ENTER, by, "", tenant)


@failback.command(help=_("Confirm what another person entered; with --reject it was not right."))
@_number
@_by
@_reason
@_tenant
@click.option("--reject", is_flag=True, help=_("it is not right: the item is open again; needs --reason"))
@pass_frame
def confirm(frame: Frame, number: str, by: str, reason: str, tenant: str | None, reject: bool) -> None:
    """Confirm an item, or open it again."""
    from jbackupd.continuity.failback import ItemEvent

    _note(frame, number, ItemEvent.REJECT if reject else ItemEvent.CONFIRM, by, reason, tenant)


@failback.command("return", help=_("Send an item back: it cannot be entered as it is (差戻し). It stays open."))
@_number
@_by
@_reason
@_tenant
@pass_frame
def send_back(frame: Frame, number: str, by: str, reason: str, tenant: str | None) -> None:
    """Note that an item was sent back."""
    from jbackupd.continuity.failback import ItemEvent

    _note(frame, number, ItemEvent.RETURN, by, reason, tenant)


@failback.command(help=_("Open an item again that was sent back, or that turned out not to be done."))
@_number
@_by
@_reason
@_tenant
@pass_frame
def reopen(frame: Frame, number: str, by: str, reason: str, tenant: str | None) -> None:
    """Open an item again."""
    from jbackupd.continuity.failback import ItemEvent

    _note(frame, number, ItemEvent.REOPEN, by, reason, tenant)


@failback.command(help=_("Write the open items as CSV in the main system's encoding; exit code 3 if it lacks some."))
@click.option("--to", "target", required=True, metavar="FILE", help=_("where; a file that is there is not replaced"))
@click.option(
    "--encoding", type=click.Choice(("cp932", "euc-jp", "utf-8")), default="cp932", help=_("of the main system")
)
@click.option("--kind", metavar="KIND", help=_("only this kind: death, move-out, damage, safety ..."))
@click.option("--all", "everything", is_flag=True, help=_("also what is done"))
@_tenant
@pass_frame
def export(
    frame: Frame, target: str, encoding: str, kind: str | None, everything: bool, tenant: str | None
) -> int:
    """Write items as CSV; characters that the encoding lacks are marked there and named in a list beside it."""
    from jbackupd.continuity.encodable import ENCODINGS
    from jbackupd.continuity.failbackcsv import item_list, replaced_list, task_list

    wanted = _kind(kind)
    with _opened(frame, tenant) as work:
        queue = work.queue
        encoded = next(one for one in ENCODINGS if one == encoding)
        tasks = [
            task for task in (queue.tasks if everything else queue.open) if wanted in (None, task.item.first.kind)
        ]
        lists = [item for item in queue.lists if item.first.kind is wanted]
    listed = item_list(lists, encoded) if lists else task_list(tasks, encoded)
    write_new(target, listed.data)
    beside = None
    if listed.replaced:
        beside = f"{target}.replaced.csv"
        write_new(beside, replaced_list(listed.replaced))
    document = {
        "file": target, "rows": listed.rows, "encoding": encoding, "replaced": len(listed.replaced),
        "replaced_file": beside,
    }
    frame.emit(document, lambda: click.echo(
        counted("{count} line is in {path}", "{count} lines are in {path}", listed.rows, path=target)
    ))
    if beside is not None:
        frame.say(counted(
            "{encoding} lacks {count} character: it is replaced, and named in {path}",
            "{encoding} lacks {count} characters: they are replaced, and named in {path}", len(listed.replaced),
            encoding=encoding, path=beside,
        ))
    return EXIT_INCOMPLETE if listed.replaced else 0


@failback.command(help=_("Compare the open items with a fresh extract of the rebuilt system. Nothing is decided."))
@click.argument("extract", type=click.Path(exists=True, dir_okay=False))
@click.option("--map", "map_file", required=True, metavar="FILE", help=_("column map (TOML)"))
@click.option("--as-of", required=True, metavar="TIME", help=_("the moment that the data shows, with its offset"))
@_tenant
@pass_frame
def reconcile(frame: Frame, extract: str, map_file: str, as_of: str, tenant: str | None) -> None:
    """Propose of every open item whether it is there already."""
    from jbackupd.cli.desk import moment_of
    from jbackupd.desk.mapfile import load_map
    from jbackupd.service.failback import queue_folder
    from jbackupd.service.failback import reconcile as compare

    moment, mapping = moment_of(as_of), load_map(map_file)
    with _opened(frame, tenant) as work, open(extract, "rb") as source:
        folder = os.path.join(frame.settings().site.state, queue_folder(work.tenant))
        proposals = compare(work.queue, source, mapping, moment, folder=folder)
        document = {
            "tenant": work.tenant, "as_of": moment, "verdicts": _verdicts(proposals),
            "proposals": [_proposal(one) for one in proposals],
        }
        frame.emit(document, lambda: _show_proposals(proposals))


@contextlib.contextmanager
def _opened(frame: Frame, tenant: str | None) -> Iterator[Failback]:
    from jbackupd.service.failback import opened

    owner = tenant_with_intake(frame, tenant)
    files, site_key = state_of(frame)
    with opened(files, owner, site_key) as work:
        for label in work.facts.labels:
            frame.say(_("two desks bear the label {label}: name their items as JOURNAL:NUMBER").format(label=label))
        for note in work.queue.orphans:
            frame.say(_("{number} was worked with, and its journal is not here").format(number=note.number))
        yield work


def _note(frame: Frame, number: str, do: ItemEvent, by: str, reason: str, tenant: str | None) -> None:
    with _opened(frame, tenant) as work:
        task = work.note(number, do, by, reason, datetime.now(UTC))
        frame.emit(_document(task), lambda: click.echo(_line(task)))
        if work.queue.done:
            frame.say(_("nothing is open: everything that the desks took in is entered, confirmed, or withdrawn"))


def _counts(work: Failback) -> dict[str, Any]:
    queue = work.queue
    return {
        "tenant": work.tenant, "done": queue.done, "open": len(queue.open), "orphans": len(queue.orphans),
        "counts": {state.value: count for state, count in queue.counts.items()}, "lists": len(queue.lists),
        "same_labels": list(work.facts.labels),
    }


def _document(task: Task, *, whole: bool = False) -> dict[str, Any]:
    from jbackupd.continuity.failback import STATE_WORDS

    item = task.item
    document: dict[str, Any] = {
        "number": item.number, "journal": item.journal.hex(), "desk": item.desk, "kind": item.first.kind.value,
        "state": task.state.value, "state_word": STATE_WORDS[task.state], "received_at": item.first.at,
        "persons": [{"number": person.number or None, "name": person.name} for person in item.persons],
        "revision": item.revision, "cancelled": item.cancelled is not None, "twins": list(task.twins),
        "outdated": task.outdated.value if task.outdated else None,
    }
    if whole:
        document |= {
            "fields": dict(item.fields),
            "changes": [{"number": one.number, "at": one.at, "by": one.account, "reason": one.reason}
                        for one in item.later],
            "notes": [{"at": one.at, "do": one.do.value, "by": one.by, "reason": one.reason} for one in task.notes],
        }
    return document


def _line(task: Task) -> str:
    from jbackupd.continuity.failback import STATE_WORDS

    item = task.item
    names = "、".join(f"{person.number or '-'} {person.name}" for person in item.persons)
    more = [_("also {numbers}").format(numbers=" ".join(task.twins))] if task.twins else []
    if task.outdated is not None:
        more.append(_("changed after it was {state}").format(state=STATE_WORDS[task.outdated]))
    if item.cancelled is not None:
        more.append(_("cancelled at the desk"))
    return "  ".join([item.number, STATE_WORDS[task.state], item.spec.word, names, *more])


def _show_list(frame: Frame, work: Failback, everything: bool) -> None:
    from jbackupd.continuity.failback import STATE_WORDS

    queue: Queue = work.queue
    for task in queue.tasks if everything else queue.open:
        click.echo(_line(task))
    click.echo("  ".join(f"{STATE_WORDS[state]} {count}" for state, count in queue.counts.items() if count))
    if queue.lists:
        click.echo(counted(
            "{count} reception is handed over as a list only: 'export --kind safety'",
            "{count} receptions are handed over as a list only: 'export --kind safety'", len(queue.lists),
        ))


def _show_task(frame: Frame, task: Task) -> None:
    from jbackupd.continuity.failback import EVENT_WORDS

    item: Item = task.item
    zone = running(frame).zone
    click.echo(_line(task))
    click.echo(_("received {moment} by {account}").format(
        moment=show_time(item.first.at, zone), account=item.first.account
    ))
    for field in item.spec.fields:
        if field.name in item.fields:
            choice = field.choice(item.fields[field.name]) if field.choices else None
            click.echo(f"  {field.word}: {choice.word if choice else item.fields[field.name]}")
    for later in item.later:
        click.echo(f"  {later.number}  {show_time(later.at, zone)}  {later.account}  {later.reason}")
    for note in task.notes:
        click.echo(f"  {EVENT_WORDS[note.do]}  {show_time(note.at, zone)}  {note.by}  {note.reason}".rstrip())


def _kind(name: str | None) -> Any:
    from jbackupd.format.intakekinds import Kind
    from jbackupd.model.errors import UsageError

    if name is None:
        return None
    try:
        return Kind(name)
    except ValueError as error:
        raise UsageError(
            "there is no kind {kind!r} of receptions", "there are {kinds}", kind=name,
            kinds=", ".join(kind.value for kind in Kind),
        ) from error


def _verdicts(proposals: list[Proposal]) -> dict[str, int]:
    from jbackupd.continuity.reconcile import Verdict

    return {verdict.value: sum(one.verdict is verdict for one in proposals) for verdict in Verdict}


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "number": proposal.item.number, "journal": proposal.item.journal.hex(), "verdict": proposal.verdict.value,
        "candidates": list(proposal.candidates),
        "differences": [
            {"person": one.person, "field": one.field, "desk": one.desk, "register": one.register}
            for one in proposal.differences
        ],
    }


def _show_proposals(proposals: list[Proposal]) -> None:
    from jbackupd.continuity.reconcile import VERDICT_WORDS

    for proposal in proposals:
        item = proposal.item
        click.echo(f"{item.number}  {VERDICT_WORDS[proposal.verdict]}  {item.spec.word}  {item.persons[0].name}")
        for one in proposal.differences:
            click.echo(f"    {one.field}: {one.desk} / {one.register}")
        if proposal.candidates:
            click.echo("    " + _("perhaps {numbers}").format(numbers=" ".join(proposal.candidates)))
    click.echo(_("these are proposals: nothing was marked as done"))
