"""What the points of a chain need, asked in any order, is what folding the chain from its begin gives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.format.point import needed_after
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.needs import Needs


@dataclass(frozen=True)
class Header:
    """The part of a point's header that the fold reads."""

    added: tuple[ObjectRef, ...]
    removed: tuple[ObjectRef, ...]


@dataclass(frozen=True)
class Point:
    """The part of a stored point that the fold reads."""

    name: ObjectName
    header: Header


def ref(number: int) -> ObjectRef:
    return ObjectRef(ObjectKind.PACK, ObjectName(number.to_bytes(32, "big")))


def chain_of(needs: list[set[int]], salt: int = 0) -> list[Point]:
    chain, before = [], set[int]()
    for number, now in enumerate(needs, 1):
        header = Header(tuple(map(ref, sorted(now - before))), tuple(map(ref, sorted(before - now))))
        chain.append(Point(ObjectName((1000 * salt + number).to_bytes(32, "big")), header))
        before = now
    return chain


NEEDS = st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=9)


@settings(deadline=None, max_examples=100)
@given(NEEDS, st.lists(st.integers(0, 9), max_size=8))
def test_any_point_in_any_order(needs: list[set[int]], asked: list[int]) -> None:
    chain, folded = chain_of(needs), Needs()
    for sequence in (min(one, len(chain)) for one in asked):
        wanted = needs[sequence - 1] if sequence else set[int]()
        found = folded.at(chain, sequence)
        assert found == set(map(ref, wanted))
        found.add(ref(99))  # what was handed out is the caller's


@settings(deadline=None, max_examples=50)
@given(NEEDS, NEEDS)
def test_a_chain_that_was_replaced_is_folded_anew(needs: list[set[int]], others: list[set[int]]) -> None:
    folded = Needs()
    folded.at(chain_of(needs), len(needs))
    assert folded.at(chain_of(others, salt=1), len(others)) == set(map(ref, others[-1]))


def test_a_difference_that_does_not_apply_leaves_nothing_behind() -> None:
    chain = chain_of([{1}, {1, 2}, {2}])
    broken = [*chain[:2], Point(chain[2].name, Header((ref(1),), (ref(7),)))]
    folded = Needs()
    with pytest.raises(FormatError, match="does not continue"):
        folded.at(broken, 3)
    assert folded.at(chain, 3) == needed_after([ref(1), ref(2)], chain[2].header) == {ref(2)}
