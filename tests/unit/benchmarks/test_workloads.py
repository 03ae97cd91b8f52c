"""What is measured is the same everywhere, and a day changes what its title says."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.folders import day_folder, digest, total_bytes
from benchmarks.heap import Heap
from benchmarks.kinds import KINDS
from benchmarks.workloads import BLOCK, MAKERS


def make(name: str, folder, days: int = 2) -> list[str]:
    folder.mkdir()
    MAKERS[name](str(folder), 2, days)
    return [day_folder(str(folder), day) for day in range(days + 1)]


def test_every_kind_has_a_maker():
    assert [kind.name for kind in KINDS] == list(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_bytes_every_time_and_others_every_day(name, tmp_path):
    first, second = make(name, tmp_path / "one"), make(name, tmp_path / "two")
    assert [digest(day) for day in first] == [digest(day) for day in second]
    assert len({digest(day) for day in first}) == 3
    assert 0.8e6 < total_bytes(first[0]) < 2.6e6


def test_a_days_dump_holds_the_rows_that_changed(tmp_path):
    days = make("register", tmp_path / "days", 1)
    before, after = (set(Path(day, "dump.sql").read_bytes().splitlines()) for day in days)
    assert 0.010 < len(after - before) / len(before) < 0.014
    assert 0.009 < len(before - after) / len(before) < 0.013


def test_a_days_image_differs_in_1_to_3_percent_of_its_blocks(tmp_path):
    days = make("image", tmp_path / "days", 1)
    before, after = (Path(day, "disk.img").read_bytes() for day in days)
    blocks = range(0, len(before), BLOCK)
    changed = sum(before[at : at + BLOCK] != after[at : at + BLOCK] for at in blocks)
    assert 0.007 < changed / len(blocks) <= 0.031


def test_a_table_puts_new_versions_into_room_of_days_before_else_at_the_end():
    table, random = Heap([f"old {number}" for number in range(1000)]), Random(1)
    table.advance(random, lambda rows: [f"new {row}" for row in rows], lambda count: ["inserted"] * count)
    first = list(table)
    assert len(first) == 1000 + 2 - 1
    assert all(row.startswith("old") for row in first[: 1000 - 11])
    table.advance(random, lambda rows: [f"newer {row}" for row in rows], lambda count: [])
    second = list(table)
    assert any(row.startswith("newer") for row in second[:980])
