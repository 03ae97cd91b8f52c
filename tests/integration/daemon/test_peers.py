"""Three daemons: what one takes the others hold and sign for."""

from __future__ import annotations

import os
import signal

import pytest
from daemons import dataset, receipted

from jbackupd.model.errors import PeerError


def test_a_scheduled_point_reaches_both_peers_and_is_signed_for(town) -> None:
    sites = town.three(schedule="15m")
    for site in sites[1:]:
        site.start()
    saga = sites[0].start()
    page = saga.until(lambda page: all(peer["receipts"] for peer in page["peers"]))
    assert receipted(page, 1, peers=2)
    assert dataset(page)["deadline"] == "met"
    assert [(peer["link"], peer["queue_bytes"]) for peer in page["peers"]] == [("up", 0), ("up", 0)]
    for site in sites[1:]:
        held = site.until(lambda page: page["held"])["held"]
        assert [(each["id"], each["newest"]["sequence"]) for each in held] == [("imari/juki", 1)]
        assert site.command("verify")["findings"] == []
    numbers = saga.metrics()
    for peer in ("kyoto", "hokkaido"):
        assert numbers[f'jbackupd_link_up{{peer="{peer}"}}'] == 1
        assert numbers[f'jbackupd_receipts_total{{peer="{peer}"}}'] == 1
        assert numbers[f'jbackupd_copy_sequence{{dataset="imari/juki",peer="{peer}"}}'] == 1
        assert numbers[f'jbackupd_queue_bytes{{dataset="imari/juki",peer="{peer}"}}'] == 0
    assert [site.stop() for site in sites] == [0, 0, 0]


def test_a_peer_that_comes_later_gets_what_it_missed(town) -> None:
    saga, kyoto, hokkaido = town.three()
    kyoto.start()
    saga.start().until(lambda page: receipted(page, 1, peers=1))
    (town.data / "more").write_text("second")
    saga.call("backup", dataset="imari/juki")
    page = saga.until(lambda page: receipted(page, 2, peers=1))
    waiting = {copy["peer"]: copy["waiting_points"] for copy in dataset(page)["copies"]}
    assert waiting == {"kyoto": 0, "hokkaido": 2}
    assert dataset(page)["deadline"] == "never"
    assert saga.metrics()['jbackupd_queue_points{dataset="imari/juki",peer="hokkaido"}'] == 2
    hokkaido.start()
    assert saga.call("peer.ping", peer="hokkaido")["peers"][0]["round_trip_seconds"] < 5
    saga.until(lambda page: receipted(page, 2, peers=2))


def test_a_peer_killed_in_the_middle_of_an_object_goes_on_and_nothing_is_lost(town) -> None:
    saga, kyoto, _hokkaido = town.three(limit="8Mbit/s")
    (town.data / "big").write_bytes(os.urandom(6_000_000))
    kyoto.start()

    def under_way(page) -> bool:
        sending = next(peer for peer in page["peers"] if peer["id"] == "kyoto")["sending"]
        return sending is not None and 1_000_000 < sending["bytes_done"] < sending["bytes_total"]

    saga.start().until(under_way)
    kyoto.kill()
    saga.until(lambda page: page["peers"][0]["link"] == "down")
    kyoto.start()
    saga.call("limit.set", peer="kyoto", bytes_per_second=None)
    assert saga.call("peer.ping", peer="kyoto")["peers"]
    saga.until(lambda page: receipted(page, 1, peers=1))
    assert kyoto.command("verify")["findings"] == []
    sent = saga.metrics()['jbackupd_link_sent_bytes_total{peer="kyoto"}']
    assert sent < 6_000_000 + 3_000_000


def test_the_sender_killed_in_the_middle_goes_on_after_its_restart(town) -> None:
    saga, kyoto, _hokkaido = town.three(limit="8Mbit/s")
    (town.data / "big").write_bytes(os.urandom(4_000_000))
    kyoto.start()
    saga.start().until(lambda page: page["peers"][0]["sending"] is not None)
    saga.kill()
    saga.config.write_text(saga.config.read_text().replace('limit = "8Mbit/s"\n', ""))
    saga.start().until(lambda page: receipted(page, 1, peers=1))
    assert kyoto.command("verify")["findings"] == []


def test_a_limit_is_changed_while_it_is_in_use(town) -> None:
    saga, kyoto, _hokkaido = town.three(limit="80kbit/s")
    (town.data / "big").write_bytes(os.urandom(2_000_000))
    kyoto.start()
    saga.start().until(lambda page: page["peers"][0]["sending"] is not None)
    shown = saga.command("limit", "show")["limits"]
    assert {each["peer"]: each["bytes_per_second"] for each in shown} == {"kyoto": 10_000, "hokkaido": 10_000}
    saga.command("limit", "off", "kyoto")
    saga.until(lambda page: receipted(page, 1, peers=1))


def test_a_peer_taken_in_by_a_reload_gets_everything(town) -> None:
    saga, kyoto, _hokkaido = town.three()
    full = saga.config.read_text()
    saga.config.write_text(full[: full.index("[[peer]]")])
    kyoto.start()
    saga.start().until(lambda page: dataset(page)["newest"] is not None)
    assert saga.status()["peers"] == []
    saga.config.write_text(full)
    saga.send(signal.SIGHUP)
    saga.until(lambda page: receipted(page, 1, peers=1))
    saga.config.write_text(full[: full.index("[[peer]]")])
    saga.send(signal.SIGHUP)
    assert not any("kyoto" in name for name in saga.until(lambda page: not page["peers"]))
    assert not any("kyoto" in name for name in saga.metrics())


def test_a_tenant_that_is_not_held_is_refused_and_said_so(town) -> None:
    saga, kyoto, _hokkaido = town.three()
    kyoto.config.write_text(kyoto.config.read_text().replace('holds = ["imari"]\n', ""))
    kyoto.start()
    page = saga.start().until(lambda page: page["peers"][0]["troubles"])
    trouble = page["peers"][0]["troubles"][0]
    assert (trouble["dataset"], trouble["code"]) == ("imari/juki", "refused")
    assert saga.metrics()['jbackupd_refused_datasets{peer="kyoto"}'] == 1


def test_a_stranger_under_a_peers_name_gets_no_link(town) -> None:
    saga, kyoto, hokkaido = town.three()
    text = saga.config.read_text()
    # Kyoto's name and card, at the address where Hokkaido answers.
    saga.config.write_text(text.replace(f"127.0.0.1:{kyoto.port}", f"127.0.0.1:{hokkaido.port}"))
    hokkaido.start()
    page = saga.start().until(lambda page: page["peers"][0]["error"] is not None)
    assert page["peers"][0]["error"]["code"] == "identity"
    assert page["peers"][0]["link"] == "down"


def test_pinging_a_peer_that_is_away_is_a_peer_error(town) -> None:
    saga = town.three()[0].start()
    with pytest.raises(PeerError):
        saga.call("peer.ping", peer="kyoto")
    document = saga.command("peer", "ping", expect=8)
    assert [each["round_trip_seconds"] for each in document["peers"]] == [None, None]
