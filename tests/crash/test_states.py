"""The rig itself: exactly what a file system may forget, no more and no less."""

import pytest

from tests.crash.memory import File, Folder, MemoryFiles, tree_of
from tests.crash.states import crash_states, key_of

Tree = dict[str, bytes | None]


def fresh() -> MemoryFiles:
    files = MemoryFiles()
    files.make_folder("a")
    files.make_folder("b")
    files.log.clear()
    return files


def disks(files: MemoryFiles, start: Folder, **options: int) -> list[tuple[int, Tree]]:
    return [
        (state.position, {path: data for path, data in tree_of(state.disk()).items() if data is not None})
        for state in crash_states(start, files.log, **options)
    ]


def final(files: MemoryFiles, start: Folder, **options: int) -> list[Tree]:
    last = len(files.log)
    return [
        {path: data for path, data in tree_of(state.disk()).items() if data is not None}
        for state in crash_states(start, files.log, positions=range(last, last + 1), **options)
    ]


@pytest.fixture
def start() -> Folder:
    return fresh().root


@pytest.fixture
def files() -> MemoryFiles:
    return fresh()


def alike(found: list[Tree], *expected: Tree) -> None:
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_a_write_without_sync_may_be_there_half_or_not_at_all(files: MemoryFiles, start: Folder) -> None:
    files.create("a/x").write(b"1234")
    files.sync_folder("a")
    found = final(files, start, in_order=True)
    assert {"a/x": b"1234"} in found and {"a/x": b"12"} in found and {"a/x": b""} in found
    assert all(b"1234".startswith(tree["a/x"] or b"") for tree in found)


def test_every_beginning_of_a_torn_write_and_its_blocks_in_any_order_are_among_the_states(
    files: MemoryFiles, start: Folder
) -> None:
    files.create("a/x").write(b"12345678")
    files.sync_folder("a")
    found = {tree["a/x"] for seed in range(300) for tree in final(files, start, seed=seed)}
    assert found == {b"12345678"[:length] for length in range(9)} | {b"\0\0\0\x005678"}


def test_a_synced_file_without_a_synced_folder_may_have_no_name(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    handle.write(b"1234")
    handle.sync()
    alike(final(files, start), {"a/x": b"1234"}, {})


def test_synced_file_and_folder_stay(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    handle.write(b"1234")
    handle.sync()
    files.sync_folder("a")
    alike(final(files, start), {"a/x": b"1234"})


def test_a_later_write_may_survive_an_earlier_one(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    files.sync_folder("a")
    handle.write(b"1")
    handle.write(b"2")
    alike(final(files, start), {"a/x": b""}, {"a/x": b"1"}, {"a/x": b"12"}, {"a/x": b"\x002"})


def test_a_sync_covers_only_the_writes_before_it(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    files.sync_folder("a")
    handle.write(b"1")
    handle.sync()
    handle.write(b"2")
    alike(final(files, start), {"a/x": b"1"}, {"a/x": b"12"})


def test_a_rename_is_never_without_both_names(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    handle.write(b"1234")
    handle.sync()
    files.sync_folder("a")
    files.rename("a/x", "b/y")
    alike(final(files, start), {"a/x": b"1234"}, {"a/x": b"1234", "b/y": b"1234"}, {"b/y": b"1234"})


@pytest.mark.parametrize(("synced", "expected"), [
    ("b", [{"a/x": b"1234", "b/y": b"1234"}, {"b/y": b"1234"}]),
    ("a", [{"b/y": b"1234"}]),
])
def test_a_rename_is_durable_in_the_folder_that_was_synced(
    files: MemoryFiles, start: Folder, synced: str, expected: list[Tree]
) -> None:
    handle = files.create("a/x")
    handle.write(b"1234")
    handle.sync()
    files.sync_folder("a")
    files.rename("a/x", "b/y")
    files.sync_folder(synced)
    alike(final(files, start), *expected)


def test_a_replaced_file_is_the_old_one_or_the_new_one(files: MemoryFiles) -> None:
    files.create("b/y").write(b"old")
    start = MemoryFiles(files.root).root
    again = MemoryFiles()
    again.root = start
    disk = {"b/y": b"old"}
    begin = crash_states(start, [])
    assert [dict(state.key)["b/y"] for state in begin] == [disk["b/y"]]


def test_a_removed_name_may_come_back_until_the_folder_is_synced(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    handle.sync()
    files.sync_folder("a")
    files.remove("a/x")
    alike(final(files, start), {}, {"a/x": b""})
    files.sync_folder("a")
    alike(final(files, start), {})


def test_a_truncate_is_durable_when_it_returns(files: MemoryFiles, start: Folder) -> None:
    handle = files.append("a/x")
    handle.write(b"1234")
    handle.sync()
    files.sync_folder("a")
    files.truncate("a/x", 1)
    alike(final(files, start), {"a/x": b"1"})
    assert (6, {"a/x": b"1234"}) not in disks(files, start)
    assert any(tree == {"a/x": b"1234"} for _, tree in disks(files, start))


def test_what_a_failed_sync_dropped_is_not_made_durable_by_a_later_sync(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    files.sync_folder("a")
    handle.write(b"1")
    fail_once(files, "sync")
    with pytest.raises(Exception, match="Input/output"):
        handle.sync()
    handle.sync()
    assert files.read("a/x") == b"1"
    alike(final(files, start), {"a/x": b"1"}, {"a/x": b""})


def test_bytes_written_over_dropped_ones_are_durable(files: MemoryFiles, start: Folder) -> None:
    handle = files.create("a/x")
    files.sync_folder("a")
    handle.write(b"111")
    fail_once(files, "sync")
    with pytest.raises(Exception, match="Input/output"):
        handle.sync()
    files.truncate("a/x", 0)
    handle.write(b"222")
    handle.sync()
    alike(final(files, start), {"a/x": b"222"})


def test_a_made_folder_is_durable(start: Folder) -> None:
    files = fresh()
    files.make_folder("c/d")
    (state,) = crash_states(start, files.log, positions=range(len(files.log), len(files.log) + 1))
    assert dict(state.key) == {"a": None, "b": None, "c": None, "c/d": None}


def test_many_unsynced_effects_are_bounded_and_hold_both_extremes(files: MemoryFiles, start: Folder) -> None:
    for number in range(12):
        files.create(f"a/{number}")
    found = final(files, start)
    assert len(found) <= 64
    assert {} in found
    assert {f"a/{number}": b"" for number in range(12)} in found


def test_the_same_seed_gives_the_same_states(files: MemoryFiles, start: Folder) -> None:
    for number in range(9):
        files.create(f"a/{number}").write(b"xy")
    assert disks(files, start, seed=7) == disks(files, start, seed=7)


def test_a_state_disk_is_a_file_system_again(files: MemoryFiles, start: Folder) -> None:
    files.create("a/x").write(b"1234")
    for state in crash_states(start, files.log):
        again = MemoryFiles(state.disk())
        assert key_of(again.root) == state.key
        again.create("b/new").write(b"n")
        assert again.read("b/new") == b"n"


def test_a_live_file_keeps_what_was_written(files: MemoryFiles) -> None:
    files.create("a/x").write(b"1234")
    assert isinstance(files.root.entries["a"], Folder)
    assert isinstance(files.root.entries["a"].entries["x"], File)


def fail_once(files: MemoryFiles, verb: str) -> None:
    armed = [True]

    def fault(call: object) -> None:
        if armed and getattr(call, "verb", "") == verb:
            armed.clear()
            raise OSError(5, "x")

    files.fault = fault
