"""A vault worked with by the real command: made, filled, looked at, verified, damaged."""

import os
import select
import signal
import subprocess
import sys

import pytest


def test_init_makes_vault_and_shares_and_says_what_to_do_with_them(town):
    done = town.run("vault", "init", "imari", "--shares", "2-of-3", "--share-dir", town.path("shares"), "--sheets")
    assert done.returncode == 0, done.stderr
    paths = done.stdout.decode().split("\n")[:-1]
    assert len(paths) == 6
    for path in paths:
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(town.path("shares")).st_mode & 0o777 == 0o700
    assert b"give each share to another person" in done.stderr


def test_init_never_overwrites_keys_or_shares(vaulted):
    again = vaulted.make_vault("new", expected=5)
    assert again["error"]["code"] == "refused"
    assert not os.path.exists(vaulted.path("new"))


def test_init_does_not_touch_a_share_folder_that_holds_something(town):
    os.mkdir(town.path("shares"))
    town.write("shares/other", b"x")
    refused = town.make_vault(expected=5)
    assert refused["error"]["code"] == "refused"
    # Nothing was made that would stand in the way of the next try.
    town.make_vault("better")


@pytest.mark.parametrize("shares", ["3", "1-of-3", "4-of-3", "2-of-17", "２-of-３"])
def test_init_refuses_shares_that_make_no_sense(town, shares):
    town.document("vault", "init", "imari", "--shares", shares, "--share-dir", town.path("shares"), expected=2)


def test_init_of_a_tenant_that_is_not_configured_names_those_that_are(town):
    refused = town.document("vault", "init", "imary", "--shares", "2-of-3", "--share-dir", town.path("s"), expected=10)
    assert "imari" in refused["error"]["hint"]


def test_a_backup_is_a_document_with_what_a_peer_would_have_to_receive(vaulted):
    first = vaulted.document("backup", "imari/juki", "--local")
    wanted = {"point", "sequence", "source_bytes", "new_object_bytes", "files", "unreadable_files", "seconds"}
    assert first.keys() >= wanted
    assert (first["point"], first["sequence"], first["files"], first["unreadable_files"]) == ("imari/juki@1", 1, 2, 0)
    assert first["source_bytes"] == 6 + 1000
    second = vaulted.document("backup", "--local")
    assert (second["sequence"], second["new_object_bytes"] < first["new_object_bytes"]) == (2, True)


@pytest.mark.parametrize(("language", "said"), [("en", "1 file changed while"), ("ja", "変更されたファイル: 1")])
def test_a_file_that_changed_while_it_was_read_is_stored_and_counted(vaulted, monkeypatch, language, said):
    from jbackupd.sources.opening import FileReader

    read = FileReader.read

    def touched(reader, length):
        moment = os.stat(vaulted.path("source/a.txt")).st_mtime_ns + 1_000_000
        os.utime(vaulted.path("source/a.txt"), ns=(moment, moment))
        return read(reader, length)

    monkeypatch.setattr(FileReader, "read", touched)
    for dry in ([], ["--dry-run"]):
        document = vaulted.document("backup", "--local", *dry)
        assert (document["changed_files"], document["files"], document["unreadable_files"]) == (1, 2, 0)
    done = vaulted.run("backup", "--local", "--language", language)
    assert (done.returncode, said in done.stdout.decode()) == (0, True)


def test_a_dry_run_has_the_shape_of_the_real_one_and_stores_nothing(vaulted):
    dry = vaulted.document("backup", "--local", "--dry-run")
    assert (dry["point"], dry["files"], dry["source_bytes"]) == (None, 2, 1006)
    assert vaulted.document("points", "list")["points"] == []
    assert vaulted.document("backup", "--local").keys() >= dry.keys()


def test_a_file_that_cannot_be_taken_makes_the_point_incomplete_and_is_named(vaulted):
    os.mkfifo(vaulted.path("source/pipe"))
    incomplete = vaulted.document("backup", "imari/juki", "--local", expected=3)
    assert (incomplete["unreadable_files"], incomplete["unreadable"][0]["path"]) == (1, "pipe")
    done = vaulted.run("backup", "--local")
    assert (done.returncode, b"not taken: pipe" in done.stdout) == (3, True)
    assert [point["incomplete"] for point in vaulted.document("points", "list")["points"]] == [True, True]
    assert vaulted.document("points", "show", "imari/juki")["statistics"]["unreadable"][0]["path"] == "pipe"


def test_a_command_that_fails_or_says_nothing_leaves_no_point(vaulted):
    for command in ('["false"]', '["true"]'):
        vaulted.configure(f'kind = "command", command = {command}, file_name = "dump.sql"')
        assert vaulted.document("backup", "--local", expected=1)["error"]["code"] == "source"
    vaulted.configure('kind = "command", command = ["echo", "x"], file_name = "dump.sql"')
    assert vaulted.document("backup", "--local")["sequence"] == 1
    assert vaulted.run("cat", "imari/juki", "dump.sql").stdout == b"x\n"


def test_one_dataset_in_trouble_does_not_keep_the_others_from_their_points(vaulted):
    with open(vaulted.config, "a", encoding="utf-8") as file:
        file.write('[[dataset]]\nid = "imari/zei"\ntier = 1\nsource = { kind = "files", paths = ["absent"] }\n')
    both = vaulted.document("backup", "--local", expected=1)["backups"]
    assert [backup["dataset"] for backup in both] == ["imari/zei", "imari/juki"]
    assert (both[0]["error"]["code"], both[1]["point"]) == ("source", "imari/juki@1")


def test_without_a_daemon_backup_says_so_and_names_local(vaulted):
    missing = vaulted.document("backup", expected=10)
    assert "--local" in missing["error"]["hint"]


def test_points_and_files_are_listed_and_read_back_exactly(vaulted):
    vaulted.document("backup", "--local")
    vaulted.write("source/a.txt", b"second\n")
    vaulted.document("backup", "--local")
    assert [point["point"] for point in vaulted.document("points", "list", "imari/juki")["points"]] == [
        "imari/juki@1", "imari/juki@2",
    ]  # fmt: skip
    entries = vaulted.document("ls", "imari/juki@1")["entries"]
    assert [(entry["path"], entry["type"]) for entry in entries] == [("a.txt", "file"), ("folder", "folder")]
    assert vaulted.run("cat", "imari/juki@1", "a.txt").stdout == b"first\n"
    latest = vaulted.run("cat", "imari/juki@latest", "a.txt")
    assert latest.stdout == b"second\n"
    assert b"point imari/juki@2, taken" in latest.stderr
    assert vaulted.run("cat", "imari/juki", "folder/住民.csv").stdout == "氏名,住所\n".encode("cp932") * 100


NOT_THERE = [
    ("cat imari/juki absent", 10), ("cat imari/juki folder", 2), ("ls imari/juki@9", 10), ("ls imari/juki absent", 10),
    ("ls imari", 2), ("ls nobody/juki", 10), ("ls imari/juki@before:2000-01-01T00:00Z", 10),
    ("points list imari/zei", 10), ("ls imari/juki --encoding cp9999", 2), ("backup imari/zei --local", 10),
    ("verify imari/zei", 10), ("vault rebuild-catalog nobody", 10),
]  # fmt: skip


def test_what_is_not_there_is_said_with_its_own_code_and_what_to_do(vaulted):
    vaulted.document("backup", "--local")
    for call, code in NOT_THERE:
        assert vaulted.document(*call.split(), expected=code)["error"]["hint"], call


def test_verify_proves_every_byte_and_info_counts_them(vaulted):
    vaulted.document("backup", "--local")
    fine = vaulted.document("verify", "--full")
    assert (fine["points"], fine["files"], fine["findings"]) == (1, 2, [])
    (vault,) = vaulted.document("vault", "info")["vaults"]
    assert fine["objects"] == sum(kind["count"] for kind in vault["objects"].values())
    assert (vault["tenant"], vault["own"], vault["datasets"]) == (
        "imari", True, [{"dataset": "imari/juki", "points": 1}],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["packs", "indexes", "points", "keys"])
def test_one_flipped_bit_in_any_object_is_found_and_named_with_what_needs_it(vaulted, kind):
    vaulted.document("backup", "--local")
    name = vaulted.flip(kind)
    for arguments in (["verify"], ["verify", "imari/juki"]):
        found = vaulted.document(*arguments, expected=4)["findings"]
        assert name in [finding.get("object") for finding in found]
    if kind != "points":
        assert any("imari/juki@1" in finding["points"] for finding in found)
    done = vaulted.run("verify")
    assert (done.returncode, name.encode() in done.stdout) == (4, True)


def test_a_flipped_bit_is_never_read_out_as_right(vaulted):
    vaulted.write("source/a.txt", os.urandom(200_000))
    vaulted.document("backup", "--local")
    vaulted.flip("packs", byte=5000)
    with open(vaulted.path("source/a.txt"), "rb") as file:
        right = file.read()
    done = vaulted.run("cat", "imari/juki", "a.txt")
    assert done.returncode == 4
    assert right.startswith(done.stdout)


def test_a_catalog_is_rebuilt_from_the_vault_alone_and_answers_the_same(vaulted):
    vaulted.document("backup", "--local")
    before = vaulted.document("ls", "-r", "imari/juki")
    for folder, _folders, names in os.walk(vaulted.path("state/catalog")):
        for name in names:
            os.unlink(os.path.join(folder, name))
    assert vaulted.document("vault", "rebuild-catalog", "imari")["damaged"] == []
    assert vaulted.document("ls", "-r", "imari/juki") == before
    again = vaulted.document("backup", "--local")
    assert again["new_object_bytes"] < 20_000


def test_a_damaged_point_is_told_and_the_others_are_listed(vaulted):
    for _each in range(3):
        vaulted.document("backup", "--local")
    oldest = vaulted.document("points", "list")["points"][0]
    with open(vaulted.path(f"state/vaults/imari/points/{oldest['name']}"), "r+b") as file:
        file.write(b"\x93")
    for call in (["points", "list"], ["points", "list", "imari/juki"]):
        found = vaulted.document(*call, expected=4)
        assert [point["sequence"] for point in found["points"]] == [2, 3]
        assert [error["code"] for error in found["damaged"]] == ["damage"]
    assert vaulted.document("ls", "imari/juki")["point"] == "imari/juki@3"


def test_a_catalog_of_garbage_stops_no_backup_and_no_rebuild(vaulted):
    vaulted.document("backup", "--local")
    for call in (["backup", "--local"], ["vault", "rebuild-catalog", "imari"]):
        with open(vaulted.path("state/catalog/imari.sqlite"), "wb") as file:
            file.write(b"\x93" * 9000)
        vaulted.document(*call)
    assert vaulted.document("verify", "--full")["findings"] == []


def test_ctrl_c_ends_a_local_backup_with_130_and_leaves_the_vault_whole(vaulted):
    vaulted.document("backup", "--local")
    begun = vaulted.path("begun")
    os.mkfifo(begun)
    script = f"echo data; echo $$ > {begun}; sleep 600"
    vaulted.configure(f'kind = "command", command = ["sh", "-c", "{script}"], file_name = "dump.sql"')
    process = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "-c", vaulted.config, "backup", "--local"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with open(begun, encoding="ascii") as file:
        command = os.pidfd_open(int(file.read()))
    process.send_signal(signal.SIGINT)
    out, _error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    # The command does not outlive us: its descriptor can be read when it has ended.
    assert select.select([command], [], [], 60) == ([command], [], [])
    os.close(command)
    assert len(vaulted.document("points", "list")["points"]) == 1
    assert vaulted.document("verify", "--full")["findings"] == []
