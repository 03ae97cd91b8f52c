"""Sites that join after a retention has removed points: they get what there is, and say what they never had."""

from __future__ import annotations

import asyncio
import random

import pytest

from jbackupd.codec.signing import SiteSigner
from jbackupd.engine.fetch import fetch
from jbackupd.model.errors import MissingObjectError, NotFoundError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList
from tests.integration.keys.test_keys_at_peers import IMARI, JUKI, Near, TwoSites


@pytest.fixture
def town(tmp_path) -> TwoSites:
    made = TwoSites(str(tmp_path))
    made.make_vault()
    for day in range(1, 5):
        made.write("source/scan", random.Random(day).randbytes(1_200_000))
        made.take(day)
    return made


def reclaim(town: TwoSites) -> None:
    with open(town.config, "a", encoding="utf-8") as file:
        file.write("[dataset.retention]\nlast = 2\n")
    assert len(town.document("vault", "reclaim")["vaults"][0]["removed"]) == 2


def numbers(site, *more: str) -> list[int]:
    return [point["sequence"] for point in site.document("points", "list", *more)["points"]]


def test_a_site_that_joins_later_holds_what_is_left_and_names_what_it_never_had(town) -> None:
    reclaim(town)
    town.take(5)
    sent = town.send("osaka")
    assert sent >= 1
    osaka = town.at("osaka")
    assert numbers(osaka)[-1] == 5 and numbers(osaka, "--removed") == [1, 2, 3, 4, 5]
    assert 1 not in numbers(osaka)
    assert osaka.document("verify")["findings"] == []
    # From here on it is a peer like any other.
    town.take(6)
    assert town.send("osaka") == 1 and numbers(osaka)[-1] == 6
    assert town.send("osaka") == 0


def test_a_site_that_lagged_behind_goes_on_from_where_it_was(town) -> None:
    assert town.send("osaka") == 4
    town.take(5)
    town.take(6)
    reclaim_more = "[dataset.retention]\nlast = 1\nwait_for_peers = false\n"
    with open(town.config, "a", encoding="utf-8") as file:
        file.write(reclaim_more)
    town.document("vault", "reclaim")
    town.take(7)
    assert town.send("osaka") >= 1
    osaka = town.at("osaka")
    assert {1, 2, 3, 4, 7} <= set(numbers(osaka))
    assert osaka.document("verify")["findings"] == []


def test_a_recovery_site_fetches_what_is_left_and_refuses_when_the_newest_is_not_whole(town) -> None:
    reclaim(town)
    town.take(5)
    town.send("osaka")
    osaka = Near(town, "osaka")
    signer = SiteSigner(b"k" * 64)
    verifiers = {**osaka.verifiers, SiteId("kobe"): signer.public}
    store = ObjectStore(PosixFiles(town.path("kobe")), "vaults/imari")
    store.create()
    author = Authorship(SiteId("kobe"), 1, signer)
    asyncio.run(fetch(osaka, store, IMARI, verifiers=verifiers, author=author))
    assert [point.header.sequence for point in PointList(store, verifiers).chain(JUKI)] == [1, 2, 3, 4, 5]
    assert len(removed_points(store, verifiers)) == len(removed_points(ObjectStore(
        PosixFiles(town.path("osaka")), "vaults/imari"), osaka.verifiers))
    held = ObjectStore(PosixFiles(town.path("osaka")), "vaults/imari")
    lost = next(ref for ref in sorted(PointList(held, osaka.verifiers).needed(JUKI, 5)) if held.has(ref))
    held.remove([lost])
    empty = ObjectStore(PosixFiles(town.path("nara")), "vaults/imari")
    empty.create()
    with pytest.raises((MissingObjectError, NotFoundError)):
        asyncio.run(fetch(osaka, empty, IMARI, verifiers=verifiers, author=author))
