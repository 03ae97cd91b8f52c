"""Whatever a tree is, it comes back; whatever bytes are, they are a tree or a FormatError."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.format.tree import MAGIC, TIMES_NS, TreeDecoder, TreeEncoder
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry

TIMES = st.integers(TIMES_NS[0], TIMES_NS[-1])
NAMES = st.binary(min_size=1, max_size=6).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"^")).filter(
    lambda name: name not in (b".", b"..")
)
EXTENTS = st.builds(Extent, st.binary(min_size=16, max_size=16).map(FrameId), st.integers(0, 1 << 40),
                    st.integers(1, 1 << 40))


@st.composite
def trees(draw: st.DrawFn, depth: int = 3, above: bytes = b"") -> list[TreeEntry]:
    entries: list[TreeEntry] = []
    for name in sorted(draw(st.sets(NAMES, max_size=4))):
        kind = draw(st.sampled_from(EntryType))
        extents = tuple(draw(st.lists(EXTENTS, max_size=3))) if kind is EntryType.FILE else ()
        entries.append(TreeEntry(
            above + name, kind, draw(st.integers(0, 0o7777)), draw(st.integers(0, (1 << 32) - 1)), 0,
            draw(TIMES), draw(TIMES), draw(st.integers(0, (1 << 64) - 1)), sum(e.length for e in extents),
            draw(st.binary(min_size=32, max_size=32)) if kind is EntryType.FILE else b"", extents,
            draw(NAMES) if kind is EntryType.SYMLINK else b"",
        ))
        if kind is EntryType.FOLDER and depth:
            entries += draw(trees(depth - 1, above + name + b"/"))
    return entries


def stream(entries: Iterable[TreeEntry]) -> bytes:
    encoder = TreeEncoder()
    return b"".join([encoder.begin(), *map(encoder.add, entries), encoder.end()])


def read(data: bytes, cuts: Iterable[int] = ()) -> list[TreeEntry]:
    decoder, found, begin = TreeDecoder(), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += decoder.feed(data[begin:end])
        begin = max(begin, end)
    decoder.finish()
    return found


@given(trees(), st.data())
def test_every_tree_comes_back_however_its_stream_is_cut(entries: list[TreeEntry], data: st.DataObject) -> None:
    encoded = stream(entries)
    assert read(encoded, data.draw(st.lists(st.integers(0, len(encoded)), max_size=5))) == entries


@given(trees(), st.data())
def test_every_single_wrong_byte_gives_another_tree_or_a_format_error(
    entries: list[TreeEntry], data: st.DataObject
) -> None:
    encoded = bytearray(stream(entries))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with suppress(FormatError):
        stream(read(bytes(encoded)))


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_end_the_decoder_otherwise_than_with_a_format_error(body: bytes, framed: bool) -> None:
    data = MAGIC + (struct.pack("<I", len(body)) + body if framed else body)
    with suppress(FormatError):
        read(data)
