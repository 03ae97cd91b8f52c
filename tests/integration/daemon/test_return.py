"""After the disaster, with real daemons: the lost site hears of it, returns when it may, and goes on with its chain."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess, dataset, receipted

from jbackupd.model.errors import RefusedError
from tests.integration.daemon.test_recovery import (
    OFFICERS,
    declare,
    lost,  # noqa: F401 - a fixture
    plan_text,
    shares,
)


def approved(site: SiteProcess, declaration: str, tmp_path: Path, *officers: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for officer in officers or OFFICERS:
        answer = site.command(
            "site", "approve", declaration, "--key", str(tmp_path / "officers" / f"{officer}.key"),
            "--passphrase-file", str(tmp_path / "words"),
        )
    return answer


def kinds(site: SiteProcess) -> list[tuple[str, int, str]]:
    found = site.call("site.status")["declarations"]
    return [(each["kind"], each["epoch"], each["acting"]) for each in found]


def until_told(site: SiteProcess, wanted: tuple[str, int, str]) -> None:
    """Wait until a site knows a declaration; a status comes with every change."""
    site.until(lambda _page: wanted in kinds(site))


def test_a_site_that_was_only_cut_off_hears_of_it_and_returns_with_its_own_points(lost, tmp_path: Path) -> None:  # noqa: F811
    saga, kyoto, hokkaido = lost.sites
    declare(lost, tmp_path)
    document = kyoto.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1, 2))
    assert document["proved"]

    # Saga comes back with its disks. It is told of its loss and takes no point, also after a restart.
    (tmp_path / "aside").rename(saga.state)
    saga.start()
    until_told(saga, ("loss", 2, "kyoto"))
    saga.command("backup", "imari/juki", expect=5)
    saga.stop()
    saga.start()
    saga.command("backup", "imari/juki", expect=5)

    # Its return is begun where somebody acts for it, and not while the counter is open there.
    with pytest.raises(RefusedError, match="at the site that acts for it: kyoto"):
        hokkaido.call("site.declare", site="saga", reason="", acting="saga", planned=True)
    begun = kyoto.command("site", "return", "saga", "--reason", "復電")
    with pytest.raises(AssertionError, match="is open: saga cannot act for itself meanwhile"):
        approved(kyoto, begun["id"], tmp_path)
    kyoto.command("recovery", "close", document["run"])
    assert approved(kyoto, begun["id"], tmp_path)["in_force"]
    with pytest.raises(RefusedError, match="is not declared lost"):
        kyoto.call("recovery.run", plan=plan_text(0), shares=shares(tmp_path, 1, 2))

    # Saga acts again, and its chain goes on under the new epoch at both peers.
    saga.until(lambda _page: saga.call("site.status")["returning"].get("imari", {}).get("done"))
    assert kinds(saga) == [("return", 3, "saga")]
    (lost.data / "more.txt").write_text("after the return\n")
    assert saga.command("backup", "imari/juki")["sequence"] == 2
    page = saga.until(lambda page: receipted(page, 2, peers=2))
    assert dataset(page)["newest"]["sequence"] == 2


def test_a_site_that_was_rebuilt_empty_fetches_its_history_first(lost, tmp_path: Path) -> None:  # noqa: F811
    saga, kyoto, _hokkaido = lost.sites
    declare(lost, tmp_path)
    # Only the site's identity was kept elsewhere.
    saga.state.mkdir()
    shutil.copytree(tmp_path / "aside" / "site", saga.state / "site")
    (saga.state / "site" / "epochs.journal").unlink(missing_ok=True)
    saga.start()
    until_told(saga, ("loss", 2, "kyoto"))
    begun = kyoto.command("site", "return", "saga")
    assert approved(kyoto, begun["id"], tmp_path)["in_force"]
    saga.until(lambda _page: saga.call("site.status")["returning"].get("imari", {}).get("done"))
    facts = saga.call("site.status")["returning"]["imari"]
    assert facts["bytes"] > 10_000 and facts["alarms"] == []
    listed = saga.command("points", "list", "imari/juki")
    assert [point["sequence"] for point in listed["points"]] == [1]


def test_a_hand_over_loses_nothing_and_nobody_acts_twice(town, tmp_path: Path) -> None:
    from tests.integration.daemon.test_recovery import lose

    lose(town, tmp_path, holders=2)
    saga, kyoto, hokkaido = town.sites
    (tmp_path / "aside").rename(saga.state)
    saga.start()
    begun = saga.command("site", "hand-over", "--to", "kyoto", "--reason", "点検", "--out", str(tmp_path / "d"))
    # Carried to the other site first it counts for nothing there: saga has not stopped.
    for number, officer in enumerate(OFFICERS):
        saga.command(
            "site", "approve", "--declaration", str(tmp_path / "d"), "--out", str(tmp_path / f"by-{number}"),
            "--key", str(tmp_path / "officers" / f"{officer}.key"), "--passphrase-file", str(tmp_path / "words"),
        )
    answer = kyoto.command(
        "site", "declare-lost", "saga", "--approval", str(tmp_path / "by-0"), "--approval", str(tmp_path / "by-1"),
    )
    assert not answer["in_force"] and "saga has not signed that it stopped" in answer["missing"]
    assert kinds(kyoto) == []
    assert approved(saga, begun["id"], tmp_path)["in_force"]
    saga.command("backup", "imari/juki", expect=5)
    for site in (kyoto, hokkaido):
        until_told(site, ("hand-over", 2, "kyoto"))
    document = kyoto.command(
        "recovery", "run", str(plan_file(tmp_path)), "--mode", "planned", "--by", "森",
        "--share", str(tmp_path / "shares" / "imari-share-1-of-3.txt"),
        "--share", str(tmp_path / "shares" / "imari-share-3-of-3.txt"),
    )
    assert document["proved"] and (document["mode"], document["by"]) == ("planned", "森")
    # What the old site still holds can be read; nothing of it is changed.
    saga.send(signal.SIGHUP)
    assert saga.command("points", "list", "imari/juki")["points"]


def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(0))
    return path
