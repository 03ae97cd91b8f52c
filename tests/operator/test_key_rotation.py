"""`key rotate` and `key rehearse`, as officers and operators do them."""

import os
import shutil

import pytest


@pytest.fixture
def backed(vaulted):
    vaulted.document("backup", "imari/juki", "--local")
    return vaulted


def given(town, *numbers: int, folder: str = "shares") -> list[str]:
    """Return the options that name shares of a folder."""
    return [word for n in numbers for word in ("--share", town.path(f"{folder}/imari-share-{n}-of-3.txt"))]


def change_recovery(town, folder: str = "new", old: str = "shares") -> dict:
    call = ("--recovery", *given(town, 1, 2, folder=old), "--shares", "2-of-3", "--share-dir", town.path(folder))
    return town.document("key", "rotate", "imari", *call)


def take(town, text: bytes) -> dict:
    town.write("source/a.txt", text)
    return town.document("backup", "imari/juki", "--local")


def epochs(town) -> dict[str, dict]:
    return {epoch["name"]: epoch for epoch in town.document("key", "show", "imari")["epochs"]}


def test_later_points_are_sealed_to_the_epoch_that_was_begun(backed):
    (year,) = epochs(backed)
    assert epochs(backed)[year]["current"] is True
    assert backed.document("key", "rotate", "imari")["epoch"] == f"{year}-2"
    take(backed, b"second\n")
    assert backed.document("key", "rotate", "imari")["epoch"] == f"{year}-3"
    found = epochs(backed)
    assert [(name, epoch["points"], epoch["current"]) for name, epoch in found.items()] == [
        (year, 1, False), (f"{year}-2", 1, False), (f"{year}-3", 0, True),
    ]
    assert all(len(epoch["recipients"]) == 1 for epoch in found.values())
    assert backed.document("key", "rehearse", "imari", *given(backed, 1, 3))["sessions_opened"] == 2


def test_with_a_daemon_at_work_the_next_point_begins_the_epoch(backed):
    from jbackupd.service.lock import state_lock

    with state_lock(backed.path("state")):
        done = backed.run("key", "rotate", "imari")
        assert (done.returncode, "begins a new epoch with the next point" in done.stderr.decode()) == (0, True)
    take(backed, b"second\n")
    take(backed, b"third\n")
    assert [(epoch["points"], epoch["current"]) for epoch in epochs(backed).values()] == [(1, False), (2, True)]


def test_new_shares_open_everything_and_old_ones_nothing_new(backed):
    done = change_recovery(backed)
    assert done["recovery_number"] == 2
    take(backed, b"second\n")
    new, old = given(backed, 2, 3, folder="new"), given(backed, 1, 2)
    assert backed.document("key", "recover", "imari", *new)["sessions_opened"] == 2

    shutil.rmtree(backed.path("state/keyring"))
    for point, content in (("imari/juki@1", b"first\n"), ("imari/juki@2", b"second\n")):
        assert backed.run("restore", point, "a.txt", "--to", backed.path(f"out{point[-1]}"), *new).returncode == 0
        with open(backed.path(f"out{point[-1]}/a.txt"), "rb") as file:
            assert file.read() == content

    refused = backed.document("restore", "imari/juki@2", "--to", backed.path("out3"), *old, expected=6)["error"]
    assert refused["message"].startswith("the shares are of an earlier recovery key: since ")
    assert refused["hint"].startswith(f"use 2 shares of the set {done['set']};")
    # Who has the old shares and an old copy of the key objects still reads what is older.
    assert backed.run("restore", "imari/juki@1", "--to", backed.path("out4"), *old).returncode == 0


def test_old_shares_prove_nothing_and_are_not_kept_any_more(backed):
    done = change_recovery(backed)
    for call in (("recover", "imari"), ("recover", "imari", "--keep"), ("rehearse", "imari")):
        error = backed.document("key", *call, *given(backed, 1, 2), expected=6)["error"]
        assert done["set"] in error["hint"]
    again = ("--recovery", *given(backed, 1, 3), "--shares", "2-of-2", "--share-dir", backed.path("third"))
    assert backed.run("key", "rotate", "imari", *again).returncode == 6
    assert not os.path.exists(backed.path("third")) or not os.listdir(backed.path("third"))


def test_a_recovery_key_can_follow_another_one_again_and_again(backed):
    change_recovery(backed)
    take(backed, b"second\n")
    assert change_recovery(backed, "third", old="new")["recovery_number"] == 3
    take(backed, b"third\n")
    document = backed.document("key", "show", "imari")
    assert (document["recovery_number"], document["share_set"]["threshold"]) == (3, 2)
    shutil.rmtree(backed.path("state/keyring"))
    for number, content in enumerate((b"first\n", b"second\n", b"third\n"), 1):
        target = backed.path(f"out{number}")
        assert backed.run(
            "restore", f"imari/juki@{number}", "--to", target, *given(backed, 1, 2, folder="third")
        ).returncode == 0
        with open(os.path.join(target, "a.txt"), "rb") as file:
            assert file.read() == content
    middle = given(backed, 1, 2, folder="new")
    assert backed.run("restore", "imari/juki@2", "--to", backed.path("m2"), *middle).returncode == 0
    assert backed.run("restore", "imari/juki@3", "--to", backed.path("m3"), *middle).returncode == 6


def test_the_keys_of_a_point_are_all_that_the_newest_shares_need(backed):
    """A holder gets the newest point's objects: with those alone the older points open too."""
    change_recovery(backed)
    take(backed, b"second\n")
    needed = backed.document("points", "show", "imari/juki@2")["needed_objects"]
    first = backed.document("points", "show", "imari/juki@1")["needed_objects"]
    assert needed > first
    shutil.rmtree(backed.path("state/keyring"))
    shutil.rmtree(backed.path("state/catalog"))
    assert backed.document("key", "recover", "imari", *given(backed, 1, 3, folder="new"), "--keep")["kept"] is True
    take(backed, b"third\n")
    assert backed.run("verify", "--full").returncode == 0
    assert backed.run("cat", "imari/juki@1", "a.txt").stdout == b"first\n"


def test_rescue_reads_with_the_new_shares(backed):
    change_recovery(backed)
    take(backed, b"second\n")
    vault = backed.path("state/vaults/imari")
    call = ("rescue", vault, "imari/juki", *given(backed, 1, 2, folder="new"), "--to", backed.path("rescued"))
    assert backed.run(*call).returncode == 0
    with open(backed.path("rescued/a.txt"), "rb") as file:
        assert file.read() == b"second\n"


def test_a_rehearsal_is_dated_and_a_failed_one_too(backed):
    assert backed.document("key", "show", "imari")["last_rehearsal"] is None
    assert backed.run("key", "rehearse", "imari", *given(backed, 1)).returncode == 6
    assert backed.document("key", "show", "imari")["last_rehearsal"] is None
    made = backed.document("key", "show", "imari")["share_set"]
    assert (made["threshold"], made["count"]) == (2, 3)
    document = backed.document("key", "rehearse", "imari", *given(backed, 1, 2))
    assert document == {
        "schema": 1, "tenant": "imari", "recovery_key": backed.document("key", "show", "imari")["recovery_key"],
        "set": made["set"], "shares": 2, "sessions_opened": 1, "sessions_erased": 0, "damaged": [],
    }
    last = backed.document("key", "show", "imari")["last_rehearsal"]
    assert (last["set"], last["shares"]) == (made["set"], [1, 2])
    change_recovery(backed)
    assert backed.document("key", "show", "imari")["last_rehearsal"] is None
    results = [name.split("-")[1] for name in sorted(os.listdir(backed.path("state/keylog/imari")))]
    assert results == ["made", "rehearsed", "rehearsed", "made"]


def test_options_that_do_not_fit_are_told(backed):
    assert backed.run("key", "rotate", "imari", "--recovery").returncode == 2
    assert backed.run("key", "rotate", "imari", *given(backed, 1, 2)).returncode == 2


def test_people_read_it_in_both_languages(backed):
    change_recovery(backed)
    take(backed, b"second\n")
    for language, word in (("en", "recovery key number 2"), ("ja", "復旧鍵は2番目")):
        shown = backed.run("--language", language, "key", "show", "imari")
        assert (shown.returncode, word in shown.stdout.decode()) == (0, True)
