"""Support measures from a table of its own: what is missing, broken or old hides everybody's address."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.desk.database import Distrust
from jbackupd.desk.masking import Mask, show
from jbackupd.desk.query import understand
from jbackupd.desk.residents import Residents
from jbackupd.desk.restrictions import moment_of_table, no_table, read_restrictions
from tests.unit.desk.conftest import AS_OF


def table(text, as_of=AS_OF, encoding="cp932"):
    return read_restrictions(io.BytesIO(text.encode("cp932")), encoding=encoding, as_of=as_of)


def masks(load, restrictions):
    load(restrictions=restrictions)
    residents = Residents(load.database)
    found = residents.search(understand("本町"), limit=9).residents
    people = [residents.by_number(number) for number in ("00012344", "00012345", "00012347", "00012350")]
    return residents.facts.distrust, [show(one, residents.facts).mask for one in people], [one.name for one in found]


def test_a_flag_of_the_table_holds_for_the_household_beside_the_extracts_own(load):
    distrust, found, at_address = masks(load, table("宛名番号,支援措置,備考\n12345,1,x\n12350,0,\n"))
    assert distrust is Distrust.NONE
    assert found == [Mask.RESTRICTED, Mask.RESTRICTED, Mask.RESTRICTED, Mask.NONE]
    assert at_address == []


@pytest.mark.parametrize("text", [
    "", "宛名番号\n12345\n", "番号,支援措置\n12345,1\n", "宛名番号,支援措置\n12345\n", "宛名番号,支援措置\n12345,1,2\n",
    "宛名番号,支援措置\n,1\n", '宛名番号,支援措置\n"12345,1\n', "宛名番号,支援措置\n", "宛名番号,支援措置\n99,1\n",
    "宛名番号,支援措置,支援措置\n12345,0,1\n",
])
def test_a_table_that_cannot_be_used_or_fits_nobody_hides_all_addresses(load, text):
    distrust, found, at_address = masks(load, table(text))
    assert distrust is Distrust.UNREADABLE
    assert Mask.NONE not in found and at_address == []


def test_a_table_in_another_encoding_or_none_hides_all_addresses(load):
    assert masks(load, table("宛名番号,支援措置\n12345,1\n", encoding="utf-8"))[0] is Distrust.UNREADABLE
    assert masks(load, no_table(AS_OF))[0] is Distrust.UNREADABLE


def test_a_table_older_than_the_residents_hides_all_addresses(load):
    distrust, found, at_address = masks(load, table("宛名番号,支援措置\n12345,1\n", AS_OF - timedelta(seconds=1)))
    assert distrust is Distrust.OLDER
    assert Mask.NONE not in found and at_address == []


def test_a_table_of_the_same_night_shows_the_points_moment_and_a_forgotten_one_its_own():
    night = datetime(2026, 11, 22, 18, 0, tzinfo=UTC).timestamp()
    assert moment_of_table(AS_OF, table_written=night - 3600, extract_written=night) == AS_OF
    old = moment_of_table(AS_OF, table_written=night - 30 * 86400, extract_written=night)
    assert old == datetime(2026, 10, 23, 18, 0, tzinfo=UTC)
