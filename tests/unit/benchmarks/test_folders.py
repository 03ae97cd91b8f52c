"""Folders of a run: the live folder follows the days, digests see every byte and name."""

import os
from pathlib import Path

from benchmarks.folders import as_one_file, digest, show_day, total_bytes


def write(root, files: dict[bytes, bytes]) -> str:
    for path, data in files.items():
        full = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
    return str(root)


OLD_NAME = "住民".encode("cp932")


def test_the_live_folder_becomes_the_days(tmp_path):
    one = write(tmp_path / "day0", {b"a/1": b"one", b"a/2": b"two", b"gone/3": b"three", OLD_NAME: b"x"})
    two = write(tmp_path / "day1", {b"a/1": b"other", b"gone": b"a file now", OLD_NAME: b"x"})
    live = str(tmp_path / "live")
    for day in (one, two, one):
        show_day(day, live)
        assert digest(live) == digest(day)


def test_what_a_day_does_not_touch_stays_the_same_file(tmp_path):
    day, live = write(tmp_path / "day0", {b"a": b"one"}), str(tmp_path / "live")
    show_day(day, live)
    before = os.stat(f"{live}/a")
    show_day(day, live)
    after = os.stat(f"{live}/a")
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)


def test_a_digest_sees_names_contents_and_empty_folders(tmp_path):
    seen = {
        digest(write(tmp_path / str(number), files))
        for number, files in enumerate(({b"a": b"1"}, {b"b": b"1"}, {b"a": b"2"}, {b"a/b": b"1"}, {OLD_NAME: b"1"}))
    }
    os.makedirs(tmp_path / "0" / "empty")
    assert len(seen | {digest(str(tmp_path / "0"))}) == 6


def test_sizes_are_those_of_files(tmp_path):
    root = write(tmp_path / "root", {b"a": b"12345", b"b/c": b"123"})
    assert (total_bytes(root), total_bytes(root, str(tmp_path / "missing"))) == (8, 8)


def test_a_single_file_is_taken_as_it_is_and_a_tree_as_an_archive(tmp_path):
    single = write(tmp_path / "single", {b"dump.sql": b"x"})
    tree = write(tmp_path / "tree", {b"a": b"1", OLD_NAME + b"/b": b"2"})
    assert as_one_file(single, str(tmp_path / "1.tar")) == f"{single}/dump.sql"
    archives = [as_one_file(tree, str(tmp_path / name)) for name in ("2.tar", "3.tar")]
    assert len({Path(path).read_bytes() for path in archives}) == 1
