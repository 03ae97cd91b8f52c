"""A view of a point shows what the point has, and any read of a file is the slice of the file."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.model.errors import DamageError, NoSpaceError, NotFoundError, UsageError
from jbackupd.model.ids import ObjectKind
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore import view as view_module
from jbackupd.restore.fileview import Extents
from jbackupd.restore.view import PointView, opened_view
from tests.support.onesite import MemorySource, Site

IMAGE_BYTES = 5_000_000
DAYS = 3
NAMES = (b"a", b"a-b", b"a.b", b"a/b", b"a/b/c", b"a/\xff\xfe", b"a0/x", b"b/\xe5\xb8\x82/deep/er/file", b"empty", b"z")


def image() -> bytes:
    """Random stretches between holes."""
    chance = random.Random(7)
    data = bytearray(IMAGE_BYTES)
    for begin in range(0, IMAGE_BYTES, 900_000):
        data[begin : begin + 500_000] = chance.randbytes(500_000)
    return bytes(data)


class Town:
    """A site whose image changes a little every day, and its files of the last day."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        chance, data = random.Random(2), bytearray(image())
        for day in range(DAYS):
            for at in (chance.randrange(IMAGE_BYTES - 100) for _ in range(40)):
                data[at : at + 100] = chance.randbytes(100)
            self.files = {name: name * 11 for name in NAMES if name not in (b"a", b"a/b", b"empty")}
            self.files |= {b"image": bytes(data), b"empty": b""}
            self.site.backup(MemorySource(self.files, times={b"image": 10**18 + day}))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return Town(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def view(town: Town) -> Iterator[PointView]:
    with opened_view(town.site.vault, town.site.open_point().stored, cache_bytes=1 << 20) as opened:
        yield opened


@given(offset=st.integers(0, IMAGE_BYTES + 10), length=st.integers(0, 1_500_000))
@settings(deadline=None, max_examples=60)
def test_any_read_is_the_slice_of_the_file(town: Town, view: PointView, offset: int, length: int) -> None:
    assert view.open(b"image").read(offset, length) == town.files[b"image"][offset : offset + length]


def test_every_file_reads_as_it_was_taken(town: Town, view: PointView) -> None:
    for path, content in town.files.items():
        file = view.open(path)
        assert (file.size, file.read(0, len(content) + 1)) == (len(content), content)


def test_the_view_lists_what_the_tree_has(town: Town, view: PointView) -> None:
    expected = {entry.path: entry for entry in town.site.open_point().entries()}
    assert len(view) == len(expected)
    found: dict[bytes, TreeEntry] = {}

    def walk(folder: bytes) -> None:
        names = [child.path for child in view.children(folder)]
        assert names == sorted(names)
        for child in view.children(folder):
            found[child.path] = child
            if child.type is EntryType.FOLDER:
                walk(child.path)

    walk(b"")
    assert found.keys() == expected.keys()
    for path, entry in expected.items():
        assert view.stat(path) == found[path] == replace(entry, extents=())
    assert view.stat(b"").type is EntryType.FOLDER


@pytest.mark.parametrize("path", [b"no", b"a/no", b"image/x", b"zz", b"a/", b"/a"])
def test_what_is_not_there_is_not_found(view: PointView, path: bytes) -> None:
    with pytest.raises(NotFoundError):
        view.stat(path)
    with pytest.raises(NotFoundError):
        list(view.children(path))


@pytest.mark.parametrize("path", [b"", b"b"])
def test_a_folder_is_no_file(view: PointView, path: bytes) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        view.open(path)
    with pytest.raises(NotFoundError, match="is not a folder"):
        list(view.children(b"z"))


def test_readers_at_once_get_what_is_theirs(town: Town, view: PointView) -> None:
    file, content = view.open(b"image"), town.files[b"image"]
    begun = threading.Barrier(4)

    def read(seed: int) -> bool:
        chance = random.Random(seed)
        begun.wait()
        spans = [(chance.randrange(IMAGE_BYTES), chance.randrange(300_000)) for _ in range(12)]
        return all(file.read(at, length) == content[at : at + length] for at, length in spans)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(4)))


def test_a_small_cache_stays_small(town: Town) -> None:
    with opened_view(town.site.vault, town.site.open_point().stored, cache_bytes=600_000) as small:
        file = small.open(b"image")
        for at in range(0, IMAGE_BYTES, 4096 * 7):
            assert file.read(at, 4096) == town.files[b"image"][at : at + 4096]


def test_a_damaged_pack_gives_an_error_and_no_bytes(tmp_path: Path) -> None:
    site = Site(tmp_path)
    content = random.Random(3).randbytes(900_000)
    site.backup(MemorySource({b"image": content}))
    stored = site.open_point().stored
    with opened_view(site.vault, stored) as view:
        for name in site.store.names(ObjectKind.PACK):
            path = tmp_path / "vaults" / "imari" / "packs" / name.hex()[:2] / name.hex()
            data = bytearray(path.read_bytes())
            for at in range(100, len(data), 1000):
                data[at] ^= 1
            path.write_bytes(data)
        with pytest.raises(DamageError):
            view.open(b"image").read(300_000, 10)


def test_extents_of_every_length_are_found() -> None:
    chance = random.Random(5)
    made = [(bytes([n]) * 16, chance.randrange(1 << 40), chance.randrange(1, 9)) for n in range(50)]
    flat = [(frame, offset + at) for frame, offset, length in made for at in range(length)]
    extents = Extents(made)
    assert extents.size == len(flat)
    assert [(e.frame, e.offset, e.length) for e in map(extents.__getitem__, range(50))] == made
    for begin in range(0, len(flat), 3):
        for end in range(begin, len(flat), 7):
            pieces = extents.between(begin, end - begin)
            assert [(e.frame, e.offset + at) for e in pieces for at in range(e.length)] == flat[begin:end]


def test_no_room_for_the_list_is_said(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "BUFFER_BYTES", 1)
    with pytest.raises(NoSpaceError, match="list of entries"), open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(view_module.tempfile, "TemporaryFile", lambda **_: full)
        PointView(town.site.open_point())
