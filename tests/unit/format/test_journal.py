"""What a journal promises about its bytes: torn at the tail, or damage, never a wrong record."""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.format.journal import (
    CHECK_BYTES,
    HEADER_BYTES,
    NO_CHECK,
    RECORD_BYTES_MAX,
    encode_record,
    scan,
)
from jbackupd.model.errors import FormatError, UsageError


def journal_of(bodies: list[bytes]) -> tuple[bytes, list[int]]:
    """Return the bytes of a journal and the end of each record, 0 first."""
    data, check, ends = b"", NO_CHECK, [0]
    for number, body in enumerate(bodies):
        record = encode_record(number, body, check)
        data, check = data + record, record[-CHECK_BYTES:]
        ends.append(len(data))
    return data, ends


BODIES = [b"", b"declare saga lost", b"\0" * 40, bytes(range(64)), b"x"]


def test_golden_bytes_of_a_record() -> None:
    record = encode_record(0, b"hello", NO_CHECK)
    assert record.hex() == (
        "4a424a31" "00000000" "05000000" "1a8aa9a8" "68656c6c6f" "454b6ff1e21ce0755b0a6a2a18ba7ff4"
    )


def test_an_empty_file_is_an_empty_journal() -> None:
    assert scan(b"").records == ()


def test_every_prefix_is_a_shorter_journal_with_a_torn_tail() -> None:
    data, ends = journal_of(BODIES)
    for cut in range(len(data) + 1):
        whole = max(n for n, end in enumerate(ends) if end <= cut)
        result = scan(data[:cut])
        assert list(result.records) == BODIES[:whole]
        assert (result.length, result.torn) == (ends[whole], cut - ends[whole])


def test_every_single_bit_flip_is_damage_and_never_a_torn_tail() -> None:
    data, _ = journal_of(BODIES)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            scan(bytes(flipped))


def test_every_bit_flip_in_front_of_a_torn_tail_is_damage() -> None:
    data, ends = journal_of(BODIES)
    torn = data[: ends[-2] + HEADER_BYTES - 3]
    for bit in range(8 * ends[-2]):
        flipped = bytearray(torn)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            scan(bytes(flipped))


def test_a_tail_of_zeros_is_damage() -> None:
    data, ends = journal_of(BODIES)
    with pytest.raises(FormatError):
        scan(data[: ends[-2]] + bytes(len(data) - ends[-2]))


@given(st.lists(st.binary(max_size=50), max_size=6), st.data())
@settings(max_examples=150, deadline=None)
def test_a_record_that_was_dropped_doubled_or_swapped_is_damage(bodies: list[bytes], data: st.DataObject) -> None:
    journal, ends = journal_of([b"first", *bodies, b"last"])
    records = [journal[a:b] for a, b in itertools.pairwise(ends)]
    at = data.draw(st.integers(0, len(records) - 2))
    for changed in (
        records[:at] + records[at + 1 :],
        [*records[: at + 1], *records[at:]],
        [*records[:at], records[at + 1], records[at], *records[at + 2 :]],
    ):
        with pytest.raises(FormatError):
            scan(b"".join(changed))


def test_a_record_of_another_journal_is_damage() -> None:
    ours, ends = journal_of([b"a", b"b"])
    theirs, _ = journal_of([b"A", b"b"])
    with pytest.raises(FormatError):
        scan(ours[: ends[1]] + theirs[ends[1] :])


@given(st.lists(st.binary(max_size=2000), max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_was_encoded_is_read_back(bodies: list[bytes]) -> None:
    data, _ = journal_of(bodies)
    result = scan(data)
    assert (list(result.records), result.length, result.torn) == (bodies, len(data), 0)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        scan(data)


def test_a_record_longer_than_the_bound_is_refused_before_it_is_written() -> None:
    with pytest.raises(UsageError):
        encode_record(0, bytes(RECORD_BYTES_MAX + 1), NO_CHECK)
