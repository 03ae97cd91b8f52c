"""The one box: whatever a clerk types finds the right people."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jbackupd.desk.days import days_of
from jbackupd.desk.folding import fold_address
from jbackupd.desk.masking import Mask, show
from jbackupd.desk.query import Kind, understand
from jbackupd.desk.residents import Residents
from jbackupd.model.errors import NotFoundError, UsageError
from tests.unit.desk.conftest import extract


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
    ("さ", ["佐藤　一郎", "佐藤　花子"]), ("まさ", ["山\ue000　京子"]), ("橋", ["髙橋　実"]),
    ("だれも", []), ("佐藤 高橋", []),
])
def test_forms_of_characters_readings_and_numbers_find_each_other(residents, typed, names):
    assert found(residents, typed) == names


def test_a_number_may_mean_a_date_a_person_or_a_household():
    assert understand("4050101").kinds == (Kind.NUMBER, Kind.HOUSEHOLD, Kind.BIRTH, Kind.PART)
    assert understand("9999999").kinds == (Kind.NUMBER, Kind.HOUSEHOLD, Kind.PART)


@pytest.mark.parametrize(("typed", "days"), [
    ("平成5年", "1993-01-01..1993-12-31"), ("H5", "1993-01-01..1993-12-31"), ("405", "1993-01-01..1993-12-31"),
    ("1993", "1993-01-01..1993-12-31"), ("1993年", "1993-01-01..1993-12-31"), ("H5.2", "1993-02-01..1993-02-28"),
    ("平成5年2月", "1993-02-01..1993-02-28"), ("40502", "1993-02-01..1993-02-28"), ("199302", "1993-02-01..1993-02-28"),
    ("1993-02", "1993-02-01..1993-02-28"), ("昭和64年", "1989-01-01..1989-01-07"),
    ("令和元年", "2019-05-01..2019-12-31"), ("H5.1.1", "1993-01-01"), ("1993年1月1日", "1993-01-01"),
])
def test_parts_of_dates_mean_all_their_days(typed, days):
    assert days in [meaning.value for meaning in understand(typed).words[0] if meaning.kind is Kind.BIRTH]


@pytest.mark.parametrize("typed", ["99", "1200-3", "平成5年13月", "令和", "昭和64年2月", "2500"])
def test_what_is_no_part_of_a_date_is_not_taken_for_one(typed):
    assert days_of(typed) is None


@pytest.mark.parametrize("typed", [
    "本町1番2号", "本町１－２", "本町一番二号", "1番2 佐藤", "さとう 本町", "平成5年 本町", "H5 花", "本町 2",
])
def test_addresses_in_every_writing_and_parts_of_dates_find(residents, typed):
    assert "佐藤　花子" in found(residents, typed)


@pytest.mark.parametrize(("one", "other"), [
    ("本町一丁目２番３号", "本町1-2-3"), ("本町１丁目２－３", "本町1−2−3"), ("大字立花十二番地の三", "立花12-3"),
    ("コーポ１０１号室", "ｺｰﾎﾟ101"), ("三番町5", "三番町５番地"), ("百五番地", "105"), ("邊", "辺"),
])
def test_writings_of_an_address_are_one(one, other):
    assert fold_address(one) == fold_address(other)


def test_numbers_in_addresses_are_whole(residents):
    assert found(residents, "栄町3番4号") == found(residents, "コーポ101") == ["髙橋　実"]
    assert found(residents, "栄町3-40") == found(residents, "コーポ10") == []


def test_an_address_never_leads_to_a_restricted_person_or_the_household(residents):
    assert found(residents, "東山5-6") == found(residents, "東山") == []
    assert found(residents, "渡辺 東山") == []


def test_a_part_of_a_number_finds_after_the_number_itself(load):
    load(extract([
        "1234,H1,山　一,ヤマ　イチ,,1,1,本町,1,,,,,,0", "51234,H2,川　二,カワ　ニ,,1,1,本町,1,,,,,,0",
    ]))
    residents = Residents(load.database)
    assert found(residents, "1234") == ["山　一", "川　二"]
    assert found(residents, "123") == []


def test_pages_follow_each_other(residents):
    whole = found(residents, "さ")
    query = understand("さ")
    pages = [residents.search(query, limit=1, skip=skip) for skip in range(3)]
    assert [one.name for page in pages for one in page.residents] == whole
    assert {page.total for page in pages} == {2}


@given(typed=st.text(max_size=30))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_is_answered_or_refused(residents, typed):
    with contextlib.suppress(UsageError):
        residents.search(understand(typed), limit=5)


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
