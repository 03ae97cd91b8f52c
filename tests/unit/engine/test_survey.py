"""The judgement over all sites' answers: the newest point, forks, steps back, points that nobody shows."""

from __future__ import annotations

from datetime import UTC, datetime

from jbackupd.engine.survey import SeenPoint, Sighting, judge
from jbackupd.format.point import PointHeader
from jbackupd.format.receipt import Receipt
from jbackupd.model.errors import IdentityError, PeerError
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectName, SiteId, TenantId

JUKI = DatasetId(TenantId("imari"), "juki")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
KYOTO, HOKKAIDO, SAGA = SiteId("kyoto"), SiteId("hokkaido"), SiteId("saga")


def name(sequence, branch="a"):
    return ObjectName(f"{branch}{sequence}".encode().ljust(32)) if sequence else NO_OBJECT


def point(sequence, branch="a", previous="a"):
    header = PointHeader(
        JUKI, sequence, name(sequence - 1, previous), SAGA, 1, NOW, NOW, bytes(16), bytes(16), (), (), False
    )
    return SeenPoint(name(sequence, branch), header)


def receipt(holder, sequence, branch="a"):
    return Receipt(JUKI, sequence, name(sequence, branch), holder, NOW, 3)


def site(site_id, sequence, *receipts):
    return Sighting(site_id, True, (point(sequence),) if sequence else (), receipts)


def alarms(*sightings):
    return [str(alarm) for alarm in judge(sightings).alarms]


def test_the_highest_sequence_is_the_newest_with_who_shows_and_who_signed_for_it():
    result = judge([
        site(KYOTO, 5, receipt(KYOTO, 5)), site(HOKKAIDO, 5, receipt(HOKKAIDO, 5)), site(SAGA, 4, receipt(KYOTO, 4)),
    ])
    newest = result.newest[JUKI]
    assert (newest.point.header.sequence, newest.holders, newest.receipted_by) == (
        5, (HOKKAIDO, KYOTO), (HOKKAIDO, KYOTO)
    )
    assert result.alarms == ()


def test_a_site_that_shows_less_than_it_signed_for_has_stepped_back():
    assert alarms(site(KYOTO, 3), site(HOKKAIDO, 5, receipt(KYOTO, 5))) == [
        "kyoto has stepped back: it signed for imari/juki@5, but shows 3"
    ]


def test_a_site_that_shows_nothing_any_more_has_stepped_back():
    assert alarms(site(KYOTO, 0), site(HOKKAIDO, 2, receipt(KYOTO, 1))) == [
        "kyoto has stepped back: it signed for imari/juki@1, but shows 0"
    ]


def test_a_newer_point_than_anybody_shows_is_known_by_its_receipt():
    silent = Sighting(KYOTO, False, error=PeerError("unable to reach kyoto"))
    assert alarms(silent, site(HOKKAIDO, 4, receipt(KYOTO, 6))) == [
        "imari/juki@6 exists, signed for by kyoto, but the newest that is shown is 4"
    ]


def test_two_points_with_one_sequence_are_a_fork():
    fork = Sighting(HOKKAIDO, True, (point(4, "b"),))
    assert alarms(site(KYOTO, 4), fork) == ["imari/juki@4 exists 2 times, at kyoto; hokkaido: a fork"]


def test_a_fork_is_seen_in_a_receipt_and_in_what_a_point_follows():
    assert "a fork" in alarms(site(KYOTO, 4), site(HOKKAIDO, 4, receipt(SAGA, 4, "b")))[0]
    after_fork = Sighting(HOKKAIDO, True, (point(5, "b", previous="b"),))
    assert alarms(site(KYOTO, 4), after_fork) == ["imari/juki@4 exists 2 times, at kyoto; hokkaido: a fork"]


def test_an_answer_with_a_wrong_signature_is_an_alarm_and_silence_is_not():
    wrong = IdentityError("a signature does not fit")
    result = judge([Sighting(KYOTO, True, error=wrong), Sighting(SAGA, False, error=PeerError("gone"))])
    assert result.alarms == (wrong,)
    assert result.newest == {}
