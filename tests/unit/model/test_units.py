"""Quantities: what may be written, and how they are shown."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.errors import UsageError
from jbackupd.model.units import (
    Address,
    duration_text,
    parse_address,
    parse_duration,
    parse_rate,
    rate_text,
    show_duration,
    show_rate,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("35d", 35 * 86400), ("2w", 14 * 86400)]
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "rate"), [("8bit/s", 1), ("512kbit/s", 64_000), ("10Mbit/s", 1_250_000), ("1.5 MB/s", 1_500_000)]
)
def test_rates_are_read_as_bytes_per_second(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "address"),
    [("kyoto.lgwan.jp:7420", Address("kyoto.lgwan.jp", 7420)), ("[2001:db8::7]:1", Address("2001:db8::7", 1))],
)
def test_addresses_are_read_and_written_back(text, address):
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_duration, text) for text in ("", "5", "0s", "-1h", "1.5h", "1h 30m", "９h", "99999999w")]
    + [(parse_rate, text) for text in ("", "10", "10mbit/s", "10Mbps", "0bit/s", "1bit/s", "-5B/s", "1e3B/s")]
    + [(parse_address, text) for text in ("", "host", "host:", ":7420", "host:65536", "2001:db8::7:1", "a b:1")],
)
def test_anything_else_is_refused(parse, text):
    with pytest.raises(UsageError):
        parse(text)


@given(st.integers(1, 999_999_999))
def test_durations_and_rates_read_back_as_they_were_written(number):
    assert parse_duration(duration_text(timedelta(seconds=number))) == timedelta(seconds=number)
    assert parse_rate(rate_text(number)) == number


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (4_190_000, "4.19 MB"), (80_200_000_000, "80.2 GB"),
     (999_600, "1 MB"), (123_400, "123 kB")],
)  # fmt: skip
def test_sizes_are_shown_with_three_digits(size, shown):
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (0.83, "0.8s"), (42, "42s"), (200, "3m20s"), (93_600, "1d2h"), (86_400, "1d"), (3_600.2, "1h")],
)
def test_durations_are_shown_in_two_units(seconds, shown):
    assert show_duration(seconds) == shown


def test_rates_are_shown_in_bits():
    assert [show_rate(rate) for rate in (100, 1_200_000, 125_000_000)] == ["800 bit/s", "9.6 Mbit/s", "1 Gbit/s"]
