"""A code that is misheard or mistyped is told at once; one that is right may be typed as people type."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.dictated import DIGITS, check_digit, draw_digits, is_dictated, parse_digits, show_digits
from jbackupd.model.errors import UsageError

codes = st.integers(0, 10 ** (DIGITS - 1) - 1).map(lambda n: f"{n:0{DIGITS - 1}d}").map(lambda d: d + check_digit(d))


@settings(deadline=None)
@given(codes, st.data())
def test_every_single_wrong_digit_and_every_exchange_of_neighbours_is_told(code: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, DIGITS - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != code[at]]))
    wrong = [code[:at] + other + code[at + 1 :]]
    if at and code[at - 1] != code[at]:
        wrong.append(code[: at - 1] + code[at] + code[at - 1] + code[at + 1 :])
    for typed in wrong:
        assert not is_dictated(typed)
        with pytest.raises(UsageError, match="a digit of the code is wrong"):
            parse_digits(show_digits(typed))


@settings(deadline=None)
@given(codes, st.sampled_from(["-", " ", "\u3000", "ー", "−", "‐", ".", "・", "", " - "]), st.booleans())
def test_a_code_may_be_typed_in_any_width_with_any_hyphen(code: str, between: str, wide: bool) -> None:
    typed = show_digits(code).replace("-", between)
    if wide:
        typed = "".join(chr(ord(char) + 0xFEE0) if char.isascii() and char.isdigit() else char for char in typed)
    assert parse_digits(f" {typed} ") == code


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_code_or_a_usage_error(text: str) -> None:
    try:
        assert is_dictated(parse_digits(text))
    except UsageError:
        assert not is_dictated(text)


def test_a_group_that_lacks_a_digit_is_named_and_nothing_that_was_typed_is_repeated() -> None:
    with pytest.raises(UsageError, match="group 3 of the code has 3 digits, not 4") as told:
        parse_digits("1234-5678-901-2345-6789")
    assert "901" not in str(told.value) + told.value.hint
    with pytest.raises(UsageError, match="has 16 digits, not 20"):
        parse_digits("1234-5678-9012-3456")
    with pytest.raises(UsageError, match="digits only"):
        parse_digits("1234-5678-9012-3456-789x")


def test_drawn_codes_fit_their_check_and_differ() -> None:
    drawn = {draw_digits() for _ in range(200)}
    assert len(drawn) == 200
    assert all(is_dictated(code) and parse_digits(show_digits(code)) == code for code in drawn)
