"""The files source takes everything, or says what it could not take."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jbackupd.format.tree import PATH_BYTES_MAX
from jbackupd.model.errors import SourceError
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.files import FilesSource, item_of
from jbackupd.sources.port import SourceItem, UnreadableError


def items(source: FilesSource) -> dict[bytes, SourceItem | Unreadable]:
    return {item.path: item for item in source.items()}


def contents(source: FilesSource) -> dict[bytes, bytes]:
    found = {}
    for item in source.items():
        if isinstance(item, SourceItem) and item.type is EntryType.FILE:
            with item.open() as reader:
                data = b""
                while block := reader.read(1000):
                    data += block
                assert not reader.changed()
            found[item.path] = data
    return found


def of(*paths: Path, **options: object) -> FilesSource:
    return FilesSource([os.fsencode(path) for path in paths], **options)  # type: ignore[arg-type]


def test_files_folders_and_symlinks_come_in_path_order_with_their_metadata(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o750)
    (tmp_path / "b" / "x.txt").write_bytes(b"x" * 2500)
    (tmp_path / "b.txt").write_bytes(b"before b/x? no: after")
    (tmp_path / "link").symlink_to("/nowhere at all")
    os.utime(tmp_path / "b" / "x.txt", ns=(5, 1_234_567_891_234_567_891))
    found = items(of(tmp_path))
    assert list(found) == [b"b", b"b/x.txt", b"b.txt", b"link"]
    folder, file, link = found[b"b"], found[b"b/x.txt"], found[b"link"]
    assert isinstance(folder, SourceItem) and isinstance(file, SourceItem) and isinstance(link, SourceItem)
    assert (folder.type, folder.mode) == (EntryType.FOLDER, 0o750)
    assert (file.size, file.mtime_ns, file.uid) == (2500, 1_234_567_891_234_567_891, os.getuid())
    assert (link.type, link.target) == (EntryType.SYMLINK, b"/nowhere at all")
    assert contents(of(tmp_path))[b"b/x.txt"] == b"x" * 2500


def test_names_are_bytes_whatever_they_mean(tmp_path: Path) -> None:
    names = [bytes((i,)) for i in range(1, 256) if i not in b"/."] + [
        "住民台帳.csv".encode("cp932"), "が".encode(), "か\u3099".encode(), b"x" * 255,
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found = contents(of(tmp_path))
    assert found == {name: name for name in names}
    assert list(found) == sorted(names)


def test_several_roots_lie_under_their_names(tmp_path: Path) -> None:
    for name in ("juki", "zei"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(name.encode())
    assert list(items(of(tmp_path / "zei", tmp_path / "juki"))) == [b"juki", b"juki/a", b"zei", b"zei/a"]


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_bytes(b"select 1")
    assert contents(of(tmp_path / "dump.sql")) == {b"dump.sql": b"select 1"}


def test_excluded_names_and_paths_are_left_out(tmp_path: Path) -> None:
    for name in ("a.tmp", "a.txt", "sub/b.tmp", "sub/keep", "cache/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(items(of(tmp_path, exclude=[b"*.tmp", b"cache"]))) == [b"a.txt", b"sub", b"sub/keep"]


def test_special_files_are_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        found = items(of(tmp_path))
    assert found[b"fifo"] == Unreadable(b"fifo", "a FIFO is not taken")
    assert found[b"sock"] == Unreadable(b"sock", "a socket is not taken")


def test_a_missing_root_is_an_error_and_no_empty_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        list(of(tmp_path / "missing").items())


def test_roots_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        of(tmp_path / "a" / "x", tmp_path / "b" / "x")


def test_a_file_that_vanished_after_listing_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    iterator = of(tmp_path).items()
    listed = next(iterator)
    assert isinstance(listed, SourceItem)
    (tmp_path / "a").unlink()
    with pytest.raises(UnreadableError, match="No such file"), listed.open():
        pass


@pytest.mark.parametrize("become", ["fifo", "link", "other"])
def test_a_file_that_was_replaced_after_listing_is_unreadable(tmp_path: Path, become: str) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"not in scope")
    iterator = of(tmp_path).items()
    listed = next(iterator)
    assert isinstance(listed, SourceItem)
    (tmp_path / "a").rename(tmp_path / "moved")
    if become == "fifo":
        os.mkfifo(tmp_path / "a")
    elif become == "link":
        (tmp_path / "a").symlink_to(tmp_path / "secret")
    else:
        (tmp_path / "a").write_bytes(b"another")
    with pytest.raises(UnreadableError), listed.open():
        pass


def test_a_file_that_grows_for_ever_ends_and_is_known_to_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    item = next(iter_items := of(tmp_path).items())
    assert isinstance(item, SourceItem)
    with item.open() as reader:
        taken = b""
        while block := reader.read(10):
            taken += block
            with path.open("ab") as more:
                more.write(b"y" * 20)
        assert reader.changed()
    assert taken == b"x" * 100
    iter_items.close()


def test_a_file_that_shrinks_while_it_is_read_is_known_to_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    iterator = of(tmp_path).items()
    item = next(iterator)
    assert isinstance(item, SourceItem)
    with item.open() as reader:
        assert reader.read(10) == b"x" * 10
        os.truncate(path, 20)
        while reader.read(10):
            pass
        assert reader.changed()


def test_a_folder_swapped_for_a_link_during_the_walk_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "in" / "d").mkdir(parents=True)
    (tmp_path / "in" / "d" / "f").write_bytes(b"ours")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"theirs")
    iterator = of(tmp_path / "in").items()
    folder = next(iterator)
    assert folder.path == b"d"
    (tmp_path / "in" / "d").rename(tmp_path / "in" / "e")
    (tmp_path / "in" / "d").symlink_to(tmp_path / "outside")
    rest = list(iterator)
    assert [item.path for item in rest if isinstance(item, Unreadable)] == [b"d"]
    assert not any(item.path == b"d/f" for item in rest)


def as_nobody(folder: Path, attempt: Callable[[], str]) -> str:
    """Do something in a process that may not read everything, and return what it says."""
    if os.geteuid() == 0:
        for above in (folder, *folder.parents):
            above.chmod(above.stat().st_mode | 0o055)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.write(writing, attempt().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def test_what_its_user_may_not_read_is_named_and_the_rest_is_taken(tmp_path: Path) -> None:
    def attempt() -> str:
        lines = []
        for item in of(tmp_path).items():
            if isinstance(item, Unreadable):
                lines.append(f"{item.path!r} {item.reason}")
            elif item.type is EntryType.FILE:
                try:
                    with item.open() as reader:
                        lines.append(f"{item.path!r} {reader.read(9)!r}")
                except UnreadableError as error:
                    lines.append(f"{item.path!r} {error.reason}")
        return "\n".join(lines)

    for name in ("closed", "open"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "locked").mkdir(mode=0o000)
    assert as_nobody(tmp_path, attempt).splitlines() == [
        "b'closed' Permission denied", "b'locked' Permission denied", "b'open' b'x'",
    ]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees that are too deep for what removes pytest's folders."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


def test_a_tree_deeper_than_python_and_than_the_limit_of_open_files_is_taken_whole(deep: Path) -> None:
    folder = os.open(deep, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir(b"d", dir_fd=folder)
        below = os.open(b"d", os.O_RDONLY, dir_fd=folder)
        os.close(os.open(b"e", os.O_CREAT, dir_fd=folder))
        os.close(folder)
        folder = below
    os.close(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What other tests of this process hold open does not count.
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 100, hard))
    try:
        found = list(of(deep).items())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not [item for item in found if isinstance(item, Unreadable)]
    paths = [item.path.split(b"/") for item in found]
    assert len(paths) == 2200 and paths == sorted(paths)


def test_a_path_that_no_point_can_hold_is_named_and_the_rest_is_taken(deep: Path) -> None:
    folder = os.open(deep, os.O_RDONLY)
    for _ in range(265):
        os.mkdir(b"d" * 250, dir_fd=folder)
        below = os.open(b"d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    (deep / "z").write_bytes(b"")
    *_, long, last = of(deep).items()
    assert isinstance(long, Unreadable) and long.reason == "its path is longer than a point can hold"
    assert len(long.path) > PATH_BYTES_MAX and last.path == b"z"


def test_a_deep_folder_that_is_moved_during_the_walk_is_named_and_the_walk_goes_on(deep: Path) -> None:
    folder = deep
    for _ in range(100):
        folder = folder / "d"
        folder.mkdir()
        (folder / "z").write_bytes(b"")
    (deep / "z").write_bytes(b"")
    found = []
    for item in of(deep).items():
        found.append(item)
        if item.path.count(b"/") == 99 and item.path.endswith(b"d"):
            moved = deep.joinpath(*["d"] * 80)
            moved.rename(moved.with_name("moved"))
    lost = [item for item in found if isinstance(item, Unreadable)]
    assert {item.path.count(b"/") for item in lost} == set(range(79, 99))
    taken = {item.path.count(b"/") for item in found if isinstance(item, SourceItem) and item.path.endswith(b"z")}
    assert taken == {*range(80), 100}
    assert found[-1].path == b"z"


def test_a_root_that_cannot_be_listed_is_an_error_and_no_empty_source(tmp_path: Path) -> None:
    def attempt() -> str:
        with pytest.raises(SourceError) as caught:
            list(of(tmp_path / "closed").items())
        return str(caught.value)

    (tmp_path / "closed").mkdir(mode=0o311)
    assert as_nobody(tmp_path, attempt).endswith("closed: Permission denied")


def test_files_whose_size_is_not_told_are_known_to_have_changed() -> None:
    item = next(walk := of(Path("/proc/self/status")).items())
    assert isinstance(item, SourceItem) and item.size == 0
    with item.open() as reader:
        assert reader.read(10) == b""
        assert reader.changed()
    assert list(walk) == []


def test_times_that_no_point_can_hold_are_brought_near(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    listed = os.stat(tmp_path / "a")
    fields = dict(zip(("st_mtime_ns", "st_ctime_ns"), (1 << 70, -(1 << 70)), strict=True))
    far = os.stat_result(tuple(listed), {**{n: getattr(listed, n) for n in dir(listed) if n[:3] == "st_"}, **fields})
    item = item_of(b"a", -1, b"a", far)
    assert isinstance(item, SourceItem)
    assert (item.mtime_ns, item.ctime_ns) == ((1 << 64) - 1, -(1 << 63))


def test_several_roots_need_names(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has none"):
        of(tmp_path, Path("/"))


def test_many_walkers_do_not_share_descriptors(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "f").write_bytes(b"%d" % number)
    before = len(os.listdir("/proc/self/fd"))
    results: list[dict[bytes, bytes]] = []
    threads = [threading.Thread(target=lambda: results.append(contents(of(tmp_path)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(result == results[0] for result in results)
    assert len(os.listdir("/proc/self/fd")) == before
