"""Commands that deal with keys: shares open the vault, bad ones are named, a lost keyring is made anew."""

import os
import shutil

import pytest


@pytest.fixture
def backed(vaulted):
    vaulted.document("backup", "imari/juki", "--local")
    return vaulted


def share(town, number: int, folder: str = "shares", count: int = 3) -> str:
    return town.path(f"{folder}/imari-share-{number}-of-{count}.txt")


def given(*paths: str) -> list[str]:
    return [word for path in paths for word in ("--share", path)]


def test_show_counts_keys_without_opening_any(backed):
    document = backed.document("key", "show", "imari")
    assert (document["keyring"], document["sessions"], document["damaged"]) == (True, 1, [])
    assert len(document["recovery_key"]) == 32 and len(document["epochs"]) == 1


def test_two_shares_prove_that_they_open_every_key(backed):
    document = backed.document("key", "recover", "imari", *given(share(backed, 1), share(backed, 3)))
    assert document == {
        "schema": 1, "tenant": "imari", "shares": 2, "sessions_opened": 1, "sessions_erased": 0, "damaged": [],
        "kept": False,
    }


def test_one_share_is_not_enough(backed):
    error = backed.document("key", "recover", "imari", *given(share(backed, 2)), expected=6)["error"]
    assert error["message"] == "1 of the 2 shares of imari that are needed were given"


def test_a_mistyped_share_is_named_with_its_line_in_both_languages(backed):
    with open(share(backed, 2), encoding="ascii") as file:
        lines = file.read().splitlines()
    lines[3] = lines[3][:3] + ("A" if lines[3][3] != "A" else "B") + lines[3][4:]
    backed.write("typed.txt", "\r\n".join(lines).encode())
    call = ("key", "recover", "imari", *given(share(backed, 1), backed.path("typed.txt")))
    assert "line 2 of typed.txt is mistyped" in backed.run(*call).stderr.decode()
    done = backed.run("--language", "ja", *call)
    assert (done.returncode, "typed.txt の2行目に入力の誤りがあります" in done.stderr.decode()) == (6, True)


def test_a_share_typed_with_full_width_letters_in_a_windows_editor_is_read(backed):
    with open(share(backed, 2), encoding="ascii") as file:
        text = file.read().replace("-", "ー")
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    for encoding in ("cp932", "utf-8-sig", "utf-16"):
        backed.write("typed.txt", wide.encode(encoding))
        document = backed.document("key", "recover", "imari", *given(share(backed, 1), backed.path("typed.txt")))
        assert document["sessions_opened"] == 1


def test_a_share_of_an_older_set_or_of_another_tenant_is_named(backed):
    call = ("--shares", "2-of-3", "--share-dir")
    backed.document("key", "shares", "imari", *given(share(backed, 1), share(backed, 2)), *call, backed.path("again"))
    mixed = given(share(backed, 1), share(backed, 2, "again"))
    error = backed.document("key", "recover", "imari", *mixed, expected=6)["error"]
    assert "is of another set than" in error["message"]

    with open(backed.config, "a", encoding="utf-8") as file:
        file.write('[[tenant]]\nid = "karatsu"\n')
    backed.document("vault", "init", "karatsu", *call, backed.path("foreign"))
    foreign = backed.path("foreign/karatsu-share-1-of-3.txt")
    error = backed.document("key", "recover", "imari", *given(share(backed, 1), foreign), expected=6)["error"]
    assert error["message"] == "karatsu-share-1-of-3.txt is a share of karatsu, not of imari"


def test_a_key_can_be_shared_anew_with_other_numbers_and_sheets(backed):
    document = backed.document(
        "key", "shares", "imari", *given(share(backed, 2), share(backed, 3)), "--shares", "3-of-5",
        "--share-dir", backed.path("anew"), "--sheets",
    )
    assert (document["threshold"], len(document["shares"]), len(document["sheets"])) == (3, 5, 5)
    assert {os.stat(path).st_mode & 0o777 for path in document["shares"]} == {0o600}
    some = [share(backed, number, "anew", 5) for number in (1, 4, 5)]
    assert backed.document("key", "recover", "imari", *given(*some))["sessions_opened"] == 1
    assert backed.run("key", "recover", "imari", *given(*some[:2])).returncode == 6


def test_shares_are_not_written_among_other_files(backed):
    call = ("key", "shares", "imari", *given(share(backed, 1), share(backed, 2)), "--shares", "2-of-2")
    assert backed.run(*call, "--share-dir", backed.path("shares")).returncode == 5


def test_keys_that_are_here_are_not_replaced(backed):
    two = given(share(backed, 1), share(backed, 2))
    error = backed.document("key", "recover", "imari", *two, "--keep", expected=5)["error"]
    assert error["message"] == "the tenant imari has keys at this site already"


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_a_lost_keyring_is_made_anew_from_shares_and_backups_go_on(backed, loss):
    path = backed.path("state/keyring/imari")
    if loss == "missing":
        os.remove(path)
    else:
        with open(path, "r+b") as file:
            file.seek(40)
            file.write(b"\0\1\2\3")
    assert backed.run("backup", "imari/juki", "--local").returncode == 6

    document = backed.document("key", "recover", "imari", *given(share(backed, 1), share(backed, 2)), "--keep")
    assert document["kept"] is True
    backed.write("source/a.txt", b"second\n")
    point = backed.document("backup", "imari/juki", "--local")
    assert point["sequence"] == 2
    shutil.rmtree(backed.path("state/catalog"))
    assert backed.run("verify", "--full").returncode == 0
    assert backed.run("cat", "imari/juki", "a.txt").stdout == b"second\n"
    assert backed.run("cat", "imari/juki@1", "a.txt").stdout == b"first\n"


def test_a_damaged_key_object_costs_only_what_is_in_it_and_is_named(backed):
    backed.write("source/a.txt", b"second\n")
    backed.document("backup", "imari/juki", "--local")
    sessions = [
        os.path.join(at, name) for at, _, names in os.walk(backed.path("state/vaults/imari/keys")) for name in names
        if os.path.getsize(os.path.join(at, name)) < 1500
    ]
    with open(sessions[0], "r+b") as file:
        file.seek(100)
        old = file.read(1)[0]
        file.seek(100)
        file.write(bytes([old ^ 1]))
    name = os.path.basename(sessions[0])[:12]
    two = given(share(backed, 1), share(backed, 2))
    document = backed.document("key", "recover", "imari", *two, expected=4)
    assert document["sessions_opened"] == 1
    assert [name in text for text in document["damaged"]] == [True]
    assert backed.document("key", "show", "imari", expected=4)["sessions"] == 1


def test_a_share_that_is_not_there_is_told_before_anything_is_done(backed):
    done = backed.run("key", "recover", "imari", *given(backed.path("none.txt")))
    assert (done.returncode, "none.txt" in done.stderr.decode()) == (10, True)
