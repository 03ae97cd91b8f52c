"""Backups, epochs, recovery keys and erasures in any order: what is retained is whole, what was given up is gone."""

import tempfile
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.keychanges import Story

STEPS = st.sampled_from(["take", "take", "rotate", "change_recovery", "erase", "erase"])


@settings(max_examples=4)
@given(st.lists(st.tuples(STEPS, st.integers(1, 200)), min_size=4, max_size=12))
def test_keys_change_in_any_order(steps):
    with tempfile.TemporaryDirectory() as folder:
        story = Story(folder)
        for name, seed in [("take", 1), ("take", 2), *steps, ("rotate", 0), ("erase", 7), ("take", 9)]:
            getattr(story, name)(seed)
            story.site.clock.advance(timedelta(hours=1).total_seconds())
        story.check()


@pytest.mark.soak
@settings(max_examples=150)
@given(st.lists(st.tuples(STEPS, st.integers(1, 200)), min_size=4, max_size=16))
def test_keys_change_in_any_order_for_long(steps):
    test_keys_change_in_any_order.hypothesis.inner_test(steps)
