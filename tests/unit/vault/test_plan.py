"""A plan names every frame once with all that it needs, merges near reads, and leaves circles out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from jbackupd.catalog.database import FramePlace
from jbackupd.format.pack import FrameRecord
from jbackupd.model.ids import FrameId, ObjectName
from jbackupd.model.records import Encoding, Extent
from jbackupd.vault.plan import GAP_BYTES_MAX, STRETCH_BYTES_MAX, Plan, make_plan


def frame(name: str) -> FrameId:
    return FrameId(name.encode().ljust(16, b"."))


def extent(name: str, offset: int = 0, length: int = 10) -> Extent:
    return Extent(frame(name), offset, length)


class Vault:
    """Frames by name: pack, offset in it, sealed length, names of the bases."""

    def __init__(self, frames: dict[str, tuple[str, int, int, str]]) -> None:
        self.asked: list[int] = []
        self._places = {
            frame(name): FramePlace(ObjectName(pack.encode()), b"", 0, FrameRecord(
                frame(name), offset, sealed, 100, Encoding.ZSTD_PREFIX if bases else Encoding.ZSTD,
                tuple(extent(base) for base in bases.split()),
            ))
            for name, (pack, offset, sealed, bases) in frames.items()
        }

    def find(self, frames: Collection[FrameId]) -> dict[FrameId, FramePlace]:
        self.asked.append(len(frames))
        return {frame: self._places[frame] for frame in frames if frame in self._places}

    def plan(self, extents: Iterable[Extent], known: Collection[str] = ()) -> Plan:
        return make_plan(extents, self.find, {frame(name) for name in known}.__contains__)


def test_the_closure_is_looked_up_level_by_level_and_every_use_is_counted() -> None:
    vault = Vault({
        "a": ("p", 100, 10, "x"), "b": ("p", 110, 10, "x y"), "x": ("q", 100, 10, "z"), "y": ("q", 110, 10, ""),
        "z": ("q", 120, 10, ""),
    })
    plan = vault.plan([extent("a"), extent("b"), extent("a", 10)])
    assert vault.asked == [2, 2, 1]
    assert {name: plan.uses[frame(name)] for name in "abxyz"} == {"a": 2, "b": 1, "x": 2, "y": 1, "z": 1}
    order = [bytes(one).decode().strip(".") for one in plan.places]
    assert order.index("z") < order.index("x") < order.index("a")


def test_what_is_known_is_used_but_not_planned_again_nor_what_it_needs() -> None:
    vault = Vault({"a": ("p", 100, 10, "x"), "x": ("q", 100, 10, "z"), "z": ("q", 120, 10, "")})
    plan = vault.plan([extent("a")], known=["x"])
    assert (set(plan.places), plan.uses[frame("x")], vault.asked) == ({frame("a")}, 1, [1])


def test_frames_that_need_each_other_and_those_that_are_missing_are_left_to_be_told_when_they_are_read() -> None:
    vault = Vault({
        "a": ("p", 100, 10, "b"), "b": ("p", 110, 10, "a"), "on top": ("p", 120, 10, "a"), "whole": ("p", 130, 10, ""),
        "self": ("p", 140, 10, "self"), "lost base": ("p", 150, 10, "lost"),
    })
    plan = vault.plan(map(extent, ["on top", "whole", "self", "gone", "lost base"]))
    assert set(plan.places) == {frame("whole"), frame("lost base")}
    assert plan.stretches.keys() == plan.places.keys()


def test_near_frames_of_one_pack_are_read_at_once() -> None:
    vault = Vault({
        "a": ("p", 100, 50, ""), "b": ("p", 150, 50, ""), "c": ("p", 200 + GAP_BYTES_MAX, 50, ""),
        "far": ("p", 251 + 2 * GAP_BYTES_MAX, 50, ""), "other": ("q", 200, 50, ""),
    })
    stretches = vault.plan(map(extent, ["far", "a", "other", "c", "b"])).stretches
    assert stretches[frame("a")] == stretches[frame("b")] == stretches[frame("c")]
    assert (stretches[frame("a")].offset, stretches[frame("a")].length) == (100, 150 + GAP_BYTES_MAX)
    assert [stretches[frame(name)].frames for name in ("a", "far", "other")] == [3, 1, 1]


def test_a_stretch_is_no_longer_than_what_memory_is_meant_for_unless_one_frame_is() -> None:
    half = STRETCH_BYTES_MAX // 2
    vault = Vault({
        "a": ("p", 100, half, ""), "b": ("p", 100 + half, half, ""), "c": ("p", 100 + 2 * half, half, ""),
        "long": ("q", 100, 3 * STRETCH_BYTES_MAX, ""), "after": ("q", 100 + 3 * STRETCH_BYTES_MAX, 10, ""),
        "overlapping": ("q", 150, 10, ""),
    })
    stretches = vault.plan(map(extent, ["a", "b", "c", "long", "after", "overlapping"])).stretches
    assert max(one.length for one in stretches.values()) == 3 * STRETCH_BYTES_MAX
    assert [stretches[frame(name)].frames for name in ("a", "b", "c", "long", "overlapping", "after")] == [
        2, 2, 1, 1, 1, 1,
    ]
