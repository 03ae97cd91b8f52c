"""What is measured is the same everywhere, and a day changes what its title says."""

import io
import zipfile
from pathlib import Path
from random import Random

import pytest

from benchmarks.folders import day_folder, digest, total_bytes
from benchmarks.kinds import KINDS
from benchmarks.make import MAKERS
from benchmarks.makers.dump import Register
from benchmarks.makers.heap import Heap
from benchmarks.makers.image import BLOCK
from benchmarks.makers.office import edit, new_file

PARTS = {kind.maker: kind.part for kind in KINDS}
ALONE = sorted(set(MAKERS) - {"ext4", "files", "postgres"})
"""Makers that need no program of the system and make another content each day."""


def make(name: str, folder, days: int = 2) -> list[str]:
    folder.mkdir()
    MAKERS[name](str(folder), 2, days)
    return [day_folder(str(folder / PARTS[name]), day) for day in range(days + 1)]


def test_every_kind_has_a_maker_and_every_maker_a_kind():
    assert {kind.maker for kind in KINDS} == set(MAKERS)


@pytest.mark.parametrize("name", ALONE)
def test_the_same_bytes_every_time_and_others_every_day(name, tmp_path):
    first, second = make(name, tmp_path / "one"), make(name, tmp_path / "two")
    assert [digest(day) for day in first] == [digest(day) for day in second]
    assert len({digest(day) for day in first}) == 3
    assert 0.5e6 < total_bytes(first[0]) < 6e6


def test_a_days_dump_holds_the_rows_that_changed(tmp_path):
    days = make("deltas", tmp_path / "days", 1)
    before, after = (set(Path(day, "dump.sql").read_bytes().splitlines()) for day in days)
    assert 0.010 < len(after - before) / len(before) < 0.014
    assert 0.009 < len(before - after) / len(before) < 0.013


def test_a_days_image_differs_in_1_to_3_percent_of_its_blocks(tmp_path):
    days = make("image", tmp_path / "days", 1)
    before, after = (Path(day, "disk.img").read_bytes() for day in days)
    blocks = range(0, len(before), BLOCK)
    changed = sum(before[at : at + BLOCK] != after[at : at + BLOCK] for at in blocks)
    assert 0.007 < changed / len(blocks) <= 0.031


def test_an_export_is_cp932_and_names_in_the_office_are_in_part(tmp_path):
    (day, _next) = make("exports", tmp_path / "exports", 1)
    assert "宛名番号" in Path(day, "csv", "table00.csv").read_text(encoding="cp932")
    (office,) = make("office", tmp_path / "office", 0)
    names = [path.name for path in Path(office, "share").rglob("*_*.*")]
    strange = [name for name in names if "\udc95" in name]
    assert 0.05 < len(strange) / len(names) < 0.3
    assert all(b"\x95\xb6\x8f\x91" in name.encode(errors="surrogateescape") for name in strange)  # 文書


def test_an_edited_document_is_still_a_document():
    random = Random(1)
    for kind in (b".docx", b".xlsx"):
        with zipfile.ZipFile(io.BytesIO(edit(new_file(random, kind), kind, random))) as archive:
            assert archive.testzip() is None


def test_the_third_day_of_an_office_renames_a_department_and_the_second_upgrades(tmp_path):
    days = [Path(day) for day in make("office", tmp_path / "days", 3)]
    departments = [{path.name for path in (day / "share").iterdir()} for day in days]
    assert departments[2] == departments[0]
    assert (len(departments[3] - departments[2]), len(departments[2] - departments[3])) == (1, 1)
    versions = [next((day / "app").rglob("module0000.py")).read_bytes()[:13] for day in days]
    assert versions == [b"# version 1.0"] * 2 + [b"# version 1.1"] * 2


def test_rows_for_a_server_are_those_of_the_dump():
    register = Register(100)
    assert len(list(register.rows("tax"))) == 150
    assert len({line.split("\t")[0] for line in (*register.rows("tax"), *register.more("tax", 0.1))}) == 165


def test_a_table_puts_new_versions_into_room_of_days_before_else_at_the_end():
    table, random = Heap([f"old {number}" for number in range(1000)]), Random(1)
    table.advance(random, lambda rows: [f"new {row}" for row in rows], lambda count: ["inserted"] * count)
    first = list(table)
    assert len(first) == 1000 + 2 - 1
    assert all(row.startswith("old") for row in first[: 1000 - 11])
    table.advance(random, lambda rows: [f"newer {row}" for row in rows], lambda count: [])
    second = list(table)
    assert any(row.startswith("newer") for row in second[:980])
