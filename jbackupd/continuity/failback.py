"""The failback queue: every reception of the desks is entered into the rebuilt system by one and confirmed by another.

Pure: the state of the queue is the fold of its notes over the receptions. A note names how often its reception
had been changed when it was written. If a correction or cancellation comes to light later (a laptop's journal is
brought back in the third week), what was done with the older wording no longer counts, and the item is open again.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal

import msgspec

from jbackupd.continuity.intake import Item, twins
from jbackupd.format.intake import REASON_CHARACTERS_MAX, is_plain
from jbackupd.model.errors import FormatError, NotFoundError, RefusedError, UsageError
from jbackupd.model.machine import Machine

NAME_CHARACTERS_MAX = 40


class ItemState(Enum):
    """How far an item is; the words of the lists are in `STATE_WORDS`."""

    OPEN = "open"
    ENTERED = "entered"
    """One person has entered it; another confirms."""
    APPLIED = "applied"
    DOUBTED = "doubted"
    """One person says that it is there already; another confirms."""
    DUPLICATE = "duplicate"
    RETURNED = "returned"
    """It cannot be entered as it is: the section that took it in has to say more."""
    WITHDRAWN = "withdrawn"
    """Cancelled at the desk, and nobody has ever entered it."""


class ItemEvent(Enum):
    """What somebody does with an item."""

    ENTER = "enter"
    DUPLICATE = "duplicate"
    CONFIRM = "confirm"
    REJECT = "reject"
    """The second person found it wrong."""
    RETURN = "return"
    REOPEN = "reopen"


ITEM_MACHINE: Machine[ItemState, ItemEvent] = Machine("failback item", {
    (ItemState.OPEN, ItemEvent.ENTER): ItemState.ENTERED,
    (ItemState.OPEN, ItemEvent.DUPLICATE): ItemState.DOUBTED,
    (ItemState.OPEN, ItemEvent.RETURN): ItemState.RETURNED,
    (ItemState.ENTERED, ItemEvent.CONFIRM): ItemState.APPLIED,
    (ItemState.ENTERED, ItemEvent.REJECT): ItemState.OPEN,
    (ItemState.ENTERED, ItemEvent.RETURN): ItemState.RETURNED,
    (ItemState.DOUBTED, ItemEvent.CONFIRM): ItemState.DUPLICATE,
    (ItemState.DOUBTED, ItemEvent.REJECT): ItemState.OPEN,
    (ItemState.DOUBTED, ItemEvent.RETURN): ItemState.RETURNED,
    (ItemState.RETURNED, ItemEvent.REOPEN): ItemState.OPEN,
    (ItemState.APPLIED, ItemEvent.REOPEN): ItemState.OPEN,
    (ItemState.DUPLICATE, ItemEvent.REOPEN): ItemState.OPEN,
})
STATE_WORDS = {
    ItemState.OPEN: "未反映", ItemState.ENTERED: "未反映(入力済・確認待ち)", ItemState.APPLIED: "反映済",
    ItemState.DOUBTED: "重複(確認待ち)", ItemState.DUPLICATE: "重複", ItemState.RETURNED: "差戻し",
    ItemState.WITHDRAWN: "取消",
}
"""On lists and in CSV, in every language."""
EVENT_WORDS = {
    ItemEvent.ENTER: "入力", ItemEvent.DUPLICATE: "重複の申出", ItemEvent.CONFIRM: "確認", ItemEvent.REJECT: "誤り",
    ItemEvent.RETURN: "差戻し", ItemEvent.REOPEN: "再開",
}
CLOSED = frozenset({ItemState.APPLIED, ItemState.DUPLICATE, ItemState.WITHDRAWN})
NEEDS_REASON = frozenset({ItemEvent.REJECT, ItemEvent.RETURN, ItemEvent.REOPEN})


class QueueBegin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="queue"):
    """Whose queue it is: the first record, and only the first."""

    at: datetime
    tenant: str
    version: Literal[1] = 1


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="note"):
    """Somebody did something with an item.

    Attributes:
        journal: Id of the reception's journal, hex.
        number: The reception's number.
        revision: How often the reception had been changed.
        by: Who.
        reason: Why, or what was found.
    """

    at: datetime
    journal: str
    number: str
    revision: int
    do: ItemEvent
    by: str
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Which item it is about."""
        return self.journal, self.number


_decoder: msgspec.json.Decoder[QueueBegin | Note] = msgspec.json.Decoder(QueueBegin | Note)


@dataclass(frozen=True, slots=True)
class Task:
    """An item of the queue.

    Attributes:
        notes: All that was done with it, oldest first.
        outdated: What was done before its reception was changed; None if nothing was.
        twins: Other receptions that hold about the same persons.
    """

    item: Item
    state: ItemState = ItemState.OPEN
    notes: tuple[Note, ...] = ()
    outdated: ItemState | None = None
    twins: tuple[str, ...] = ()

    @property
    def last(self) -> Note | None:
        """What was done last."""
        return self.notes[-1] if self.notes else None


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue as it stands.

    Attributes:
        tasks: In the order of reception.
        lists: Receptions that are handed over as a list only.
        orphans: Notes about receptions whose journal is not here any more.
    """

    tasks: tuple[Task, ...]
    lists: tuple[Item, ...] = ()
    orphans: tuple[Note, ...] = ()

    @property
    def counts(self) -> dict[ItemState, int]:
        """How many items are in each state."""
        counts = Counter(task.state for task in self.tasks)
        return {state: counts[state] for state in ItemState}

    @property
    def open(self) -> tuple[Task, ...]:
        """What is not finished, whoever has to do something about it."""
        return tuple(task for task in self.tasks if task.state not in CLOSED)

    @property
    def done(self) -> bool:
        """Whether nothing is open, and nothing was done about receptions that are not here."""
        return not self.open and not self.orphans

    def find(self, name: str) -> Task:
        """Return an item by its number, or by JOURNAL:NUMBER where two desks have given one number.

        Raises:
            NotFoundError: There is none.
            UsageError: There are several.
        """
        journal, _, number = name.rpartition(":")
        found = [
            task for task in self.tasks
            if task.item.number == number and task.item.journal.hex().startswith(journal)
        ]
        if not found:
            raise NotFoundError(
                "the queue has no item {number}", "see 'jbackupd recovery failback list'", number=name[:80]
            )
        if len(found) > 1:
            names = ", ".join(f"{task.item.journal.hex()[:8]}:{number}" for task in found)
            raise UsageError(
                "two desks have given the number {number}", "say which: {names}", number=number, names=names
            )
        return found[0]


def queue_of(items: Sequence[Item], notes: Iterable[Note]) -> Queue:
    """Return the queue: the fold of all notes over all receptions.

    Args:
        items: As `continuity.intake.merged` returns them.
        notes: Oldest first; of a journal that may have come from elsewhere.

    Raises:
        FormatError: A note does not fit the ones before.
    """
    by_item: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        by_item.setdefault(note.key, []).append(note)
    others = _others(items)
    tasks = [
        _task(item, by_item.pop(_key(item), []), others.get(_key(item), ())) for item in items if item.spec.returns
    ]
    return Queue(
        tuple(tasks), tuple(item for item in items if not item.spec.returns),
        tuple(note for left in by_item.values() for note in left),
    )


def next_note(task: Task, do: ItemEvent, by: str, reason: str, at: datetime) -> Note:
    """Return the note that somebody may write about an item now.

    Raises:
        UsageError: The name or the reason is missing or cannot stand in a journal.
        RefusedError: The item is not in a state for it, or the same person did what is to be confirmed.
    """
    name, why = by.strip(), reason.strip()
    if not name or not is_plain(name, NAME_CHARACTERS_MAX):
        raise UsageError("{name!r} cannot be a person's name", "say with --by who does this", name=name[:80])
    if not is_plain(why, REASON_CHARACTERS_MAX) or (do in NEEDS_REASON and not why):
        raise UsageError("a reason is needed", "say with --reason in a few words why")
    if task.state is ItemState.WITHDRAWN or not ITEM_MACHINE.allows(task.state, do):
        raise RefusedError(
            "{number} is {state}: it cannot be marked '{do}' now", "see 'jbackupd recovery failback show {number}'",
            number=task.item.number, state=STATE_WORDS[task.state], do=EVENT_WORDS[do],
        )
    if do is ItemEvent.CONFIRM and task.last is not None and is_same_person(task.last.by, name):
        raise RefusedError(
            "{number} was entered by {by}: the same person cannot confirm it", "let somebody else look at it",
            number=task.item.number, by=task.last.by,
        )
    return Note(at, task.item.journal.hex(), task.item.number, task.item.revision, do, name, why)


def is_same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's, however they are written."""
    return _folded(one) == _folded(other)


def encode_note(record: QueueBegin | Note) -> bytes:
    """Return a record of the queue's journal."""
    return msgspec.json.encode(record)


def decode_note(data: bytes) -> QueueBegin | Note:
    """Read a record of the queue's journal.

    Raises:
        FormatError: It is not one that this program writes.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _misfit() from error


@dataclass(slots=True)
class _Fold:
    """One item's state while its notes are taken in."""

    state: ItemState = ItemState.OPEN
    revision: int = 0
    outdated: ItemState | None = None
    last: Note | None = field(default=None)

    def change_to(self, revision: int) -> None:
        """The reception was changed: what was done with its older wording no longer counts."""
        if revision > self.revision:
            if self.state is not ItemState.OPEN:
                self.outdated = self.state
            self.state, self.revision = ItemState.OPEN, revision

    def take(self, note: Note) -> None:
        if note.revision < self.revision:
            raise _misfit()
        self.change_to(note.revision)
        alone = note.do is ItemEvent.CONFIRM and self.last is not None and is_same_person(self.last.by, note.by)
        if alone or not ITEM_MACHINE.allows(self.state, note.do):
            raise _misfit()
        self.state, self.last = ITEM_MACHINE.next(self.state, note.do), note
        if self.state in CLOSED:
            self.outdated = None


def _task(item: Item, notes: list[Note], others: tuple[str, ...]) -> Task:
    fold = _Fold()
    for note in notes:
        fold.take(note)
    if fold.revision > item.revision:
        # An older copy of a desk's journal lies here than the one that was worked with.
        raise _misfit()
    fold.change_to(item.revision)
    state = fold.state
    # What somebody has entered once may still stand in the main system: that is for people to take back.
    if item.cancelled is not None and state is ItemState.OPEN and all(note.do is not ItemEvent.ENTER for note in notes):
        state = ItemState.WITHDRAWN
    return Task(item, state, tuple(notes), fold.outdated, others)


def _others(items: Sequence[Item]) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], dict[str, None]] = {}
    for group in twins(items).values():
        for item in group:
            found.setdefault(_key(item), {}).update({one.number: None for one in group if one is not item})
    return {key: tuple(numbers) for key, numbers in found.items()}


def _key(item: Item) -> tuple[str, str]:
    return item.journal.hex(), item.number


def _folded(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).split()).casefold()


def _misfit() -> FormatError:
    return FormatError(
        "the failback queue holds a note that does not fit the receptions",
        "bring the newest journals of all desks here with 'jbackupd desk journal import'",
    )
