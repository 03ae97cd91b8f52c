"""Did you mean."""

import pytest

from jbackupd.settings.suggest import edit_distance, nearest

WORDS = ("id", "state", "listen", "schedule", "history", "limit", "declare_lost")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lisen", "listen"), ("shedule", "schedule"), ("scheduel", "schedule"), ("ID", "id"),
        ("declare-lost", "declare_lost"),
        ("declair_lots", "declare_lost"), ("stat", "state"), ("password", None), ("x", None), ("", None),
    ],
)  # fmt: skip
def test_a_slip_is_understood_and_another_word_is_not(word, meant):
    assert nearest(word, WORDS) == meant


@pytest.mark.parametrize(
    ("left", "right", "distance"), [("", "", 0), ("abc", "", 3), ("ab", "ba", 1), ("kitten", "sitting", 3)]
)
def test_distance_counts_slips(left, right, distance):
    assert edit_distance(left, right) == edit_distance(right, left) == distance
