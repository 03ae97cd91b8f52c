"""What a clerk types becomes what a journal keeps, or a problem beside its field."""

from datetime import date

import pytest

from jbackupd.desk.forms import read_fields, read_person, read_reason
from jbackupd.format.intake import Person, are_values
from jbackupd.format.intakekinds import SPECS, FormField, Kind
from jbackupd.model.errors import UsageError

TODAY = date(2026, 11, 24)
DEATH = {
    "died_on": "5081123", "died_at": "4時10分", "place": "伊万里市立病院", "certificate": "doctor",
    "reporter": "佐藤 太郎", "reporter_relation": "同居の親族", "cremation": "yes", "note": " 一行目\r\n二行目 ",
}


def test_a_right_form_is_what_the_journal_takes():
    found = read_fields(SPECS[Kind.DEATH], DEATH, TODAY)
    assert found.problems == {}
    assert (found.values["died_on"], found.values["died_at"]) == ("2026-11-23", "04:10")
    assert found.values["note"] == "一行目\n二行目" and "phone" not in found.values
    assert are_values(Kind.DEATH, found.values)


@pytest.mark.parametrize(("name", "typed"), [
    ("died_on", ""), ("died_on", "昨日"), ("died_on", "5081125"), ("died_on", "5081131"), ("died_at", "25:00"),
    ("died_at", "4"), ("place", " "), ("place", "x" * 121), ("place", "a\x07"), ("place", "a\nb"),
    ("certificate", "maybe"), ("certificate", ""), ("note", "x" * 401), ("note", "番号は 1234-5678-9018 です"),
    ("note", "１２３４５６７８９０１８"),
])
def test_what_is_wrong_is_said_at_its_field_and_the_rest_is_kept(name, typed):
    found = read_fields(SPECS[Kind.DEATH], {**DEATH, name: typed}, TODAY)
    assert set(found.problems) == {name} and name not in found.values
    assert found.values["reporter"] == "佐藤 太郎"
    assert found.problems[name].hint


def test_a_move_may_lie_in_the_future_a_death_may_not():
    for kind, name, problems in ((Kind.MOVE_OUT, "moved_on", False), (Kind.DEATH, "died_on", True)):
        found = read_fields(SPECS[kind], {name: "2026-12-01"}, TODAY)
        assert (name in found.problems) is problems


def test_counts_are_taken_as_people_write_them():
    for typed, kept in (("4", "4"), ("４人", "4"), ("04", "4"), ("0", "0")):
        assert read_fields(SPECS[Kind.DAMAGE], {"persons_count": typed}, TODAY).values["persons_count"] == kept
    for typed in ("四", "-1", "12345", "1.5"):
        assert "persons_count" in read_fields(SPECS[Kind.DAMAGE], {"persons_count": typed}, TODAY).problems


def test_names_keep_every_code_point():
    name = "葛\U000e0100城 \ue000郎"
    person, problems = read_person(SPECS[Kind.MOVE_IN], {"person_name": name, "person_birth": "4050101"}, TODAY)
    assert problems == {} and person == Person(name, birth="1993-01-01")


def test_somebody_typed_in_needs_a_name_and_somebody_new_a_birth_date():
    typed = {"person_kana": "いまり たろう", "person_number": "２０１１"}
    person, problems = read_person(SPECS[Kind.DEATH], {**typed, "person_name": "氏名不詳"}, TODAY)
    assert problems == {} and person == Person("氏名不詳", "2011", "イマリ タロウ")
    assert set(read_person(SPECS[Kind.DEATH], {"person_kana": "伊万里"}, TODAY)[1]) == {"person_name", "person_kana"}
    assert set(read_person(SPECS[Kind.MOVE_IN], {"person_name": "x"}, TODAY)[1]) == {"person_birth"}
    assert set(read_person(SPECS[Kind.DEATH], {"person_name": "x", "person_number": "123456789018"}, TODAY)[1]) == {
        "person_number"
    }


def test_a_reason_is_needed():
    assert read_reason(" 誤記 ") == "誤記"
    for typed in ("", " ", "x" * 201):
        with pytest.raises(UsageError):
            read_reason(typed)


def test_names_of_fields_are_never_those_of_the_page_itself():
    taken = {"token", "nonce", "kind", "person", "member", "reason"}
    fields: list[FormField] = [field for spec in SPECS.values() for field in spec.fields]
    assert not {field.name for field in fields} & taken
    for spec in SPECS.values():
        names = [field.name for field in spec.fields]
        assert len(set(names)) == len(names)
