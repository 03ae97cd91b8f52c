"""The one box: whatever a clerk types finds the right people."""

from datetime import timedelta

import pytest

from jbackupd.desk.masking import Mask, show
from jbackupd.desk.query import Kind, understand
from jbackupd.desk.residents import Residents
from jbackupd.model.errors import NotFoundError, UsageError


def found(residents, typed, limit=100):
    return [resident.name for resident in residents.search(understand(typed), limit=limit).residents]


@pytest.mark.parametrize("typed", [
    "さとう はなこ", "サトウハナコ", "ｻﾄｳ ﾊﾅｺ", "ｻﾄｳ　ハナ", "はなこ",
    "佐藤花子", "佐藤 花子", "佐藤　花", "花子", "12345", "00012345",
    "１２３４５", "H5.1.1 さとう", "佐藤 4050101", "1993年1月1日 はな", "はなこ 1993-01-01", "12345 はなこ",
])
def test_one_resident_is_found_by_every_way_of_asking(residents, typed):
    assert found(residents, typed) == ["佐藤　花子"]


@pytest.mark.parametrize(("typed", "names"), [
    ("高橋", ["髙橋　実"]), ("髙橋 實", ["髙橋　実"]), ("渡辺", ["渡邉　健", "渡邉　シヅ"]),
    ("渡邊　しず", ["渡邉　シヅ"]), ("シヅ", ["渡邉　シヅ"]), ("たかはし", ["髙橋　実"]),
    ("キヨーコ", ["山\ue000　京子"]),
    ("nguyen", ["NGUYEN VAN AN"]), ("ＮＧＵＹＥＮ van", ["NGUYEN VAN AN"]), ("山\ue000", ["山\ue000　京子"]),
    ("4050101", ["佐藤　花子", "山\ue000　京子"]),
    ("19930101", ["佐藤　花子", "山\ue000　京子", "NGUYEN VAN AN"]),
    ("さ", ["佐藤　一郎", "佐藤　花子"]), ("橋", ["髙橋　実"]), ("だれも", []), ("佐藤 高橋", []),
])
def test_forms_of_characters_readings_and_numbers_find_each_other(residents, typed, names):
    assert found(residents, typed) == names


def test_a_number_may_mean_a_date_a_person_or_a_household():
    assert understand("4050101").kinds == (Kind.NUMBER, Kind.HOUSEHOLD, Kind.BIRTH)
    assert understand("9999999").kinds == (Kind.NUMBER, Kind.HOUSEHOLD)


@pytest.mark.parametrize("typed", [
    "", " 　", "!", "？", "平成31年5月1日", "H5.13.1", "1993-13-01", "あ い う え お か き", "あ" * 101,
])
def test_what_cannot_be_understood_is_refused_with_a_hint(typed):
    with pytest.raises(UsageError) as caught:
        understand(typed)
    assert caught.value.hint


@pytest.mark.parametrize("typed", ["'or", "佐%", "佐_", "佐\0", "佐*", '佐"', "佐'or'"])
def test_no_character_has_a_meaning_of_its_own(residents, typed):
    assert found(residents, typed) == []


def test_the_same_search_typed_differently_is_the_same_in_the_audit_log():
    assert understand("さとう 4050101").normal_text() == understand("１９９３年１月１日　ｻﾄｳ").normal_text()
    assert understand("髙橋").normal_text() == understand("高橋").normal_text() != understand("橋").normal_text()


def test_more_than_the_limit_is_told(residents):
    result = residents.search(understand("さとう"), limit=1)
    assert (len(result.residents), result.more) == (1, True)


def test_what_is_found_only_inside_names_is_told(residents):
    assert residents.search(understand("橋"), limit=9).inside
    assert not residents.search(understand("髙"), limit=9).inside


def test_a_household_comes_in_its_order(residents):
    hanako = residents.search(understand("12345"), limit=9).residents[0]
    assert [member.relation for member in residents.household(hanako)] == ["世帯主", "妻"]
    with pytest.raises(NotFoundError):
        residents.resident(999)


def test_the_address_of_a_restricted_person_is_hidden_and_so_is_everybodys_in_the_household(residents):
    for number in ("12347", "12348"):
        shown = show(residents.search(understand(number), limit=1).residents[0], residents.facts)
        assert (shown.mask, shown.address, shown.domicile) == (Mask.RESTRICTED, (), "")
    other = show(residents.search(understand("12346"), limit=1).residents[0], residents.facts)
    assert other.address == ("栄町3番4号", "コーポ101")


def test_all_addresses_are_hidden_when_nobody_knows_who_is_restricted(load):
    report = load()
    load(restrictions_as_of=report.as_of - timedelta(days=1))
    residents = Residents(load.database)
    everybody = residents.search(understand("さ"), limit=9).residents
    assert {show(resident, residents.facts).mask for resident in everybody} == {Mask.UNKNOWN}
