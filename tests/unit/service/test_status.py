"""The page and the numbers: pure, from facts and a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jbackupd.model.errors import ConfigError, RefusedError
from jbackupd.model.ids import DatasetId, SiteId
from jbackupd.policy.deadline import Deadline, deadline_of, worst
from jbackupd.service.ledger import CopyFacts, DatasetFacts, PointFacts
from jbackupd.service.metrics import render
from jbackupd.service.queue import QueueState
from jbackupd.service.status import Facts, PeerFacts, dataset_deadline, status_document
from jbackupd.settings.load import load
from jbackupd.settings.schema import Settings

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
JUKI = DatasetId.parse("imari/juki")
KYOTO, HOKKAIDO = SiteId("kyoto"), SiteId("hokkaido")
HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "j.toml").write_text(
        'version = 1\n[site]\nid = "saga"\nstate = "state"\n[[tenant]]\nid = "imari"\n'
        '[[dataset]]\nid = "imari/juki"\nrpo = "26h"\nsource = { kind = "files", paths = ["/srv"] }\n'
        '[[peer]]\nid = "kyoto"\ncard = "k"\n[[peer]]\nid = "hokkaido"\ncard = "h"\nlimit = "8Mbit/s"\n'
    )
    return load(str(tmp_path / "j.toml"))


def point(sequence: int, age: timedelta) -> PointFacts:
    return PointFacts(sequence, NOW - age, NOW - age, incomplete=False)


def facts(settings: Settings, *, kyoto: CopyFacts, hokkaido: CopyFacts, **others) -> Facts:
    taken = {JUKI: DatasetFacts(point(5, HOUR), {KYOTO: kyoto, HOKKAIDO: hokkaido})}
    peers = {
        KYOTO: PeerFacts(QueueState(up=True, changed_at=NOW, bytes_sent=7, delivered_points=2)),
        HOKKAIDO: PeerFacts(QueueState(troubles={JUKI: RefusedError("{site} does not hold it", site="hokkaido")}), 1e6),
    }
    return Facts(settings=settings, begun_at=NOW - HOUR, pid=7, taken=taken, peers=peers, loaded_at=NOW, **others)


FRESH = CopyFacts(point(5, HOUR), NOW)
OLD = CopyFacts(point(3, 30 * HOUR), NOW - 30 * HOUR, 2, 5000, NOW - 20 * HOUR)


@pytest.mark.parametrize(
    ("kyoto", "hokkaido", "expected"),
    [
        (FRESH, FRESH, Deadline.MET),
        (FRESH, OLD, Deadline.LATE),
        (FRESH, CopyFacts(), Deadline.NEVER),
        (OLD, CopyFacts(), Deadline.NEVER),
    ],
)
def test_a_dataset_is_as_late_as_its_latest_copy(settings, kyoto, hokkaido, expected) -> None:
    assert dataset_deadline(facts(settings, kyoto=kyoto, hokkaido=hokkaido), settings.datasets[0], NOW) is expected


def test_a_deadline_is_met_up_to_the_very_second() -> None:
    assert deadline_of(NOW - 26 * HOUR, 26 * HOUR, NOW) is Deadline.MET
    assert deadline_of(NOW - 26 * HOUR - timedelta(seconds=1), 26 * HOUR, NOW) is Deadline.LATE
    assert worst([]) is Deadline.MET


def test_the_page_names_what_waits_and_why(settings) -> None:
    page = status_document(facts(settings, kyoto=FRESH, hokkaido=OLD), NOW)
    (juki,) = page["datasets"]
    assert (juki["deadline"], juki["newest"]["age_seconds"]) == ("late", 3600)
    assert [(c["peer"], c["waiting_points"]) for c in juki["copies"]] == [("kyoto", 0), ("hokkaido", 2)]
    kyoto, hokkaido = page["peers"]
    assert (kyoto["link"], hokkaido["link"], hokkaido["queue_bytes"]) == ("up", "down", 5000)
    assert hokkaido["troubles"] == [
        {"dataset": "imari/juki", "code": "refused", "message": "{site} does not hold it", "hint": "",
         "fields": {"site": "hokkaido"}}
    ]


def test_before_anything_is_known_the_page_says_so(settings) -> None:
    page = status_document(Facts(settings=settings, begun_at=NOW, pid=7), NOW)
    assert page["datasets"][0]["newest"] is None
    assert page["datasets"][0]["deadline"] == "never"
    assert [peer["link"] for peer in page["peers"]] == ["down", "down"]
    assert b'jbackupd_point_age_seconds{dataset="imari/juki"} NaN' in render(
        Facts(settings=settings, begun_at=NOW, pid=7), NOW
    )


def test_the_numbers_say_what_the_page_says(settings) -> None:
    error = ConfigError("line 3")
    text = render(facts(settings, kyoto=FRESH, hokkaido=OLD, config_error=error), NOW).decode()
    for line in (
        'jbackupd_rpo_met{dataset="imari/juki"} 0.0',
        'jbackupd_rpo_seconds{dataset="imari/juki"} 93600.0',
        'jbackupd_point_age_seconds{dataset="imari/juki"} 3600.0',
        'jbackupd_copy_sequence{dataset="imari/juki",peer="hokkaido"} 3.0',
        'jbackupd_queue_bytes{dataset="imari/juki",peer="hokkaido"} 5000.0',
        'jbackupd_link_up{peer="kyoto"} 1.0',
        'jbackupd_link_limit_bytes_per_second{peer="kyoto"} +Inf',
        'jbackupd_receipts_total{peer="kyoto"} 2.0',
        'jbackupd_refused_datasets{peer="hokkaido"} 1.0',
        "jbackupd_config_error 1.0",
    ):
        assert line + "\n" in text, line


def test_labels_are_datasets_and_peers_of_the_configuration_only(settings) -> None:
    text = render(facts(settings, kyoto=FRESH, hokkaido=OLD), NOW).decode()
    names = {part.split("=")[0] for line in text.splitlines() if "{" in line and line[0] != "#"
             for part in line[line.index("{") + 1 : line.index("}")].split(",")}
    assert names == {"dataset", "peer", "version", "site"}
