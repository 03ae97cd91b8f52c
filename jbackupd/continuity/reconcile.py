"""What stands of a reception in the rebuilt register already? Proposals for people; nothing is decided. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from jbackupd.continuity.intake import Item
from jbackupd.format.intake import Person
from jbackupd.format.intakekinds import About, Kind

_HYPHENS = re.compile("[‐-―−ー-]")
_STATE_AFTER = {Kind.DEATH: "3", Kind.MOVE_OUT: "2"}
_STATE_WORDS = {"1": "住民", "2": "転出", "3": "死亡", "9": "消除"}


class Verdict(Enum):
    """What the register says about a reception, the worst first."""

    CONFLICT = "conflict"
    MISSING = "missing"
    UNKNOWN = "unknown"
    TO_ENTER = "to-enter"
    ALREADY = "already"


VERDICT_WORDS = {
    Verdict.CONFLICT: "相違あり", Verdict.MISSING: "該当者なし", Verdict.UNKNOWN: "宛名番号なし",
    Verdict.TO_ENTER: "未入力", Verdict.ALREADY: "入力済の可能性",
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A person as the rebuilt register has it.

    Attributes:
        birth: 1993-01-01, or as delivered where that is no day.
        state: "1" resident, "2" moved away, "3" dead, "9" deleted.
        address: All its lines together.
    """

    number: str
    name: str
    kana: str
    birth: str
    state: str
    address: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that says one thing at the desk and another in the register."""

    person: str
    field: str
    desk: str
    register: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was found about one reception.

    Attributes:
        candidates: 宛名番号 of those who may be meant where the desk knew none.
    """

    item: Item
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """The rebuilt register.

    Attributes:
        find: Returns the person with a number.
        like: Returns those with a name and, where it is known, a birth date.
    """

    find: Callable[[str], Registered | None]
    like: Callable[[Person], Sequence[Registered]]


def propose(item: Item, register: Register) -> Proposal:
    """Compare a reception with the register, person by person; the worst that was found counts."""
    found = [_about(item, person, register) for person in item.persons]
    worst = min((verdict for verdict, _, _ in found), key=list(Verdict).index)
    return Proposal(
        item, worst, tuple(one for _, differences, _ in found for one in differences),
        tuple(number for _, _, candidates in found for number in candidates),
    )


_Finding = tuple[Verdict, tuple[Difference, ...], tuple[str, ...]]


def _about(item: Item, person: Person, register: Register) -> _Finding:
    if not person.number:
        return _without_number(item, person, register)
    there = register.find(person.number)
    if there is None:
        return Verdict.MISSING, (), ()
    return _compared(item, person, there)


def _without_number(item: Item, person: Person, register: Register) -> _Finding:
    like = register.like(person)
    numbers = tuple(one.number for one in like)
    if item.spec.about is not About.NEW or len(like) > 1:
        return Verdict.UNKNOWN, (), numbers
    if not like:
        return Verdict.TO_ENTER, (), ()
    verdict, differences, _ = _compared(item, person, like[0])
    return verdict, differences, numbers


def _compared(item: Item, person: Person, there: Registered) -> _Finding:
    pairs = (
        ("氏名", person.name, there.name), ("フリガナ", person.kana, there.kana),
        ("生年月日", person.birth, there.birth),
    )
    differences = [
        Difference(person.name, field, desk, register) for field, desk, register in pairs
        if desk and register and _folded(desk) != _folded(register)
    ]
    entered = _is_entered(item, there)
    if not entered and there.state not in ("1", ""):
        differences.append(Difference(person.name, "住民状態", item.spec.word, _state_word(there.state)))
    if item.spec.about is About.NEW and not entered:
        # Somebody new who is in the register, but not as the reception says.
        differences.append(Difference(person.name, "住所", item.fields.get("new_address", ""), there.address))
    if differences:
        return Verdict.CONFLICT, tuple(differences), ()
    return (Verdict.ALREADY if entered else Verdict.TO_ENTER), (), ()


def _is_entered(item: Item, there: Registered) -> bool:
    """Tell whether the register shows what the reception would bring about."""
    kind = item.first.kind
    if kind in _STATE_AFTER:
        return there.state == _STATE_AFTER[kind]
    if kind in (Kind.MOVE_IN, Kind.MOVE_WITHIN, Kind.BIRTH):
        address = _folded_address(item.fields.get("new_address", ""))
        return there.state == "1" and bool(address) and address in _folded_address(there.address)
    # The register does not hold certificates, shelters or provisional issues.
    return False


def _state_word(code: str) -> str:
    return _STATE_WORDS.get(code, code)


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def _folded_address(text: str) -> str:
    plain = _HYPHENS.sub("-", _folded(text)).replace("丁目", "-").replace("番地", "-").replace("番", "-")
    return re.sub("-+", "-", plain.replace("号", "-")).rstrip("-")
