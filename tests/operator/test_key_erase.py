"""`key erase`: what was given up nobody reads any more, everything else comes back the same."""

import contextlib
import io
import os
import random
import shutil

import pytest

from tests.operator.conftest import Town

DAYS = 6


def rows(day: int) -> bytes:
    """Return a register of 120 kB; a fiftieth of it differs from day to day."""
    chance = random.Random(1)
    lines = [b"%06d,%06d,%06d\n" % (i, chance.randrange(10**6), chance.randrange(10**6)) for i in range(6_000)]
    for line in range(day, len(lines), 50):
        lines[line] = b"%06d,changed,%06d\n" % (line, day)
    return b"".join(lines)


def secret(day: int) -> bytes:
    return random.Random(1000 + day).randbytes(20_000)


@pytest.fixture(scope="module")
def years(tmp_path_factory) -> str:
    """Return a site's folder with points 1 to 3 in one epoch and 4 to 6 in the next."""
    town = Town(str(tmp_path_factory.mktemp("years")))
    town.make_vault()
    for day in range(1, DAYS + 1):
        take(town, day)
        if day == 3:
            town.document("key", "rotate", "imari")
    return town.folder


@pytest.fixture
def kept_for_years(years, tmp_path) -> Town:
    """Return a copy of that site."""
    folder = str(tmp_path / "site")
    shutil.copytree(years, folder)
    return Town(folder)


def take(town: Town, day: int) -> None:
    town.write("source/juki.csv", rows(day))
    town.write("source/secret.bin", secret(day))
    town.document("backup", "imari/juki", "--local")


def given(town, *numbers: int, folder: str = "shares") -> list[str]:
    return [word for n in numbers for word in ("--share", town.path(f"{folder}/imari-share-{n}-of-3.txt"))]


def first_epoch(town) -> str:
    return town.document("key", "show", "imari")["epochs"][0]["name"]


def erase(town, *options: str, epoch: str = "", folder: str = "shares", expected: int = 0) -> dict:
    epoch = epoch or first_epoch(town)
    call = ("key", "erase", "imari", epoch, *given(town, 1, 2, folder=folder), *options)
    who = ("--asked-by", "佐藤 (戸籍係)", "--reason", "保存期間満了", "--confirm", f"imari/{epoch}")
    return town.document(*call, *(() if "--dry-run" in options else who), expected=expected)


def give_up(*days: int) -> list[str]:
    return [word for day in days for word in ("--give-up", f"imari/juki@{day}")]


def check_day(town, day: int, target: str, *options: str) -> None:
    """Restore a day and compare it with what was taken."""
    done = town.run("restore", f"imari/juki@{day}", "--to", town.path(target), *options)
    assert done.returncode == 0, done.stderr.decode()
    for name, content in (("juki.csv", rows(day)), ("secret.bin", secret(day)), ("a.txt", b"first\n")):
        with open(os.path.join(town.path(target), name), "rb") as file:
            assert file.read() == content


def test_without_points_to_give_up_nothing_is_lost(kept_for_years):
    document = erase(kept_for_years)
    assert (document["points_lost"], len(document["points_kept"]), document["packs_lost"]) == ([], 3, 0)
    for day in range(1, DAYS + 1):
        check_day(kept_for_years, day, f"own{day}")
        check_day(kept_for_years, day, f"shares{day}", *given(kept_for_years, 1, 3))


def test_what_is_given_up_is_unreadable_with_all_shares_and_the_whole_vault(kept_for_years):
    town = kept_for_years
    before = town.path("state/vaults/imari/keys")
    shutil.copytree(before, town.path("keys-before"))
    document = erase(town, *give_up(1, 2))
    assert [lost["point"] for lost in document["points_lost"]] == ["imari/juki@1", "imari/juki@2"]
    assert document["packs_rewritten"] >= 1 and document["unneeded_bytes"] > 20_000

    everybody = given(town, 1, 2, 3)
    for day in (1, 2):
        for keys in ((), tuple(everybody)):
            error = town.document(
                "restore", f"imari/juki@{day}", "--to", town.path("none"), *keys, expected=6
            )["error"]
            assert (error["code"], "was erased on" in error["message"]) == ("erased", True)
        assert town.run("rescue", town.path("state/vaults/imari"), f"imari/juki@{day}", *everybody).returncode == 6
    for day in range(3, DAYS + 1):
        check_day(town, day, f"own{day}")
        check_day(town, day, f"shares{day}", *everybody)
    done = town.run("rescue", town.path("state/vaults/imari"), "imari/juki@3", *everybody, "--to", town.path("rescued"))
    assert done.returncode == 0, done.stderr.decode()
    with open(town.path("rescued/juki.csv"), "rb") as file:
        assert file.read() == rows(3)


def test_an_old_copy_of_the_vault_still_opens_and_old_keys_brought_back_are_destroyed_again(kept_for_years):
    """Whoever has the shares and a copy of before reads it: that is why the record names what must go elsewhere."""
    town = kept_for_years
    shutil.copytree(town.path("state/vaults/imari"), town.path("copy"))
    erase(town, *give_up(1, 2))
    everybody = given(town, 1, 2)
    assert town.run("rescue", town.path("copy"), "imari/juki@1", *everybody, "--to", town.path("old")).returncode == 0
    with open(town.path("old/juki.csv"), "rb") as file:
        assert file.read() == rows(1)

    keys = town.path("state/vaults/imari/keys")
    (record,) = town.document("key", "show", "imari")["erasures"]
    for name in record["key_objects_destroyed"]:
        shutil.copy(town.path(f"copy/keys/{name}"), keys)
    town.document("backup", "imari/juki", "--local")
    assert not set(record["key_objects_destroyed"]) & set(os.listdir(keys))
    for day in range(3, DAYS + 1):
        check_day(town, day, f"own{day}")


def test_no_frame_that_any_key_opens_holds_what_was_given_up(kept_for_years):
    """Small files lie in one frame with others, later frames are deltas against earlier ones: neither keeps them."""
    from jbackupd.cli.rescue import Vault
    from jbackupd.codec.shares import Share
    from jbackupd.model.errors import JbackupdError

    def readable(town) -> bytes:
        shares = []
        for number in (1, 2):
            with open(town.path(f"shares/imari-share-{number}-of-3.txt"), "rb") as file:
                shares.append(Share.from_file(file.read(), source=""))
        vault = Vault(town.path("state/vaults/imari"), shares)
        vault._moved = {}
        with contextlib.redirect_stderr(io.StringIO()):
            vault._find_frames()
        found = []
        for frame in vault._places:
            with contextlib.suppress(JbackupdError):
                found.append(vault._frame(frame))
        return b"".join(found)

    town = kept_for_years
    before = readable(town)
    assert all(secret(day)[1000:1100] in before and b"changed,%06d" % day in before for day in range(1, DAYS + 1))
    erase(town, *give_up(1, 2))
    after = readable(town)
    for day in range(1, DAYS + 1):
        assert (secret(day)[1000:1100] in after, b"changed,%06d" % day in after) == (day > 2, day > 2)


def test_backups_verify_and_another_recovery_key_go_on_after_it(kept_for_years):
    town = kept_for_years
    erase(town, *give_up(1, 2))
    for day in (7, 8):
        take(town, day)
    done = town.run("verify", "--full")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    shutil.rmtree(town.path("state/catalog"))
    call = ("--recovery", *given(town, 1, 2), "--shares", "2-of-3", "--share-dir", town.path("new"))
    town.document("key", "rotate", "imari", *call)
    town.document("backup", "imari/juki", "--local")
    shutil.rmtree(town.path("state/keyring"))
    shutil.rmtree(town.path("state/catalog"), ignore_errors=True)
    for day in range(3, 9):
        check_day(town, day, f"new{day}", *given(town, 1, 2, folder="new"))
    call = ("restore", "imari/juki@1", "--to", town.path("x"), *given(town, 1, 2, folder="new"))
    error = town.document(*call, expected=6)
    assert error["error"]["code"] == "erased"


def test_epochs_are_erased_one_after_another(kept_for_years):
    """What the first erasure kept is sealed to the second epoch: it is kept anew when that one goes."""
    town = kept_for_years
    erase(town, *give_up(1))
    town.document("key", "rotate", "imari")
    take(town, 7)
    second = town.document("key", "show", "imari")["epochs"][1]["name"]
    document = erase(town, *give_up(2, 5), epoch=second)
    assert [lost["point"] for lost in document["points_lost"]] == ["imari/juki@2", "imari/juki@5"]
    for day in (3, 4, 6, 7):
        check_day(town, day, f"own{day}")
        check_day(town, day, f"shares{day}", *given(town, 2, 3))
    for day in (1, 2, 5):
        assert town.run("restore", f"imari/juki@{day}", "--to", town.path("x"), *given(town, 2, 3)).returncode == 6
    assert len(town.document("key", "show", "imari")["erasures"]) == 2


def test_the_record_tells_who_why_and_how_much(kept_for_years):
    town = kept_for_years
    epoch = first_epoch(town)
    erase(town, *give_up(2))
    document = town.document("key", "show", "imari")
    (record,) = document["erasures"]
    assert (record["epoch"], record["points_lost"], record["points_kept"]) == (epoch, ["imari/juki@2"], 2)
    assert (record["asked_by"], record["reason"], record["shares"]) == ("佐藤 (戸籍係)", "保存期間満了", [1, 2])
    (content,) = record["contents"]
    assert (content["point"], content["files"]) == ("imari/juki@2", 4)
    assert document["epochs"][0]["erased_at"] == record["erased_at"]
    listed = {point["sequence"]: point["erased_at"] for point in town.document("points", "list")["points"]}
    assert [sequence for sequence, erased in listed.items() if erased] == [2]
    for language, word in (("en", "erased on 2"), ("ja", "に消去")):
        assert word in town.run("--language", language, "points", "list").stdout.decode()
        assert word in town.run("--language", language, "points", "show", "imari/juki@2").stdout.decode()
    assert town.document("points", "show", "imari/juki@2")["statistics"] is None
    assert town.document("points", "show", "imari/juki@3")["statistics"]["files"] == 4
    # A site without the tenant's keys sees what was lost, but not who and why.
    shutil.rmtree(town.path("state/keyring"))
    (sealed,) = town.document("key", "show", "imari")["erasures"]
    assert (sealed["points_lost"], sealed["asked_by"], sealed["reason"]) == (["imari/juki@2"], None, None)


def test_a_dry_run_shows_the_same_and_changes_nothing(kept_for_years):
    town = kept_for_years
    before = {os.path.join(at, n) for at, _, names in os.walk(town.path("state/vaults")) for n in names}
    document = erase(town, *give_up(1, 2), "--dry-run")
    assert {os.path.join(at, n) for at, _, names in os.walk(town.path("state/vaults")) for n in names} == before
    done = erase(town, *give_up(1, 2))
    assert {name: done[name] for name in document if name != "dry_run"} == {
        name: value for name, value in document.items() if name != "dry_run"
    }


def test_what_is_refused(kept_for_years):
    town = kept_for_years
    epochs = [epoch["name"] for epoch in town.document("key", "show", "imari")["epochs"]]
    assert erase(town, epoch=epochs[1], expected=5)["error"]["message"].endswith("it is the current one")
    assert erase(town, *give_up(5), expected=5)["error"]["message"].startswith("unable to give up imari/juki@5")
    assert erase(town, epoch="1999", expected=10)
    one = town.run("key", "erase", "imari", epochs[0], *given(town, 1), "--dry-run")
    assert one.returncode == 6
    wrong = ("--asked-by", "x", "--reason", "y", "--confirm", "imari/2000")
    assert town.run("key", "erase", "imari", epochs[0], *given(town, 1, 2), *wrong).returncode == 2
    assert town.run("key", "erase", "imari", epochs[0], *given(town, 1, 2)).returncode == 2
    for day in range(1, DAYS + 1):
        check_day(town, day, f"own{day}")
    erase(town, *give_up(1))
    assert erase(town, expected=5)["error"]["message"].endswith("was erased before")


def test_a_retained_point_that_cannot_be_read_is_not_lost_unasked(kept_for_years):
    town = kept_for_years
    folder = town.path("state/vaults/imari/points")
    name = next(p["name"] for p in town.document("points", "list")["points"] if p["sequence"] == 2)
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[:-1])
    assert erase(town, expected=4)
    with open(path, "wb") as file:
        file.write(data)
    erase(town, *give_up(2))
    check_day(town, 1, "own1")


def test_a_keyring_made_anew_after_an_erasure_goes_on_with_what_was_kept(kept_for_years):
    town = kept_for_years
    erase(town, *give_up(1, 2))
    (record,) = town.document("key", "show", "imari")["erasures"]
    shutil.rmtree(town.path("state/keyring"))
    shutil.rmtree(town.path("state/catalog"))
    recovered = town.document("key", "recover", "imari", *given(town, 1, 3), "--keep")
    assert (recovered["kept"], recovered["sessions_erased"]) == (True, 3)
    take(town, 7)
    assert town.run("verify", "--full").returncode == 0
    for day in range(3, 8):
        check_day(town, day, f"own{day}")
    assert not set(record["key_objects_destroyed"]) & set(os.listdir(town.path("state/vaults/imari/keys")))


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_nothing_is_erased_while_a_pack_is_missing_or_damaged(kept_for_years, loss):
    town = kept_for_years
    packs = [os.path.join(at, n) for at, _, names in os.walk(town.path("state/vaults/imari/packs")) for n in names]
    path = max(packs, key=os.path.getsize)
    with open(path, "rb") as file:
        data = file.read()
    os.remove(path)
    if loss == "damaged":
        with open(path, "wb") as file:
            file.write(data[:-300] + bytes(300))
    erase(town, *give_up(1), expected=4)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    for day in range(1, DAYS + 1):
        check_day(town, day, f"own{day}")
    erase(town, *give_up(1))
    check_day(town, 2, "after")
