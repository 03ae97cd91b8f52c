"""Loading an extract: all of it, only what is allowed, or nothing."""

import io
import os
import stat
from datetime import timedelta

import pytest

from jbackupd.desk.fields import ColumnMap, is_personal_number, is_personal_number_header
from jbackupd.desk.query import understand
from jbackupd.desk.residents import Residents
from jbackupd.model.errors import ConfigError, DamageError, FormatError, NotFoundError, RefusedError

SMALL = {"番号": "宛名番号", "名": "氏名"}


def csv(text, encoding="cp932"):
    return io.BytesIO(text.encode(encoding))


def small(**options):
    return ColumnMap.parse(SMALL, **options)


def personal_number(seed):
    digits = f"{seed:011d}"
    return next(digits + check for check in "0123456789" if is_personal_number(digits + check))


def test_a_whole_extract_is_loaded_and_counted(load):
    report = load()
    assert (report.rows, report.restricted, report.unclear_births, report.restrictions_trusted) == (7, 1, 1, True)
    assert stat.S_IMODE(os.stat(load.database).st_mode) == 0o600


def test_names_keep_their_exact_code_points(load):
    names = "髙橋 \u8fbb\U000e0100 \ufa11 ｱｲ ①"
    load(csv(f"番号,名\n1,{names}\n", "utf-8"), small(encoding="utf-8"))
    assert Residents(load.database).search(understand("1"), limit=9).residents[0].name == names


def test_utf8_with_a_byte_order_mark_is_read(load):
    assert load(csv("\ufeff番号,名\n1,山\n", "utf-8"), small(encoding="utf-8")).rows == 1


def test_quoted_fields_may_hold_commas_and_line_feeds(load):
    load(csv('番号,名\n1,"山, 川\n海"\n'), small())
    assert Residents(load.database).search(understand("1"), limit=9).residents[0].name == "山, 川\n海"


def test_an_undecodable_byte_is_named_by_line_and_column(load):
    with pytest.raises(FormatError) as caught:
        load(io.BytesIO("番号,名\n1,山\n2,".encode("cp932") + b"\x81\n"), small())
    assert caught.value.fields["line"] == 3 and caught.value.fields["column"] == "名"
    assert not os.path.exists(load.database)


def test_utf8_declared_as_cp932_is_not_taken(load):
    with pytest.raises((FormatError, RefusedError)):
        load(csv("番号,名\n1,佐藤\n", "utf-8"), small())


def test_a_column_that_nobody_mapped_stops_the_load(load):
    with pytest.raises(RefusedError) as caught:
        load(csv("番号,名,電話\n1,山,0\n"), small())
    assert caught.value.fields["column"] == "電話"
    assert load(csv("番号,名,電話\n1,山,0\n"), small(ignore=["電話"])).ignored == ("電話",)


def test_a_mapped_column_must_be_there_once(load):
    for header in ("番号", "番号,名,名"):
        with pytest.raises(ConfigError):
            load(csv(f"{header}\n1,2,3\n"), small())


@pytest.mark.parametrize("text", ["", "\n", "\r\n1,山\r\n", "00012345,佐藤　花子\n", "番号,名\n", "番号,名\n\n\n"])
def test_an_extract_without_header_line_or_without_residents_fails_and_names_nobody(load, text):
    load()
    with pytest.raises(FormatError) as caught:
        load(csv(text), small())
    assert "佐藤" not in f"{caught.value} {caught.value.fields}"
    # What was loaded before is still there.
    assert Residents(load.database).facts.rows == 7


@pytest.mark.parametrize("header", [
    "個人番号", "マイナンバー", "ﾏｲﾅﾝﾊﾞｰ", "my_number", "My Number", "MYNUMBER", "個人番号カード",
])
def test_personal_numbers_are_refused_by_the_columns_name_even_if_ignored(load, header):
    assert is_personal_number_header(header)
    with pytest.raises(RefusedError):
        load(csv(f"番号,名,{header}\n1,山,\n"), small(ignore=[header]))
    with pytest.raises(RefusedError):
        ColumnMap.parse({**SMALL, "x": header})


@pytest.mark.parametrize("form", [str, lambda number: f"{number[:4]}-{number[4:8]}-{number[8:]}"])
def test_personal_numbers_are_refused_by_content_under_any_name(load, form):
    for count in (3, 5000):
        rows = "".join(f"{n},山,{form(personal_number(n))}\n" for n in range(count))
        with pytest.raises(RefusedError):
            load(csv(f"番号,名,備考\n{rows}"), small(ignore=["備考"]))
        assert not os.path.exists(load.database)


def test_personal_numbers_that_begin_late_in_the_file_are_refused_too(load):
    rows = "".join(f"{n},山,{personal_number(n) if n > 9000 else ''}\n" for n in range(12_000))
    with pytest.raises(RefusedError):
        load(csv(f"番号,名,備考\n{rows}"), small(ignore=["備考"]))


def test_other_numbers_of_twelve_digits_are_not_taken_for_personal_numbers(load):
    rows = "".join(f"{n:012d},山\n" for n in range(3000))
    assert load(csv(f"番号,名\n{rows}"), small()).rows == 3000


def test_the_check_digit_is_the_official_one():
    assert is_personal_number("123456789018")
    assert not is_personal_number("123456789012")
    assert sum(is_personal_number(f"12345678901{digit}") for digit in range(10)) == 1


def test_a_line_of_the_wrong_width_is_named(load):
    with pytest.raises(FormatError) as caught:
        load(csv("番号,名\n1,山\n\n2\n"), small())
    assert caught.value.fields["line"] == 4


def test_a_line_without_end_is_refused_in_bounded_memory(load):
    with pytest.raises(FormatError):
        load(csv("番号,名\n1," + "x" * (3 << 20)), small())


def test_two_residents_with_one_number_are_refused(load):
    with pytest.raises(DamageError):
        load(csv("番号,名\n1,山\n1,川\n"), small())


def test_a_failed_load_leaves_the_old_data_and_nothing_else(load):
    load()
    with pytest.raises(FormatError):
        load(csv("番号,名\n1\n"), small())
    assert Residents(load.database).facts.rows == 7
    assert os.listdir(os.path.dirname(load.database)) == ["residents.sqlite"]


def test_flags_that_are_missing_or_too_old_are_not_trusted(load):
    assert not load(csv("番号,名\n1,山\n"), small()).restrictions_trusted
    report = load()
    assert report.restrictions_trusted
    assert not load(restrictions_as_of=report.as_of - timedelta(minutes=1)).restrictions_trusted
    assert load(restrictions_as_of=report.as_of + timedelta(minutes=1)).restrictions_trusted


@pytest.mark.parametrize(("columns", "options"), [
    ({"a": "宛名番号"}, {}), ({"a": "宛名番号", "b": "氏名", "c": "氏名"}, {}), ({**SMALL, "c": "電話番号"}, {}),
    (SMALL, {"encoding": "euc-jp"}),
])
def test_a_wrong_column_map_is_refused(columns, options):
    with pytest.raises(ConfigError):
        ColumnMap.parse(columns, **options)


def test_a_misspelt_field_is_answered_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        ColumnMap.parse({**SMALL, "c": "フリカナ"})
    assert caught.value.fields["allowed"] == "フリガナ"


def test_what_is_no_desk_database_is_told(tmp_path, load):
    with pytest.raises(NotFoundError):
        Residents(str(tmp_path / "none"))
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(DamageError):
        Residents(str(tmp_path / "junk"))
