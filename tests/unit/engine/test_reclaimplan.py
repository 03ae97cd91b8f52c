"""What points of a chain need, counted by names."""

from dataclasses import dataclass
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as some

from jbackupd.engine.reclaimplan import needed_by
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef


@dataclass(frozen=True)
class Point:
    """A point as `needed_by` sees it."""

    name: bytes
    header: SimpleNamespace


def chain_of(needs: list[set[int]], dataset: int) -> list[Point]:
    found, before = [], set[int]()
    for number, now in enumerate(needs):
        added, removed = ([ref(n) for n in sorted(some_of)] for some_of in (now - before, before - now))
        found.append(Point(b"%d-%d" % (dataset, number), SimpleNamespace(added=added, removed=removed)))
        before = now
    return found


def ref(number: int) -> ObjectRef:
    return ObjectRef(ObjectKind.PACK, ObjectName(bytes([number]) * 32))


@settings(deadline=None, max_examples=200)
@given(some.data())
def test_what_some_points_need_is_what_each_of_them_needs(data) -> None:
    chains = data.draw(some.lists(some.lists(some.sets(some.integers(0, 6)), max_size=8), max_size=3))
    points = [chain_of(needs, number) for number, needs in enumerate(chains)]
    wanted = data.draw(some.sets(some.sampled_from(sorted(p.name for c in points for p in c) or [b"none"])))
    expected = {
        ref(number) for chain, needs in zip(points, chains, strict=True)
        for point, now in zip(chain, needs, strict=True) if point.name in wanted for number in now
    }
    assert needed_by(points, wanted) == expected  # type: ignore[arg-type]
