"""A tree stream says what it was told, byte for byte, or it is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from jbackupd.format.tree import MAGIC, RECORD_BYTES_MAX, TreeDecoder, TreeEncoder, encode_entry
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry

FOLDER = TreeEntry(b"d", EntryType.FOLDER, 0o2755, 1, 2, -5)
FILE = TreeEntry(
    b"d/f", EntryType.FILE, 0o644, 1000, 1000, 1_700_000_000_123_456_789, 1_700_000_000_987_654_321, 77, 30,
    b"D" * 32, (Extent(FrameId(b"F" * 16), 5, 10), Extent(FrameId(b"G" * 16), 0, 20)),
)
LINK = TreeEntry(b"l", EntryType.SYMLINK, 0o777, 0, 0, 1, target=b"\xff../any\n")
END = struct.Struct("<I").pack(2) + b"\x91\x00"


def stream(*entries: TreeEntry) -> bytes:
    encoder = TreeEncoder()
    return b"".join([encoder.begin(), *map(encoder.add, entries), encoder.end()])


def read(data: bytes, step: int | None = None) -> list[TreeEntry]:
    decoder, found = TreeDecoder(), []
    for begin in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[begin : begin + (step or len(data))])
    decoder.finish()
    return found


def record(*fields: object) -> bytes:
    body = msgspec.msgpack.encode(fields)
    return struct.pack("<I", len(body)) + body


def raw(**changes: object) -> bytes:
    """A stream of one entry that no encoder of ours would write."""
    fields: dict[str, object] = {
        "path": b"f", "type": 1, "mode": 0o644, "uid": 0, "gid": 0, "mtime": 0, "ctime": 0, "inode": 0, "size": 0,
        "digest": b"D" * 32, "extents": [], "target": b"",
    }
    return MAGIC + record(*{**fields, **changes}.values()) + record(1)


@pytest.mark.parametrize("step", [None, 1, 7, 100])
def test_entries_come_back_however_the_stream_is_cut(step: int | None) -> None:
    assert read(stream(FOLDER, FILE, LINK), step) == [FOLDER, FILE, LINK]


def test_the_layout_is_what_the_specification_says() -> None:
    body = bytes.fromhex(
        "9c c403642f66 01 cd01a4 cd03e8 cd03e8 cf17979cfe3d85cd15 cf17979cfe710868b1 4d 1e c420" + "44" * 32
        + "92 93c410" + "46" * 16 + "050a 93c410" + "47" * 16 + "0014 c400"
    )
    assert encode_entry(FILE) == struct.pack("<I", len(body)) + body
    assert stream() == b"JBTREE\x01\x00\x02\x00\x00\x00\x91\x00"


def test_an_unchanged_entry_is_the_same_bytes_wherever_it_stands() -> None:
    assert encode_entry(FILE) in stream(FOLDER, FILE)
    assert encode_entry(FILE) in stream(TreeEntry(b"a", EntryType.FOLDER, 0, 0, 0, 0), FOLDER, FILE, LINK)


def test_a_stream_that_is_cut_off_anywhere_is_refused() -> None:
    whole = stream(FOLDER, FILE, LINK)
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            read(whole[:length])


def test_nothing_may_follow_the_end() -> None:
    for more in (b"\0", END, encode_entry(LINK)):
        with pytest.raises(FormatError):
            read(stream(FOLDER) + more)


@pytest.mark.parametrize("count", [0, 2, 1 << 40, -1])
def test_a_wrong_count_is_refused(count: int) -> None:
    with pytest.raises(FormatError, match="another number of entries"):
        read(MAGIC + encode_entry(FOLDER) + record(count))


@pytest.mark.parametrize("path", [
    b"", b"/", b"/abs", b".", b"..", b"../x", b"a/../b", b"a/..", b"./a", b"a/.", b"a//b", b"a/", b"//a", b"a\0b",
    b"x" * (64 * 1024 + 1),
])
def test_a_path_that_is_none_or_leaves_its_folder_is_refused_in_both_directions(path: bytes) -> None:
    with pytest.raises(FormatError):
        read(raw(path=path))
    with pytest.raises(FormatError):
        TreeEncoder().add(replace(LINK, path=path))


@pytest.mark.parametrize("paths", [
    [b"d", b"d"], [b"l", b"d"], [b"d", b"d/x", b"d/a"], [b"d", b"d.txt", b"d/a"],
], ids=["twice", "descending", "descending below", "by bytes instead of components"])
def test_entries_out_of_order_are_refused(paths: Sequence[bytes]) -> None:
    encoder = TreeEncoder()
    with pytest.raises(FormatError, match=r"order|folder"):
        for path in paths:
            encoder.add(replace(FOLDER, path=path))


@pytest.mark.parametrize("above", [None, LINK, replace(FILE, path=b"l")], ids=["nothing", "a symlink", "a file"])
def test_what_lies_below_something_else_than_a_folder_is_refused(above: TreeEntry | None) -> None:
    entries = [*([above] if above else []), replace(LINK, path=b"l/evil")]
    with pytest.raises(FormatError, match="in a folder that the tree does not have"):
        read(MAGIC + b"".join(map(encode_entry, entries)) + record(len(entries)))


@pytest.mark.parametrize("changes", [
    {"type": 0}, {"type": 4}, {"mode": -1}, {"mode": 0o10000}, {"uid": -1}, {"uid": 1 << 32}, {"gid": 1 << 32},
    {"inode": -1}, {"size": -1}, {"size": 1}, {"digest": b""}, {"digest": b"D" * 31}, {"target": b"t"},
    {"extents": [(b"F" * 16, 0, 0)]}, {"extents": [(b"F" * 15, 0, 1)], "size": 1},
    {"extents": [(b"F" * 16, -1, 1)], "size": 1}, {"extents": [(b"F" * 16, 0, 2), (b"F" * 16, 0, -1)], "size": 1},
    {"type": 2}, {"type": 2, "digest": b"", "extents": [(b"F" * 16, 0, 1)], "size": 1}, {"type": 3, "digest": b""},
    {"type": 3, "digest": b"", "target": b"a\0b"}, {"path": "text"}, {"extents": [[b"F" * 16, 0]]}, {"mtime": 1.5},
    {"mtime": None}, {"more": 1},
], ids=str)
def test_an_entry_that_is_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        read(raw(**changes))


def test_the_times_of_any_file_system_fit() -> None:
    for moment in (-(1 << 63), 15_032_385_535 * 10**9, (1 << 64) - 1):
        assert read(raw(mtime=moment))[0].mtime_ns == moment
    with pytest.raises(FormatError):
        encode_entry(replace(FILE, mtime_ns=1 << 64))


def test_a_record_that_is_too_long_is_refused_before_it_is_kept() -> None:
    with pytest.raises(FormatError, match="longer than one may be"):
        read(MAGIC + struct.pack("<I", RECORD_BYTES_MAX + 1))
