"""Who gave wrong bytes is found, also when several gave some; this site's own disk is suspected first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.engine.givers import BLAMED_MAX, Givers
from jbackupd.model.ids import ObjectName, SiteId

PACK = ObjectName(b"p" * 32)
KYOTO, HOKKAIDO = SiteId("kyoto"), SiteId("hokkaido")


def test_of_two_sites_the_one_that_gave_a_wrong_range_is_refused_at_once() -> None:
    givers = Givers()
    givers.gave(PACK, KYOTO, 0, 100)
    givers.gave(PACK, KYOTO, 500, 600)
    givers.gave(PACK, HOKKAIDO, 100, 200)
    assert givers.blame(PACK, 50, 60, 2) == ([(0, 100), (500, 600)], frozenset({KYOTO}))
    assert givers.blame(PACK, 100, 120, 2) == ([(100, 200)], frozenset({HOKKAIDO}))


def test_two_that_gave_parts_of_a_wrong_range_are_tried_one_by_one() -> None:
    givers = Givers()
    givers.gave(PACK, KYOTO, 0, 100)
    givers.gave(PACK, HOKKAIDO, 100, 200)
    wrong, refused = givers.blame(PACK, 0, 200, 3)
    assert (sorted(wrong), refused) == ([(0, 100), (100, 200)], frozenset())


def test_the_only_site_is_given_up_after_some_tries_alone() -> None:
    givers = Givers()
    for turn in range(1, BLAMED_MAX + 1):
        givers.gave(PACK, KYOTO, 0, 100)
        assert givers.blame(PACK, 0, 100, 1)[1] == (frozenset({KYOTO}) if turn == BLAMED_MAX else frozenset())


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([KYOTO, HOKKAIDO]), st.integers(0, 90), st.integers(1, 10))))
def test_nothing_of_a_blamed_site_is_kept_and_bytes_that_nobody_gave_blame_nobody(gave) -> None:
    givers = Givers()
    for site, begin, length in gave:
        givers.gave(PACK, site, begin, begin + length)
    wrong, refused = givers.blame(PACK, 0, 100, 3)
    assert all(any(first <= begin and begin + length <= last for first, last in wrong) for _, begin, length in gave)
    assert refused <= {site for site, _, _ in gave}
    assert givers.blame(PACK, 0, 100, 3) == ([], frozenset())
    if refused:
        givers.refuse(PACK, refused)
        assert givers.refused(PACK) == refused
