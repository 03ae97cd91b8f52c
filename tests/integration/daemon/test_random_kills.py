"""Daemons killed at random moments: every point that was reported is there, everywhere, and whole."""

from __future__ import annotations

import random
import threading

import pytest
from daemons import receipted

from jbackupd.model.errors import JbackupdError


def kill_and_restart(town, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    sites = town.three()
    saga = sites[0]
    for site in sites:
        site.start()
    reported = 0
    for round_ in range(kills):
        (town.data / f"file{round_ % 5}").write_bytes(chance.randbytes(chance.randrange(1, 3_000_000)))
        victim = chance.choice(sites)
        # A moment by chance, not a wait for something: the kill may come before, in, or after the backup.
        timer = threading.Timer(chance.uniform(0, 0.6), victim.kill)
        timer.start()
        try:
            reported = max(reported, saga.call("backup", dataset="imari/juki")["sequence"])
        except (JbackupdError, OSError):
            assert victim is saga, saga.log()
        timer.join()
        victim.start()
    last = saga.call("backup", dataset="imari/juki")["sequence"]
    assert last > reported
    for peer in ("kyoto", "hokkaido"):
        saga.call("peer.ping", peer=peer)
    saga.until(lambda page: receipted(page, last, peers=2))
    for site in sites:
        points = [point["sequence"] for point in site.command("points", "list", "imari/juki")["points"]]
        assert points == list(range(1, last + 1))
        assert site.command("verify")["findings"] == []
    assert saga.command("verify", "imari/juki", "--full")["findings"] == []


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_over_a_few_kills(town, seed: int) -> None:
    kill_and_restart(town, kills=6, seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_nothing_is_lost_over_a_thousand_kills(town) -> None:
    kill_and_restart(town, kills=1000, seed=20261123)
