"""Who is where and how: the newest counts, and nobody under support measures is named."""

from jbackupd.continuity.intake import merged
from jbackupd.desk.shelters import not_safe, safety_counts, shelters, standings
from jbackupd.format.intake import Person
from jbackupd.format.intakekinds import Kind
from tests.support.intakes import Desk, fields_of

A, B, C = (Person(f"人{n}", str(n), kana) for n, kana in ((1, "ウ"), (2, "イ"), (3, "ア")))
UNKNOWN = Person("氏名不詳")


def evacuated(desk, persons, movement="in", shelter="大坪小", **said):
    fields = fields_of(Kind.EVACUATION, movement=movement, shelter=shelter, **said)
    return desk.receive(Kind.EVACUATION, persons, fields)


def marked(desk, person, safety, **said):
    return desk.receive(Kind.SAFETY, (person,), fields_of(Kind.SAFETY, safety=safety, **said))


def found(desk):
    return standings(merged([desk.ledger]))


def test_whoever_moves_on_is_in_one_place_and_whoever_leaves_in_none():
    desk = Desk()
    evacuated(desk, (A, B, C), needs="車椅子")
    evacuated(desk, (B,), shelter="東山中")
    evacuated(desk, (C,), movement="out")
    assert [(one.name, [row.person for row in one.rows]) for one in shelters(found(desk), ())] == [
        ("大坪小", [A]), ("東山中", [B]),
    ]
    marked(desk, A, "safe", shelter="南小")
    evacuated(desk, (B,), movement="outside", shelter="車")
    assert [one.name for one in shelters(found(desk), ())] == ["南小", "避難所外: 車"]
    assert shelters(found(desk), ())[0].rows[0].needs == "車椅子"


def test_a_later_mark_counts_and_a_cancelled_one_does_not():
    desk = Desk()
    marked(desk, A, "missing")
    safe = marked(desk, A, "safe")
    marked(desk, B, "dead")
    assert dict(safety_counts(found(desk))) == {"safe": 1, "hurt": 0, "missing": 0, "dead": 1, "unknown": 0}
    desk.cancel(safe)
    assert [(one.person, one.safety) for one in not_safe(found(desk), ())] == [(A, "missing"), (B, "dead")]


def test_persons_under_support_measures_are_counted_and_not_named():
    desk = Desk()
    evacuated(desk, (A, B))
    marked(desk, B, "hurt")
    (shelter,) = shelters(found(desk), {"2"})
    assert (shelter.count, shelter.protected, [row.person for row in shelter.rows]) == (2, 1, [A])
    assert not_safe(found(desk), {"2"}) == []
    assert dict(shelter.safety)["hurt"] == 1


def test_two_whose_names_are_not_known_are_two():
    desk = Desk()
    for _ in range(2):
        evacuated(desk, (UNKNOWN,))
    assert shelters(found(desk), ())[0].count == 2
