"""A source that changes, vanishes or fails while it is taken gives a point that says so, and nothing invented."""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jbackupd.model.records import Unreadable
from jbackupd.restore.place import restore
from jbackupd.sources.files import FilesSource
from jbackupd.sources.port import SourceItem
from tests.hostile.comparison import facts
from tests.support.onesite import MemorySource, Site


def source_of(*paths: Path) -> FilesSource:
    return FilesSource([os.fsencode(path) for path in paths])


class Interfering:
    """A source that lets something happen after each of its items."""

    kind = "files"

    def __init__(self, source: FilesSource, after: dict[bytes, object]) -> None:
        self._source = source
        self._after = after

    def items(self) -> Iterator[SourceItem | Unreadable]:
        for item in self._source.items():
            deed = self._after.get(item.path)
            if callable(deed):
                deed()
            yield item


def test_a_file_on_a_failing_disk_is_named_and_the_rest_is_taken(site: Site, work: Path) -> None:
    (work / "data").mkdir()
    (work / "data" / "a").write_bytes(b"fine")
    # What reads the beginning of one's own memory is answered with an input/output error.
    result = site.backup(source_of(work / "data", Path("/proc/self/mem")))
    assert result.header.incomplete
    assert result.statistics.unreadable == (Unreadable(b"mem", "Input/output error"),)
    assert site.content() == {b"data/a": b"fine"}


def test_files_that_vanish_or_change_their_kind_after_listing_are_named(site: Site, work: Path) -> None:
    data = work / "data"
    data.mkdir()
    (work / "secret").write_bytes(b"not in scope")
    for name in ("1-gone", "2-fifo", "3-link", "4-folder", "5-stays"):
        (data / name).write_bytes(name.encode())

    def become(name: str) -> None:
        (data / name).unlink()
        if name == "2-fifo":
            os.mkfifo(data / name)
        if name == "3-link":
            (data / name).symlink_to(work / "secret")
        if name == "4-folder":
            (data / name).mkdir()

    source = Interfering(source_of(data), {
        name.encode(): lambda name=name: become(name) for name in ("1-gone", "2-fifo", "3-link", "4-folder")
    })
    result = site.backup(source)  # type: ignore[arg-type]
    assert {item.path for item in result.statistics.unreadable} == {b"1-gone", b"2-fifo", b"3-link", b"4-folder"}
    assert site.content() == {b"5-stays": b"5-stays"}


def test_a_file_that_changes_while_it_is_read_is_read_again_by_the_next_run(site: Site, work: Path) -> None:
    data = work / "data"
    data.mkdir()
    path = data / "log"
    path.write_bytes(b"x" * 1000)
    stamp = 1_700_000_000_000_000_000

    def grow() -> None:
        path.write_bytes(b"y" * 1000)
        os.utime(path, ns=(stamp, stamp))

    os.utime(path, ns=(stamp, stamp))
    site.backup(Interfering(source_of(data), {b"log": grow}))  # type: ignore[arg-type]
    grow()
    path.write_bytes(b"z" * 1000)
    os.utime(path, ns=(stamp, stamp))
    site.backup(source_of(data))
    assert site.content() == {b"log": b"z" * 1000}


def test_a_tree_that_moves_all_the_time_never_gives_what_was_never_there(site: Site, work: Path) -> None:
    data = work / "data"
    (work / "outside").mkdir()
    for name in "abcdefgh":
        (data / name).mkdir(parents=True)
        (work / "outside" / name).write_bytes(b"SECRET")
        for number in range(20):
            (data / name / f"f{number}").write_bytes(f"{name}{number}".encode() * 1000)
    with churning(data, work / "outside"):
        for _ in range(6):
            site.backup(source_of(data))
    for sequence in range(1, 7):
        for path, content in site.content(sequence).items():
            assert b"SECRET" not in content
            # Every file says its own name, over and over; a torn one may be short or empty, and is no other's.
            name = re.match(rb"(?:[a-h]\d{1,2})?", content)
            assert name is not None
            assert content == (name[0] * 1000)[: len(content)], path
        target = work / f"restored{sequence}"
        result = restore(site.open_point(sequence), str(target))
        assert (result.problems, result.exit_code) == ([], 0)
        assert len(facts(target)) == result.files + result.folders + result.symlinks


@contextmanager
def churning(data: Path, outside: Path) -> Iterator[None]:
    """Rename, replace by links, remove and make again, on another thread."""
    stop = threading.Event()

    def churn() -> None:
        chance = random.Random(3)
        while not stop.is_set():
            folder, other = (data / chance.choice("abcdefgh") for _ in range(2))
            with suppress(OSError):
                deed = chance.randrange(4)
                if deed == 0:
                    folder.rename(data / "moved")
                    folder.symlink_to(outside)
                    folder.unlink()
                    (data / "moved").rename(folder)
                elif deed == 1:
                    file = folder / f"f{chance.randrange(20)}"
                    file.unlink()
                    file.symlink_to(outside / folder.name)
                    file.unlink()
                    file.write_bytes(f"{folder.name}{file.name[1:]}".encode() * 1000)
                elif deed == 2:
                    folder.rename(other / folder.name)
                    (other / folder.name).rename(folder)
                else:
                    os.replace(folder / "f1", folder / "f1-moved")
                    os.replace(folder / "f1-moved", folder / "f1")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_deep_tree_is_taken_and_restored_whole(site: Site, work: Path) -> None:
    data = work / "data"
    data.mkdir()
    folder = os.open(data, os.O_RDONLY)
    for _ in range(300):
        os.mkdir(b"d" * 100, dir_fd=folder)
        below = os.open(b"d" * 100, os.O_RDONLY, dir_fd=folder)
        with open(os.open(b"leaf", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder), "wb") as leaf:
            leaf.write(b"leaf")
        os.close(folder)
        folder = below
    os.close(folder)
    assert site.backup(source_of(data)).statistics.unreadable == ()
    result = restore(site.open_point(), str(work / "restored"))
    assert (result.files, result.folders, result.problems) == (300, 300, [])
    assert facts(work / "restored") == facts(data)


def test_a_source_that_became_empty_gives_an_empty_point_and_the_one_before_stays(site: Site) -> None:
    site.backup(MemorySource({b"a": b"1"}))
    site.backup(MemorySource({}))
    assert (site.content(1), site.content(2)) == ({b"a": b"1"}, {})
