"""Retention as an operator meets it: what goes, what is told, what stays whatever happens."""

import random

from tests.operator.conftest import Town


def taken(town: Town, count: int) -> None:
    for day in range(1, count + 1):
        town.write("source/big", random.Random(day).randbytes(300_000))
        town.document("backup", "imari/juki", "--local")


def with_retention(town: Town, *lines: str) -> None:
    town.configure()
    with open(town.config, "a", encoding="utf-8") as file:
        file.write("\n".join(["[dataset.retention]", *lines, ""]))


def numbers(town: Town, *more: str) -> list[int]:
    return [point["sequence"] for point in town.document("points", "list", *more)["points"]]


def test_without_a_retention_nothing_ever_goes(town):
    town.make_vault()
    taken(town, 3)
    done = town.document("vault", "reclaim")["vaults"][0]
    assert (done["removed"], done["freed_bytes"], done["stays"]) == ([], 0, 3)
    assert numbers(town) == [1, 2, 3]


def test_what_a_dry_run_shows_is_what_goes_and_the_rest_restores(town, tmp_path):
    town.make_vault()
    taken(town, 5)
    with_retention(town, "last = 2")
    shown = town.document("vault", "reclaim", "--dry-run")["vaults"][0]
    assert [each["point"] for each in shown["would_remove"]] == [f"imari/juki@{n}" for n in (1, 2, 3)]
    done = town.document("vault", "reclaim")["vaults"][0]
    assert done["removed"] == shown["would_remove"]
    assert done["freed_bytes"] > 600_000
    assert numbers(town) == [4, 5] and numbers(town, "--removed") == [1, 2, 3, 4, 5]
    town.document("restore", "imari/juki@4", "--to", str(tmp_path / "out"))
    with open(tmp_path / "out" / "big", "rb") as file:
        assert file.read() == random.Random(4).randbytes(300_000)
    gone = town.document("restore", "imari/juki@2", "--to", str(tmp_path / "none"), expected=10)
    assert gone["error"]["code"] == "removed"
    assert town.document("verify", "--full")["findings"] == []


def test_a_held_point_stays_until_it_is_let_go(town):
    town.make_vault()
    taken(town, 3)
    with_retention(town, "last = 1")
    town.document("points", "hold", "imari/juki@1", "--reason", "audit 2026")
    town.document("vault", "reclaim")
    assert [(p["sequence"], p["held"]) for p in town.document("points", "list")["points"]] == [
        (1, "audit 2026"), (3, None),
    ]
    town.document("points", "unhold", "imari/juki@1")
    town.document("points", "unhold", "imari/juki@1", expected=10)
    town.document("vault", "reclaim")
    assert numbers(town) == [3]
    town.document("points", "hold", "imari/juki@1", "--reason", "too late", expected=10)


def test_a_frozen_vault_loses_nothing(town):
    town.make_vault()
    taken(town, 3)
    with_retention(town, "last = 1")
    town.document("vault", "freeze", "imari", "--reason", "flood")
    assert "flood" in town.document("vault", "reclaim", expected=5)["error"]["message"]
    assert town.document("vault", "usage")["vaults"][0]["frozen"] == "flood"
    town.document("vault", "unfreeze", "imari")
    town.document("vault", "reclaim")
    assert numbers(town) == [3]


def test_a_clock_that_jumped_removes_nothing_before_somebody_has_looked(town, monkeypatch):
    from datetime import timedelta

    from jbackupd.model.clock import SystemClock

    town.make_vault()
    taken(town, 3)
    with_retention(town, 'max_age = "30d"')
    now = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: now(self) + timedelta(days=3650))
    refused = town.document("vault", "reclaim", expected=5)
    assert "it may have jumped" in refused["error"]["message"]
    assert numbers(town) == [1, 2, 3]
    town.document("vault", "reclaim", "--clock-is-right")
    assert numbers(town) == [3]


def test_an_epoch_is_erased_after_a_retention_has_removed_points_of_it(town, tmp_path):
    shares = town.make_vault()["shares"]
    taken(town, 3)
    with_retention(town, "last = 2", "[reclaim]", "rewrite_below_percent = 90")
    town.document("vault", "reclaim")
    town.document("key", "rotate", "imari")
    town.document("backup", "imari/juki", "--local")
    epoch = town.document("key", "show", "imari")["epochs"][0]["name"]
    given = [word for share in shares[:2] for word in ("--share", share)]
    town.document(
        "key", "erase", "imari", epoch, *given, "--give-up", "imari/juki@2", "--asked-by", "sato", "--reason", "court",
        "--confirm", f"imari/{epoch}",
    )
    town.document("restore", "imari/juki@3", "--to", str(tmp_path / "three"), *given)
    assert (tmp_path / "three/big").read_bytes() == random.Random(3).randbytes(300_000)
    town.document("backup", "imari/juki", "--local")
    town.document("vault", "reclaim")
    assert numbers(town) == [4, 5]
    assert town.document("verify", "--full")["findings"] == []


def test_while_a_recovery_is_under_way_nothing_goes(town):
    from jbackupd.continuity.record import Beginning, RunRecord
    from jbackupd.model.clock import SystemClock
    from jbackupd.settings.plan import parse_plan
    from jbackupd.storage.files import PosixFiles
    from tests.crash.recovery import PLAN, RUN

    town.make_vault()
    taken(town, 2)
    with_retention(town, "last = 1")
    now = SystemClock().now()
    record = RunRecord.create(PosixFiles(town.path("state")), Beginning(RUN, PLAN, "", now), parse_plan(PLAN))
    refused = town.document("vault", "reclaim", expected=5)
    assert RUN in refused["error"]["message"]
    record.note_end(now, proved=True)
    record.close()
    town.document("vault", "reclaim")
    assert numbers(town) == [2]


def test_what_is_left_is_read_by_rescue_alone(town):
    shares = town.make_vault()["shares"]
    taken(town, 4)
    with_retention(town, "last = 2", "[reclaim]", "rewrite_below_percent = 90")
    town.document("vault", "reclaim")
    given = [word for share in shares[:2] for word in ("--share", share)]
    for day in (3, 4):
        done = town.run("rescue", town.path("state/vaults/imari"), f"imari/juki@{day}", "big", *given, "--to", "-")
        assert (done.returncode, done.stdout) == (0, random.Random(day).randbytes(300_000))


def test_while_somebody_reads_what_goes_is_left_to_the_next_run(town):
    from jbackupd.model.ids import TenantId
    from jbackupd.service.leases import reading

    town.make_vault()
    taken(town, 3)
    with_retention(town, "last = 1")
    with reading(town.path("state"), TenantId("imari")):
        done = town.document("vault", "reclaim", expected=3)["vaults"][0]
        assert done["removed"]
        assert done["freed_bytes"] == 0 and done["postponed_bytes"] > 300_000
    assert town.document("vault", "reclaim")["vaults"][0]["freed_bytes"] == done["postponed_bytes"]


def test_the_list_tells_when_a_point_will_go(town):
    town.make_vault()
    taken(town, 3)
    with_retention(town, 'max_age = "20d"')
    first, last = town.document("points", "list")["points"][::2]
    assert last["expires_at"] is None or first["expires_at"] <= last["expires_at"]
    assert first["expires_at"] is not None and first["expires_at"] > first["taken_at"]
    assert b"goes on" in town.run("points", "list").stdout


def test_usage_and_forecast_tell_what_takes_room_and_what_will_go(town):
    town.make_vault()
    taken(town, 4)
    with_retention(town, "last = 2")
    usage = town.document("vault", "usage")["vaults"][0]
    assert usage["datasets"][0]["points"] == 4 and usage["reclaimable_bytes"] == 0
    ahead = town.document("points", "forecast", "imari/juki", "--within", "3d")["datasets"][0]
    assert [removal["point"] for removal in ahead["removals"]][:2] == ["imari/juki@1", "imari/juki@2"]
    town.document("vault", "reclaim")
    after = town.document("vault", "usage")["vaults"][0]
    assert after["removed_points"] == 2 and after["freed_bytes"] == usage["bytes"] - after["bytes"]


def test_a_mistake_in_the_retention_is_told_with_what_was_meant(town):
    with_retention(town, "montly = 3")
    done = town.run("config", "check")
    assert done.returncode == 78 and b"did you mean 'monthly'?" in done.stderr + done.stdout
    with_retention(town, 'min_age = "30d"', 'max_age = "10d"')
    done = town.run("config", "check")
    assert done.returncode == 78 and b"make max_age the longer one" in done.stderr + done.stdout
