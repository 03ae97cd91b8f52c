"""The demo's town: the same seed, the same bytes; a day changes one resident in a hundred."""

import csv
import hashlib
import os
from datetime import UTC, datetime

import pytest

from jbackupd.demo.town import COLUMNS, EXTRACT, IGNORE, OFFICE, advance_day, make_town
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.query import understand
from jbackupd.desk.residents import Residents


def digest(folder):
    found = {}
    for place, folders, names in os.walk(os.fsencode(folder)):
        folders.sort()
        for name in names:
            path = os.path.join(place, name)
            found[os.path.relpath(path, os.fsencode(folder))] = hashlib.sha256(content(path)).hexdigest()
    return found


def content(path):
    if os.path.islink(path):
        return os.readlink(path)
    with open(path, "rb") as file:
        return file.read()


def rows(folder):
    with open(os.path.join(folder, EXTRACT), encoding="cp932", newline="") as file:
        return {row["宛名番号"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """One town, its state before and after a day."""
    folder = str(tmp_path_factory.mktemp("town"))
    town = make_town(folder, seed=7, residents=4000)
    before = digest(folder), rows(folder)
    return town, before, advance_day(folder, seed=7, day=1), (digest(folder), rows(folder))


def test_the_same_seed_gives_the_same_town_and_the_same_day(story, tmp_path):
    _town, before, report, after = story
    make_town(str(tmp_path), seed=7, residents=4000)
    assert digest(str(tmp_path)) == before[0]
    assert advance_day(str(tmp_path), seed=7, day=1) == report
    assert digest(str(tmp_path)) == after[0]


def test_a_day_changes_what_its_report_says(story):
    _town, (_, before), report, (_, after) = story
    changed = [number for number, row in after.items() if before.get(number) != row]
    assert len(changed) == report.changed
    assert 0.009 <= report.changed / len(before) <= 0.012
    assert set(before) <= set(after) and len(after) - len(before) == report.arrived > 0
    assert list(after)[: len(before)] == list(before)
    assert min(report.moved, report.died, report.left) > 0


def test_the_described_resident_moved_and_is_found_at_the_desk_by_the_given_query(story, tmp_path):
    town, (_, before), report, (_, after) = story
    database = str(tmp_path / "desk.sqlite")
    with open(town.extract, "rb") as source:
        loaded = load_extract(
            source, mapping=ColumnMap.parse(COLUMNS, ignore=IGNORE), database=database,
            as_of=datetime(2026, 11, 23, tzinfo=UTC), loaded_from="test",
        )
    assert loaded.rows == len(after) and loaded.unclear_births == 0
    found = Residents(database).search(understand(report.query), limit=9).residents
    (resident,) = [person for person in found if person.number == report.number]
    assert resident.town + resident.lot + resident.building == report.address != report.old_address
    assert before[report.number]["氏名"] == report.name
    assert not resident.restricted


def test_the_office_has_names_in_two_encodings_a_link_and_nested_folders(story):
    town, (before, _), report, (after, _) = story
    names = [path for path in before if path.startswith(OFFICE.encode())]
    assert 200 <= len(names) == town.office_files <= 400
    assert any(not _is_utf8(name) for name in names)
    assert any(os.path.islink(os.path.join(os.fsencode(town.folder), name)) for name in names)
    assert max(name.count(b"/") for name in names) >= 3
    touched = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert len(touched - {EXTRACT.encode()}) == report.office_files


def _is_utf8(name):
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
