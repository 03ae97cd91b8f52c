"""Who is where and how: the newest marks of safety and registrations at shelters, counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from jbackupd.continuity.intake import Item
from jbackupd.format.intake import Person
from jbackupd.format.intakekinds import SPECS, Kind

SAFETY = SPECS[Kind.SAFETY].field("safety")
NOT_FOUND = ("missing", "unknown", "dead", "hurt")
OUTSIDE = "避難所外"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a person.

    Attributes:
        safety: Code of the newest mark; empty if there is none.
        shelter: Where the person was registered or seen last; empty if nowhere, or gone from there.
        number: Of the newest reception.
    """

    person: Person
    safety: str
    shelter: str
    needs: str
    number: str


@dataclass(frozen=True, slots=True)
class Shelter:
    """Everybody at a shelter.

    Attributes:
        rows: Sorted by reading; without persons under support measures.
        protected: How many of these there are.
        safety: Codes of safety with their counts, those persons among them.
    """

    name: str
    rows: tuple[Standing, ...]
    protected: int
    safety: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """How many persons."""
        return len(self.rows) + self.protected


@dataclass
class _Known:
    person: Person
    safety: str = ""
    shelter: str = ""
    needs: str = ""
    number: str = ""


def standings(items: Iterable[Item]) -> list[Standing]:
    """Return what is known of every person with a mark or a registration that holds.

    Args:
        items: As `continuity.intake.merged` returns them: later ones take the place of earlier ones.
    """
    known: dict[tuple[str, ...], _Known] = {}
    for item in items:
        if item.cancelled is None and item.first.kind in (Kind.SAFETY, Kind.EVACUATION):
            for person in item.persons:
                _take(known.setdefault(_key(person, item), _Known(person)), item)
    return [Standing(one.person, one.safety, one.shelter, one.needs, one.number) for one in known.values()]


def shelters(found: Sequence[Standing], protected: Collection[str]) -> list[Shelter]:
    """Return all shelters by name.

    Args:
        protected: 宛名番号 of persons under support measures: no list says where they are.
    """
    by_name: dict[str, list[Standing]] = {}
    for one in found:
        if one.shelter:
            by_name.setdefault(one.shelter, []).append(one)
    return [_shelter(name, rows, protected) for name, rows in sorted(by_name.items())]


def safety_counts(found: Iterable[Standing]) -> tuple[tuple[str, int], ...]:
    """Return every code of safety with how many persons have it."""
    counts = Counter(one.safety for one in found)
    assert SAFETY is not None
    return tuple((choice.code, counts[choice.code]) for choice in SAFETY.choices)


def not_safe(found: Iterable[Standing], protected: Collection[str]) -> list[Standing]:
    """Return those who are missing, dead, hurt or of whom nothing is known, sorted by that and reading."""
    rows = [one for one in found if one.safety in NOT_FOUND and one.person.number not in protected]
    return sorted(rows, key=lambda one: (NOT_FOUND.index(one.safety), *_order(one)))


def _take(known: _Known, item: Item) -> None:
    fields = item.fields
    known.number = item.number
    if item.first.kind is Kind.SAFETY:
        known.safety = fields["safety"]
        known.shelter = fields.get("shelter", known.shelter)
        return
    known.needs = fields.get("needs", known.needs)
    known.shelter = {"in": fields["shelter"], "outside": f"{OUTSIDE}: {fields['shelter']}"}.get(fields["movement"], "")


def _shelter(name: str, rows: Sequence[Standing], protected: Collection[str]) -> Shelter:
    named = sorted((one for one in rows if one.person.number not in protected), key=_order)
    return Shelter(name, tuple(named), len(rows) - len(named), safety_counts(rows))


def _order(one: Standing) -> tuple[str, str]:
    return one.person.kana or one.person.name, one.person.number


def _key(person: Person, item: Item) -> tuple[str, ...]:
    if person.number:
        return (person.number,)
    # Two of whom only a name is known, or 氏名不詳, are not one person.
    return (person.name, person.birth) if person.birth else (person.name, "", item.number)
