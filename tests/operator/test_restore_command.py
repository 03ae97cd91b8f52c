"""`jbackupd restore` by its texts and exit codes: what comes back, what is refused, what is named."""

from __future__ import annotations

import os

import pytest

CONTENT = {"a.txt": b"first\n", "folder/住民.csv": "氏名,住所\n".encode("cp932") * 100}


@pytest.fixture
def backed(vaulted):
    vaulted.document("backup", "imari/juki", "--local")
    return vaulted


def contents(folder: str) -> dict[str, bytes]:
    found = {}
    for at, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def spoil(town) -> None:
    """Let the frame of a.txt be damaged, and that of the register not: they are of different packs."""
    town.write("source/a.txt", os.urandom(100_000))
    os.utime(town.path("source/a.txt"), (1, 1))
    before = set(contents(town.path("state/vaults/imari/packs")))
    town.document("backup", "imari/juki", "--local")
    (pack,) = set(contents(town.path("state/vaults/imari/packs"))) - before
    path = town.path(f"state/vaults/imari/packs/{pack}")
    with open(path, "r+b") as file:
        file.seek(5000)
        old = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([old ^ 1]))


def test_a_restore_says_which_point_it_takes_and_brings_everything_back(backed):
    done = backed.run("restore", "imari/juki", "--to", backed.path("out"))
    assert (done.returncode, contents(backed.path("out"))) == (0, CONTENT)
    assert "point imari/juki@1, taken" in done.stderr.decode()
    assert done.stdout.decode().startswith("restored 2 files, 1 folders, 0 symlinks, ")


def test_its_document_counts_what_was_done(backed):
    document = backed.document("restore", "imari/juki@1", "folder", "--to", backed.path("out"))
    counts = (document["point"], document["files"], document["folders"], document["bytes"], document["problems"])
    assert counts == ("imari/juki@1", 1, 1, 1000, [])
    assert contents(backed.path("out")) == {"folder/住民.csv": CONTENT["folder/住民.csv"]}


def test_an_older_point_comes_back_as_it_was(backed):
    backed.write("source/a.txt", b"second\n")
    backed.document("backup", "imari/juki", "--local")
    backed.document("restore", "imari/juki@1", "--to", backed.path("out"))
    assert contents(backed.path("out")) == CONTENT


def test_a_dry_run_tells_how_much_and_makes_no_folder(backed):
    document = backed.document("restore", "imari/juki", "--to", backed.path("out"), "--dry-run")
    assert (document["files"], document["bytes"], document["dry_run"]) == (2, 1006, True)
    assert not os.path.exists(backed.path("out"))
    done = backed.run("restore", "imari/juki", "a.txt", "--to", backed.path("out"), "--dry-run")
    assert done.stdout.decode() == "1 files, 6 B\n"


def test_a_folder_that_holds_something_is_refused_in_both_languages_and_not_touched(backed):
    os.mkdir(backed.path("out"))
    backed.write("out/own.txt", b"mine")
    call = ("restore", "imari/juki", "--to", backed.path("out"))
    done = backed.run(*call)
    assert (done.returncode, "it is not empty" in done.stderr.decode()) == (5, True)
    done = backed.run("--language", "ja", *call)
    assert (done.returncode, "空ではないため" in done.stderr.decode()) == (5, True)
    assert contents(backed.path("out")) == {"own.txt": b"mine"}


@pytest.mark.parametrize(("rule", "expected"), [
    ("skip", {"a.txt": b"mine"}), ("overwrite", {"a.txt": b"first\n"}),
    ("rename", {"a.txt": b"first\n", "a.txt.jb-before-restore": b"mine"}),
])
def test_the_conflict_rule_decides_over_what_is_there(backed, rule, expected):
    os.mkdir(backed.path("out"))
    backed.write("out/a.txt", b"mine")
    backed.document("restore", "imari/juki", "--to", backed.path("out"), "--conflict", rule)
    assert contents(backed.path("out")) == CONTENT | expected


def test_a_damaged_pack_names_the_file_and_places_the_others_only(backed):
    spoil(backed)
    document = backed.document("restore", "imari/juki", "--to", backed.path("out"), expected=4)
    assert [(problem["path"], problem["code"]) for problem in document["problems"]] == [("a.txt", "damage")]
    assert contents(backed.path("out")).keys() - {".jb-restore-unfinished"} == {"folder/住民.csv"}
    assert contents(backed.path("out"))["folder/住民.csv"] == CONTENT["folder/住民.csv"]


@pytest.mark.parametrize(("language", "text"), [("en", "not restored: a.txt: "), ("ja", "復元できません: a.txt: ")])
def test_what_was_not_restored_is_told_in_the_readers_language(backed, language, text):
    spoil(backed)
    done = backed.run("--language", language, "restore", "imari/juki", "--to", backed.path("out"))
    assert (done.returncode, text in done.stderr.decode()) == (4, True), done.stderr.decode()


def test_what_a_damaged_pack_kept_back_comes_with_resume_when_it_is_whole_again(backed):
    spoil(backed)
    packs = backed.path("state/vaults/imari/packs")
    (damaged,) = [
        finding["object"] for finding in backed.document("verify", expected=4)["findings"] if finding.get("object")
    ]
    call = ("restore", "imari/juki", "--to", backed.path("out"))
    backed.document(*call, expected=4)
    (path,) = [os.path.join(packs, name) for name in contents(packs) if name.endswith(damaged.split("/")[-1])]
    with open(path, "r+b") as file:
        file.seek(5000)
        old = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([old ^ 1]))
    document = backed.document(*call, "--resume")
    assert (document["kept"], document["problems"]) == (1, [])
    with open(backed.path("source/a.txt"), "rb") as file:
        assert contents(backed.path("out"))["a.txt"] == file.read()


def test_resume_after_the_end_keeps_what_is_right(backed):
    call = ("restore", "imari/juki", "--to", backed.path("out"))
    backed.document(*call)
    document = backed.document(*call, "--resume")
    assert (document["kept"], document["problems"]) == (2, [])
    backed.write("out/a.txt", b"edited since")
    assert [problem["path"] for problem in backed.document(*call, "--resume", expected=5)["problems"]] == ["a.txt"]
    assert contents(backed.path("out"))["a.txt"] == b"edited since"


@pytest.mark.parametrize(("call", "code"), [
    (["imari/juki@9"], 10), (["imari/juki@before:2000-01-01T00:00Z"], 10), (["imari/zei"], 10), (["nobody/juki"], 10),
    (["imari/juki", "absent"], 10), (["imari"], 2), (["imari/juki", "../../etc"], 10), (["imari/juki@0"], 10),
])
def test_what_is_not_there_is_told_and_no_folder_is_made(backed, call, code):
    error = backed.document("restore", *call, "--to", backed.path("out"), expected=code)["error"]
    assert error["hint"]
    assert not os.path.exists(backed.path("out"))


def test_without_the_keyring_shares_open_the_point(backed):
    os.remove(backed.path("state/keyring/imari"))
    call = ("restore", "imari/juki", "--to", backed.path("out"))
    assert backed.document(*call, expected=6)["error"]["hint"]
    share = [backed.path(f"shares/imari-share-{number}-of-3.txt") for number in (1, 2)]
    assert backed.document(*call, "--share", share[0], expected=6)["error"]["code"] == "share"
    assert not os.path.exists(backed.path("out"))
    assert backed.document(*call, "--share", share[0], "--share", share[1])["files"] == 2
    assert contents(backed.path("out")) == CONTENT


def test_setuid_bits_come_only_when_asked_for(backed):
    os.chmod(backed.path("source/a.txt"), 0o4755)
    backed.document("backup", "imari/juki", "--local")
    assert backed.document("restore", "imari/juki", "--to", backed.path("out"))["setuid_dropped"] == 1
    assert os.stat(backed.path("out/a.txt")).st_mode & 0o7777 == 0o755
    backed.document("restore", "imari/juki", "--to", backed.path("second"), "--allow-setuid")
    assert os.stat(backed.path("second/a.txt")).st_mode & 0o7777 == 0o4755


def test_in_place_makes_right_what_differs_and_writes_nothing_else(backed):
    call = ("restore", "imari/juki", "--to", backed.path("out"))
    backed.document(*call)
    backed.write("out/a.txt", b"edited since")
    backed.write("out/own.txt", b"mine")
    document = backed.document(*call, "--in-place")
    assert (document["kept"], document["files"], document["bytes_written"]) == (1, 1, 6)
    assert contents(backed.path("out")) == CONTENT | {"own.txt": b"mine"}
    error = backed.document(*call, "--in-place", "--conflict", "skip", expected=2)["error"]
    assert "exclude each other" in error["message"]


def test_paths_are_named_in_the_encoding_of_the_source(vaulted):
    raw = "台帳/住民.csv".encode("cp932")
    folder = os.path.join(os.fsencode(vaulted.path("source")), os.path.dirname(raw))
    os.makedirs(folder)
    with open(os.path.join(folder, os.path.basename(raw)), "wb") as file:
        file.write(b"content")
    vaulted.document("backup", "imari/juki", "--local")
    assert vaulted.run("cat", "imari/juki", "台帳/住民.csv", "--encoding", "cp932").stdout == b"content"
    assert vaulted.run("cat", "imari/juki", os.fsdecode(raw), "--encoding", "cp932").stdout == b"content"
    assert vaulted.run("cat", "imari/juki", os.fsdecode(raw)).stdout == b"content"
    listed = vaulted.run("ls", "imari/juki", "台帳", "--encoding", "cp932").stdout.decode()
    assert listed.rstrip().endswith("台帳/住民.csv")
    entries = vaulted.document("ls", "imari/juki", "台帳", "-r", "--encoding", "cp932")["entries"]
    assert [(entry["type"], "path_b64" in entry) for entry in entries] == [("folder", True), ("file", True)]
    document = vaulted.document("restore", "imari/juki", "台帳", "--encoding", "cp932", "--to", vaulted.path("out"))
    assert (document["files"], document["bytes"]) == (1, 7)
    error = vaulted.document("cat", "imari/juki", "\N{SNOWMAN}", "--encoding", "cp932", expected=2)["error"]
    assert "cannot be written in cp932" in error["message"]
    assert vaulted.document("cat", "imari/juki", "x", "--encoding", "no-such", expected=2)["error"]["code"] == "usage"
