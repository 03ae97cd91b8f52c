"""What a person typed from paper is read, or the line with the error is named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.paper import LINE_BYTES, LINES_MAX, bytes_of, lines_of, text_of
from jbackupd.model.errors import ShareError

DATA = bytes(range(91))
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GOLDEN = [
    "01 000G-40R4-0M30-E209-185G-R38E-1W81-24GK SV60",
    "02 2GAH-C5RR-34D1-P70X-3RFJ-0892-4CJ2-A9H7 ZHNG",
]


def refusal(text: str) -> str:
    with pytest.raises(ShareError) as caught:
        bytes_of(text, "typed.txt")
    assert "typed.txt" in str(caught.value)
    return str(caught.value)


@given(st.binary(max_size=LINE_BYTES * LINES_MAX))
def test_lines_are_read_as_they_were_printed(data):
    assert bytes_of("\n".join(lines_of(data)), "x") == data


def test_lines_are_short_enough_to_be_read_aloud():
    assert {len(line) for line in lines_of(bytes(200))} == {2 + 1 + 39 + 1 + 4}


# One wrong letter in 65536 would pass the line's own check (and be found by the share's); so the examples are fixed.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_every_changed_letter_is_refused_and_its_line_named(data, draw):
    lines = lines_of(data)
    number = draw.draw(st.integers(0, len(lines) - 1))
    line = lines[number]
    place = draw.draw(st.sampled_from([j for j, letter in enumerate(line) if letter.isalnum() and j > 2]))
    other = draw.draw(st.sampled_from(sorted(set(LETTERS) - {line[place]})))
    lines[number] = line[:place] + other + line[place + 1 :]
    assert refusal("\n".join(lines)) == f"line {number + 1} of typed.txt is mistyped"


@pytest.mark.parametrize("typed", ["07", "11", "10"])
def test_a_mistyped_line_number_is_told_by_the_place_of_the_line(typed):
    lines = lines_of(DATA)
    lines[0] = typed + lines[0][2:]
    assert refusal("\n".join(lines)) == "line 1 of typed.txt is mistyped"


def test_two_exchanged_neighbours_are_found():
    # Each two neighbouring letters of a line exchanged, the commonest error after a wrong letter.
    lines = lines_of(DATA)
    for place in range(3, len(lines[1]) - 1):
        one, two = lines[1][place : place + 2]
        if one != two and one.isalnum() and two.isalnum():
            swapped = lines[1][:place] + two + one + lines[1][place + 2 :]
            assert refusal("\n".join([lines[0], swapped, *lines[2:]])) == "line 2 of typed.txt is mistyped"


def test_a_line_that_is_missing_repeated_or_moved_is_named():
    lines = lines_of(DATA)
    assert "line 2 of" in refusal("\n".join(lines[:1] + lines[2:]))
    assert "line 3 of" in refusal("\n".join(lines[:2] + lines[1:]))
    assert "line 1 of" in refusal("\n".join([lines[1], lines[0], *lines[2:]]))


def test_what_japanese_input_methods_make_of_it_is_read():
    wide = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {"-": "ー", " ": "\u3000"})
    for hyphen in "ー−‐―ｰ－":
        text = "\n".join(lines_of(DATA)).translate(wide).replace("ー", hyphen)
        assert bytes_of(text.lower(), "x") == DATA


def test_letters_that_look_alike_are_read_as_those_that_are_meant():
    text = "\n".join(lines_of(DATA))
    for read, meant in (("O", "0"), ("I", "1"), ("l", "1"), ("u", "V")):
        assert bytes_of("\n".join(line[:2] + line[2:].replace(meant, read) for line in text.splitlines()), "x") == DATA


def test_the_lines_of_format_1_stay_as_they_are():
    assert lines_of(DATA[:40]) == GOLDEN


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "shift_jis"])
def test_a_file_is_read_in_whatever_an_editor_saved_it(encoding):
    text = "復旧鍵の分割鍵\r\n" + "\r\n".join(lines_of(DATA))
    assert text_of(text.encode(encoding)).endswith("復旧鍵の分割鍵\r\n" + "\r\n".join(lines_of(DATA)))


@given(st.text(max_size=200) | st.text("0123456789-ABCZ \n０Ａ", max_size=200))
def test_any_text_is_bytes_or_a_named_refusal(text):
    try:
        data = bytes_of(text, "typed.txt")
    except ShareError as error:
        assert "typed.txt" in str(error)
    else:
        assert bytes_of("\n".join(lines_of(data)), "x") == data


@given(st.binary(max_size=200))
def test_any_file_is_text(data):
    assert isinstance(text_of(data), str)


def test_a_number_of_thousands_of_digits_is_no_line():
    assert bytes_of("1" * 10_000 + " AAAA BBBB", "x") == b""
