"""A desk's journal: numbers without a gap, nothing overwritten; several desks: the union, and nothing silent."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.continuity.intake import Ledger, View, marks_of, merged, same_labels, twins
from jbackupd.format.intake import Number, Person, decode_record, encode_record
from jbackupd.format.intakekinds import SPECS, Kind
from jbackupd.model.errors import FormatError, NotFoundError, RefusedError
from tests.support.intakes import AT, HANAKO, Desk, fields_of, nonce

DEEDS = st.lists(
    st.tuples(st.sampled_from(["receive", "receive", "correct", "cancel", "year"]), st.sampled_from(list(Kind)),
              st.integers(0, 50), st.integers(0, 3)),
    max_size=25,
)


def play(desk, deeds):
    """Do what can be done of a list of deeds; return the numbers that were given, in their order."""
    given_numbers = []
    for what, kind, pick, who in deeds:
        person = Person("佐藤 花子", f"2011400{who}")
        standing = [number for number, item in desk.ledger.items.items() if item.cancelled is None]
        if what == "receive":
            given_numbers.append(desk.receive(kind, (person,)))
        elif what == "year":
            desk.now += timedelta(days=200)
        elif standing:
            first = standing[pick % len(standing)]
            given_numbers.append(desk.correct(first) if what == "correct" else desk.cancel(first))
    return given_numbers


def records_of(ledger):
    return [ledger.begin, *ledger.entries]


@settings(deadline=None, max_examples=60)
@given(DEEDS)
def test_numbers_are_given_once_and_without_a_gap(deeds):
    desk = Desk()
    numbers = [Number.parse(text) for text in play(desk, deeds)]
    assert len(set(map(str, numbers))) == len(numbers)
    for year, prefix in {(number.year, number.prefix) for number in numbers}:
        serials = [number.serial for number in numbers if (number.year, number.prefix) == (year, prefix)]
        assert serials == list(range(1, len(serials) + 1))


@settings(deadline=None, max_examples=60)
@given(DEEDS)
def test_the_state_is_the_fold_of_the_records_and_the_first_entry_stays(deeds):
    desk = Desk()
    play(desk, deeds)
    again = Ledger.of(desk.ledger.journal, [decode_record(encode_record(one)) for one in records_of(desk.ledger)])
    assert again.items == desk.ledger.items
    for number, item in again.items.items():
        assert item.first.number == number and item.first in desk.ledger.entries
        assert all(later in desk.ledger.entries for later in item.later)


@settings(deadline=None, max_examples=60)
@given(DEEDS, st.data())
def test_a_record_that_is_missing_or_there_twice_is_damage(deeds, data):
    desk = Desk()
    if not play(desk, deeds):
        return
    records = records_of(desk.ledger)
    place = data.draw(st.integers(0, len(records) - 1))
    with pytest.raises(FormatError):
        Ledger.of(b"", [*records[: place + 1], *records[place:]])
    after = records[place + 1 :]
    number = getattr(records[place], "number", "")
    same = [Number.parse(one.number) for one in after]
    parsed = Number.parse(number)
    # The last of a prefix may be missing unseen by the fold alone: the journal's chain and the audit log tell.
    if after and (parsed is None or any((one.year, one.prefix) == (parsed.year, parsed.prefix) for one in same)):
        with pytest.raises(FormatError):
            Ledger.of(b"", [*records[:place], *after])


@settings(deadline=None, max_examples=60)
@given(DEEDS, DEEDS)
def test_a_merge_is_the_union_in_order_and_never_silent_about_two_for_one_person(one, two):
    desks = [Desk("北"), Desk("南", journal=b"k" * 16, desk="south")]
    play(desks[0], one)
    play(desks[1], two)
    items = merged(desk.ledger for desk in desks)
    assert sorted(item.number for item in items) == sorted([*desks[0].ledger.items, *desks[1].ledger.items])
    assert [item.first.at for item in items] == sorted(item.first.at for item in items)
    assert items == merged(desk.ledger for desk in reversed(desks))
    told = twins(items)
    for person in {person.number for item in items for person in item.persons}:
        standing = [i for i in items if i.cancelled is None and i.spec.changes_register
                    and person in [p.number for p in i.persons]]
        assert told.get(person, ()) == (tuple(standing) if len(standing) > 1 else ())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), DEEDS), max_size=6))
def test_a_view_that_is_kept_up_to_date_is_the_one_made_anew(rounds):
    desks = [Desk("北"), Desk("南", journal=b"k" * 16, desk="south")]
    view = View()
    for south, deeds in rounds:
        play(desks[south], deeds)
        ledgers = [desk.ledger for desk in desks]
        view = view.after(ledgers)
        assert view.items == tuple(merged(ledgers))
        assert view.marks == marks_of(view.items)


def test_a_correction_says_everything_anew_and_a_cancelled_reception_is_changed_no_more():
    desk = Desk()
    first = desk.receive(Kind.DEATH)
    desk.correct(first, place="伊万里市立病院")
    assert desk.ledger.items[first].fields["place"] == "伊万里市立病院"
    assert desk.ledger.items[first].first.fields["place"] == "不詳"
    desk.cancel(first)
    with pytest.raises(RefusedError):
        desk.ledger.changeable(first)
    with pytest.raises(NotFoundError):
        desk.ledger.changeable("2026-北-死亡-0001")


def test_the_number_says_year_desk_kind_and_serial_and_the_year_is_japans():
    desk = Desk()
    assert desk.receive(Kind.DEATH) == "2026-伊万里-死亡-0001"
    desk.now = AT.replace(month=12, day=31, hour=15)  # midnight has passed in Japan
    assert desk.receive(Kind.DEATH) == "2027-伊万里-死亡-0001"


def test_marks_follow_the_newest_that_stands():
    desk = Desk()
    desk.receive(Kind.SAFETY, fields=fields_of(Kind.SAFETY, safety="missing"))
    found = desk.receive(Kind.SAFETY, fields=fields_of(Kind.SAFETY, safety="safe"))
    death = desk.receive(Kind.DEATH)
    marks = marks_of(merged([desk.ledger]))[HANAKO.number]
    assert marks.safety.number == found and [item.number for item in marks.pending] == [death]
    desk.cancel(found)
    desk.cancel(death)
    marks = marks_of(merged([desk.ledger]))[HANAKO.number]
    assert marks.safety.fields["safety"] == "missing" and marks.pending == ()


def test_two_desks_with_one_label_are_told():
    assert same_labels([Desk("北").ledger, Desk("北", journal=b"k" * 16).ledger]) == ["北"]
    assert same_labels([Desk("北").ledger, Desk("南", journal=b"k" * 16).ledger]) == []


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.value)
def test_a_journal_holds_only_what_the_forms_table_knows(kind):
    desk = Desk()
    number = desk.receive(kind)
    raw = msgspec.json.decode(encode_record(desk.ledger.entries[-1]))
    assert decode_record(msgspec.json.encode(raw)).number == number
    wrong = [{"fields": {**raw["fields"], "個人番号": "1"}}, {"persons": []}, {"number": "2026-伊万里-死亡-1"},
             {"nonce": "x"}, {"kind": "other"}, {"at": "2026-11-24T01:00:00"}, {"more": 1}]
    wrong += [{"fields": {**raw["fields"], field.name: "\0"}} for field in SPECS[kind].fields]
    needed = [field.name for field in SPECS[kind].fields if field.required]
    wrong += [{"fields": {name: value for name, value in raw["fields"].items() if name != left}} for left in needed]
    for change in wrong:
        with pytest.raises(FormatError):
            decode_record(msgspec.json.encode({**raw, **change}))


def test_the_same_form_is_taken_once():
    desk = Desk()
    number = desk.receive(Kind.DEATH)
    assert desk.ledger.number_of(nonce(1)) == number
    assert desk.ledger.number_of(nonce(2)) is None
