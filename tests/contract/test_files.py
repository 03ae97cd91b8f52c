"""What every implementation of `Files` promises; run over the real file system and the one of the crash rig."""

import pathlib
from collections.abc import Callable

import pytest

from jbackupd.model.errors import JbackupdError, NotFoundError, StorageError
from jbackupd.storage.durable import destroy_durably, rename_durably, write_durably
from jbackupd.storage.files import Files, PosixFiles
from tests.crash.memory import ROOT, MemoryFiles, SyncFolder


@pytest.fixture(params=["posix", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Files:
    made: Files = PosixFiles(str(tmp_path)) if request.param == "posix" else MemoryFiles()
    made.make_folder("a/b")
    return made


def put(files: Files, path: str, data: bytes) -> None:
    handle = files.create(path)
    handle.write(data)
    handle.close()


def test_what_was_written_is_read(files: Files) -> None:
    handle = files.create("a/x")
    handle.write(b"12")
    handle.write(memoryview(b"345"))
    handle.sync()
    handle.close()
    handle.close()
    assert files.read("a/x") == b"12345"
    assert files.size("a/x") == 5


@pytest.mark.parametrize(("offset", "length", "expected"), [
    (0, 5, b"12345"), (1, 3, b"234"), (3, 9, b"45"), (5, 1, b""), (9, 1, b""), (2, 0, b""),
])
def test_a_range_is_short_only_at_the_end(files: Files, offset: int, length: int, expected: bytes) -> None:
    put(files, "a/x", b"12345")
    assert files.read_at("a/x", offset, length) == expected


def test_overwritten_bytes_are_zeros_and_as_many_as_before(files: Files) -> None:
    put(files, "a/x", b"secret" * 1000)
    files.overwrite("a/x")
    assert files.read("a/x") == bytes(6000)


def test_what_is_destroyed_is_gone_and_may_be_destroyed_twice(files: Files) -> None:
    put(files, "a/x", b"secret")
    for _ in range(2):
        destroy_durably(files, "a/x")
        assert not files.exists("a/x")


def test_names_are_sorted_and_hold_folders(files: Files) -> None:
    put(files, "a/z", b"")
    put(files, "a/c", b"")
    assert files.names("a") == ["b", "c", "z"]
    assert files.names("a/b") == []
    assert files.names("") == ["a"]


def test_create_refuses_what_is_there(files: Files) -> None:
    put(files, "a/x", b"1")
    with pytest.raises(StorageError):
        files.create("a/x")
    assert files.read("a/x") == b"1"


def test_append_continues_or_creates(files: Files) -> None:
    for piece in (b"1", b"23"):
        handle = files.append("a/x")
        handle.write(piece)
        handle.close()
    assert files.read("a/x") == b"123"


def test_an_open_file_appends_after_a_truncate(files: Files) -> None:
    handle = files.append("a/x")
    handle.write(b"12345")
    files.truncate("a/x", 2)
    handle.write(b"6")
    assert files.read("a/x") == b"126"


def test_rename_moves_over_a_name(files: Files) -> None:
    put(files, "a/x", b"new")
    put(files, "a/b/y", b"old")
    files.rename("a/x", "a/b/y")
    assert files.read("a/b/y") == b"new"
    assert not files.exists("a/x")


def test_rename_to_itself_changes_nothing(files: Files) -> None:
    put(files, "a/x", b"1")
    files.rename("a/x", "a/x")
    assert files.read("a/x") == b"1"


def test_a_renamed_folder_takes_its_files_along(files: Files) -> None:
    put(files, "a/b/x", b"1")
    files.rename("a/b", "c")
    assert files.read("c/x") == b"1"
    assert files.names("a") == []


def test_a_removed_file_is_gone(files: Files) -> None:
    put(files, "a/x", b"1")
    files.remove("a/x")
    assert not files.exists("a/x")
    assert files.names("a") == ["b"]


def test_make_folder_is_harmless_twice(files: Files) -> None:
    put(files, "a/b/x", b"1")
    files.make_folder("a/b")
    files.make_folder("a/b/c/d")
    assert files.read("a/b/x") == b"1"
    assert files.exists("a/b/c/d")


@pytest.mark.parametrize("call", [
    lambda f: f.read("a/none"),
    lambda f: f.read_at("a/none", 0, 1),
    lambda f: f.size("a/none"),
    lambda f: f.names("a/none"),
    lambda f: f.truncate("a/none", 0),
    lambda f: f.overwrite("a/none"),
    lambda f: f.rename("a/none", "a/x"),
    lambda f: f.remove("a/none"),
    lambda f: f.sync_folder("a/none"),
    lambda f: f.create("none/x"),
    lambda f: f.append("none/x"),
])
def test_what_is_missing_is_an_error_never_empty(files: Files, call: Callable[[Files], object]) -> None:
    with pytest.raises(NotFoundError):
        call(files)


@pytest.mark.parametrize("call", [
    lambda f: f.read("a/b"),
    lambda f: f.read("a/x/y"),
    lambda f: f.names("a/x"),
    lambda f: f.remove("a/b"),
    lambda f: f.rename("a/x", "a/b"),
    lambda f: f.append("a/b"),
    lambda f: f.create("a/x/y"),
    lambda f: f.sync_folder("a/x"),
    lambda f: f.make_folder("a/x"),
    lambda f: f.truncate("a/b", 0),
    lambda f: f.overwrite("a/b"),
])
def test_the_wrong_kind_of_thing_is_a_typed_error(files: Files, call: Callable[[Files], object]) -> None:
    put(files, "a/x", b"1")
    with pytest.raises(JbackupdError):
        call(files)
    assert files.read("a/x") == b"1"


def test_a_durable_write_replaces_a_file_and_leaves_no_temporary(files: Files) -> None:
    write_durably(files, "a/x", b"old", temporary="a/b/t")
    write_durably(files, "a/x", b"new", temporary="a/b/t")
    assert files.read("a/x") == b"new"
    assert files.names("a/b") == []


def test_a_durable_write_over_a_left_temporary_succeeds(files: Files) -> None:
    put(files, "a/b/t", b"left over")
    write_durably(files, "a/x", b"new", temporary="a/b/t")
    assert files.read("a/x") == b"new"


def test_a_durable_rename_moves(files: Files) -> None:
    put(files, "a/x", b"1")
    rename_durably(files, "a/x", "a/b/x")
    assert files.read("a/b/x") == b"1"


def test_the_first_folder_makes_the_root_and_what_is_above_it(tmp_path: pathlib.Path) -> None:
    files = PosixFiles(str(tmp_path / "var" / "lib" / "state"))
    files.make_folder("")
    files.make_folder("a/b")
    assert files.names("") == ["a"]


def test_a_folder_left_by_a_killed_process_is_synced_by_the_next() -> None:
    killed = MemoryFiles()
    killed.make_folder("a")
    again = MemoryFiles(killed.root)
    again.make_folder("a/b")
    assert [event for event in again.log if event == SyncFolder(ROOT)]
