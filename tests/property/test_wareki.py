"""Every day survives every form it can be written in."""

import contextlib
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.errors import UsageError
from jbackupd.model.wareki import era_digits, era_of, parse_day, wareki

DAYS = st.dates(date(1868, 1, 25), date(2117, 12, 31))


@given(DAYS)
def test_every_day_is_read_as_it_was_written(day):
    era = era_of(day)
    forms = [wareki(day), era_digits(day), day.isoformat(), f"{day:%Y%m%d}"]
    forms.append(f"{era.letter}{era.year_of(day)}.{day.month}.{day.day}")
    assert {parse_day(form) for form in forms} == {day}


@given(st.text(max_size=12) | st.text("0123456789明大昭平令元MTSHR年月日./- ", max_size=14))
def test_any_text_is_a_day_or_a_typed_error(text):
    with contextlib.suppress(UsageError):
        assert isinstance(parse_day(text), date)
