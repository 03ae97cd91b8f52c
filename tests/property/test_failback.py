"""The failback queue: nothing is confirmed by who entered it, nothing is lost, and what changed since is open again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.continuity.failback import (
    CLOSED,
    ITEM_MACHINE,
    ItemEvent,
    ItemState,
    decode_note,
    encode_note,
    is_same_person,
    next_note,
    queue_of,
)
from jbackupd.continuity.intake import merged
from jbackupd.format.intakekinds import SPECS, Kind
from jbackupd.model.errors import FormatError, NotFoundError, RefusedError, UsageError
from tests.support.intakes import AT, Desk

PEOPLE = ("kubo", "Ｋｕｂｏ ", "sato", "田中")
STEPS = st.lists(
    st.tuples(st.sampled_from([*ItemEvent, *ItemEvent, "receive", "correct", "cancel"]), st.integers(0, 30),
              st.sampled_from(PEOPLE), st.sampled_from(list(Kind))),
    max_size=40,
)


def play(steps):
    """Do what is allowed of a list of steps; return the desk, the notes, and the queue after each note."""
    desk, notes, queues = Desk(), [], []
    for do, pick, who, kind in steps:
        standing = [number for number, item in desk.ledger.items.items() if item.cancelled is None]
        if do == "receive":
            desk.receive(kind)
        elif do in ("correct", "cancel"):
            if standing:
                getattr(desk, do)(standing[pick % len(standing)])
        else:
            tasks = queue_of(merged([desk.ledger]), notes).tasks
            if tasks:
                try:
                    notes.append(next_note(tasks[pick % len(tasks)], do, who, "理由", AT))
                except RefusedError:
                    continue
                queues.append(queue_of(merged([desk.ledger]), notes))
    return desk, notes, queues


@settings(deadline=None, max_examples=80)
@given(STEPS)
def test_nothing_is_confirmed_by_who_entered_it(steps):
    _, _, queues = play(steps)
    for queue in queues:
        for task in queue.tasks:
            for before, after in zip(task.notes, task.notes[1:], strict=False):
                if after.do is ItemEvent.CONFIRM:
                    assert not is_same_person(before.by, after.by)
            if task.state in (ItemState.APPLIED, ItemState.DUPLICATE):
                entered, confirmed = task.notes[-2:]
                assert confirmed.do is ItemEvent.CONFIRM and entered.do in (ItemEvent.ENTER, ItemEvent.DUPLICATE)
                assert entered.revision == confirmed.revision == task.item.revision


@settings(deadline=None, max_examples=80)
@given(STEPS)
def test_nothing_is_lost_and_the_queue_is_the_fold_of_its_notes(steps):
    desk, notes, _ = play(steps)
    items = merged([desk.ledger])
    queue = queue_of(items, [decode_note(encode_note(note)) for note in notes])
    assert queue == queue_of(items, notes)
    assert sorted(task.item.number for task in queue.tasks) + sorted(item.number for item in queue.lists) == (
        sorted(n for n, i in desk.ledger.items.items() if SPECS[i.first.kind].returns)
        + sorted(n for n, i in desk.ledger.items.items() if not SPECS[i.first.kind].returns)
    )
    assert sum(len(task.notes) for task in queue.tasks) == len(notes) and queue.orphans == ()
    assert sum(queue.counts.values()) == len(queue.tasks)
    assert queue.done == all(task.state in CLOSED for task in queue.tasks)


@settings(deadline=None, max_examples=80)
@given(STEPS, st.sampled_from(["correct", "cancel"]))
def test_whatever_changes_at_the_desk_opens_what_somebody_had_worked_with(steps, change):
    desk, notes, _ = play(steps)
    for task in queue_of(merged([desk.ledger]), notes).tasks:
        if task.item.cancelled is not None:
            continue
        getattr(desk, change)(task.item.number)
        after = queue_of(merged([desk.ledger]), notes).find(task.item.number)
        entered = any(note.do is ItemEvent.ENTER for note in task.notes)
        withdrawn = change == "cancel" and not entered
        assert after.state is (ItemState.WITHDRAWN if withdrawn else ItemState.OPEN)
        if task.state is ItemState.APPLIED:
            assert after.outdated is ItemState.APPLIED


def test_the_machine_is_the_four_states_of_the_lists_and_the_looks_between():
    assert {(state.value, event.value): after.value for (state, event), after in ITEM_MACHINE.table.items()} == {
        ("open", "enter"): "entered", ("open", "duplicate"): "doubted", ("open", "return"): "returned",
        ("entered", "confirm"): "applied", ("entered", "reject"): "open", ("entered", "return"): "returned",
        ("doubted", "confirm"): "duplicate", ("doubted", "reject"): "open", ("doubted", "return"): "returned",
        ("returned", "reopen"): "open", ("applied", "reopen"): "open", ("duplicate", "reopen"): "open",
    }


def test_what_cannot_be_done_is_refused_by_name():
    desk = Desk()
    number = desk.receive(Kind.DEATH)
    task = queue_of(merged([desk.ledger]), []).find(number)
    for do, by, reason, error in (
        (ItemEvent.CONFIRM, "sato", "", RefusedError), (ItemEvent.ENTER, " ", "", UsageError),
        (ItemEvent.ENTER, "a\nb", "", UsageError), (ItemEvent.RETURN, "sato", "", UsageError),
    ):
        with pytest.raises(error):
            next_note(task, do, by, reason, AT)
    entered = queue_of(merged([desk.ledger]), [next_note(task, ItemEvent.ENTER, "sato", "", AT)]).find(number)
    with pytest.raises(RefusedError, match="same person"):
        next_note(entered, ItemEvent.CONFIRM, "ＳＡＴＯ", "", AT)


def test_notes_of_a_journal_that_is_not_here_keep_the_queue_from_being_done():
    desk = Desk()
    number = desk.receive(Kind.DEATH)
    note = next_note(queue_of(merged([desk.ledger]), []).find(number), ItemEvent.ENTER, "sato", "", AT)
    queue = queue_of([], [note])
    assert (queue.tasks, queue.open, queue.done) == ((), (), False)


def test_an_older_copy_of_a_journal_than_was_worked_with_is_refused():
    desk = Desk()
    number = desk.receive(Kind.DEATH)
    older = merged([desk.ledger])
    desk.correct(number)
    note = next_note(queue_of(merged([desk.ledger]), []).find(number), ItemEvent.ENTER, "sato", "", AT)
    with pytest.raises(FormatError):
        queue_of(older, [note])


def test_one_number_at_two_desks_must_be_named_with_its_journal():
    desks = [Desk(), Desk(journal=b"k" * 16, desk="laptop")]
    for desk in desks:
        desk.receive(Kind.DEATH)
    queue = queue_of(merged(desk.ledger for desk in desks), [])
    with pytest.raises(UsageError):
        queue.find("2026-伊万里-死亡-0001")
    assert queue.find(f"{(b'k' * 16).hex()[:8]}:2026-伊万里-死亡-0001").item.desk == "laptop"
    with pytest.raises(NotFoundError):
        queue.find("2026-伊万里-死亡-0009")
