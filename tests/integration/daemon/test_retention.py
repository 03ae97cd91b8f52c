"""A daemon with a retention: what it removes by itself and at a request, and what the peers keep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from daemons import receipted

LAST_ONE = "[dataset.retention]\nlast = 1\n"


def take(town, saga, count: int) -> None:
    for number in range(count):
        (town.data / "big").write_bytes(bytes([number]) + b"x" * 100)
        saga.call("backup", dataset="imari/juki")


def numbers(site, *more: str) -> list[int]:
    return [point["sequence"] for point in site.command("points", "list", *more)["points"]]


def test_on_its_schedule_it_removes_what_the_retention_does_not_keep_and_tells(town) -> None:
    saga = town.alone(more=LAST_ONE)
    for number in range(3):
        (town.data / "big").write_bytes(bytes([number]) * 50_000)
        saga.command("backup", "imari/juki", "--local")
    saga.command("points", "hold", "imari/juki@1", "--reason", "audit")
    # The last run was so long ago that the next one is due.
    folder = saga.state / "vaults/imari/retention"
    before = datetime.now(UTC) - timedelta(days=8)
    (folder / "state").write_text(json.dumps({"believed_at": before.isoformat(), "sequences": {"imari/juki": 3}}))
    saga.start()
    page = saga.until(lambda page: page["retention"] and page["retention"][0]["removed_points"])
    kept = numbers(saga)
    assert kept[0] == 1 and 2 not in kept
    assert page["retention"][0]["held_points"] == 1
    assert page["retention"][0]["next_run"] > datetime.now(UTC).isoformat()
    samples = saga.metrics()
    assert samples['jbackupd_removed_points_total{tenant="imari"}'] >= 1
    assert samples['jbackupd_held_points{tenant="imari"}'] == 1
    assert samples['jbackupd_reclaim_error{tenant="imari"}'] == 0
    assert "was given up by its retention" in saga.log()
    assert saga.command("verify", "--full")["findings"] == []
    assert saga.stop() == 0


def test_at_a_request_it_removes_only_what_every_peer_has_signed_for(town) -> None:
    saga, kyoto, hokkaido = town.three()
    text = saga.config.read_text()
    saga.config.write_text(text.replace("[[peer]]", f"{LAST_ONE}[[peer]]", 1))
    kyoto.start()
    saga.start().until(lambda page: receipted(page, 1, peers=1))
    take(town, saga, 2)
    saga.until(lambda page: receipted(page, 3, peers=1))
    done = saga.command("vault", "reclaim")["vaults"][0]
    assert done["removed"] == [] and numbers(saga) == [1, 2, 3]
    hokkaido.start()
    saga.until(lambda page: receipted(page, 3, peers=2))
    done = saga.command("vault", "reclaim")["vaults"][0]
    assert [each["point"] for each in done["removed"]] == ["imari/juki@1", "imari/juki@2"]
    assert numbers(saga) == [3] and numbers(kyoto) == [1, 2, 3]
    # What was moved here goes on its way to the peers like anything new.
    take(town, saga, 1)
    saga.until(lambda page: receipted(page, 4, peers=2))
    for site in (saga, kyoto, hokkaido):
        assert site.command("verify")["findings"] == []
    assert saga.command("vault", "freeze", "imari", "--reason", "flood")["frozen"]
    refused = saga.command("vault", "reclaim", expect=5)
    assert "flood" in refused["error"]["message"]
