"""A sample is drawn evenly, is everything of a small point, and stays within its bounds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.sample import choose, slices
from jbackupd.service.sampling import SampleResult, SampleState, is_due, standing

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def entry(number: int, size: int, kind: EntryType = EntryType.FILE) -> TreeEntry:
    return TreeEntry(f"f{number:05d}".encode(), kind, 0o644, 0, 0, 0, size=size)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 12), st.integers(1, 200), st.randoms())
def test_it_stays_within_its_bounds_and_says_when_it_is_everything(sizes, files_max, bytes_max, random) -> None:
    tree = [entry(number, size) for number, size in enumerate(sizes)] + [entry(99999, 0, EntryType.FOLDER)]
    choice = choose(iter(tree), random, files_max=files_max, bytes_max=bytes_max)
    assert len(choice.files) <= files_max and sum(one.size for one in choice.files) <= bytes_max
    assert (choice.total_files, choice.total_bytes) == (len(sizes), sum(sizes))
    assert choice.is_all == (len(choice.files) == len(sizes))
    assert len({one.path for one in choice.files}) == len(choice.files)
    assert all(one.type is EntryType.FILE for one in choice.files)
    if sizes and not choice.files:
        assert choice.long is not None, "something is always looked at"
    if len(sizes) <= files_max and sum(sizes) <= bytes_max:
        assert choice.is_all


def test_every_file_has_its_chance() -> None:
    drawn = Counter(
        one.path for seed in range(400)
        for one in choose((entry(number, 1) for number in range(20)), Random(seed), files_max=5).files
    )
    assert len(drawn) == 20 and min(drawn.values()) > 50


@given(st.integers(1, 10_000), st.integers(1, 5_000), st.randoms())
def test_slices_lie_in_the_file_and_hold_its_begin_and_end(size, slice_bytes, random) -> None:
    found = slices(size, random, slice_bytes=slice_bytes)
    assert found[0][0] == 0 and found[-1][0] + found[-1][1] == size
    assert all(offset >= 0 and 0 < length <= slice_bytes and offset + length <= size for offset, length in found)


@given(st.sampled_from(SampleState), st.integers(-40, 400), st.integers(2, 90))
def test_a_proof_is_made_again_before_it_is_too_old_and_nothing_else_counts(state, days, within_days) -> None:
    within = timedelta(days=within_days)
    result = SampleResult(state, NOW - timedelta(days=days))
    now = standing(result, within, NOW)
    assert now is (SampleState.UNPROVED if state is SampleState.PROVED and days > within_days else state)
    if now is not SampleState.PROVED and days > within_days:
        assert is_due(result, within, NOW)
    if days < 0:
        assert is_due(result, within, NOW), "a clock that was set back"
    assert is_due(None, within, NOW) and standing(None, within, NOW) is SampleState.UNPROVED
