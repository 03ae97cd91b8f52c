"""Making a long file that is there into what the point has, by writing only the blocks that differ.

While its blocks are mixed the file has no right to its name: it is moved to `partial.in_place_name` first, durably,
and gets its name back when all of it was read again and matched its digest. So nobody ever reads mixed bytes under a
right name; who is killed in between goes on with what is right already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import DamageError
from jbackupd.model.records import Extent, TreeEntry
from jbackupd.restore.options import RestorablePoint, Tally

IN_PLACE_BYTES_MIN = 1024 * 1024
"""A shorter file is written anew: that takes no longer than to look for what differs."""
BLOCK_BYTES = 16 * 1024
"""Compared and written at once: a few pages, so that a changed row does not cost a whole stretch."""
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Difference:
    """How a file on disk differs from an entry.

    Attributes:
        is_right: Its content is the entry's.
        stretches: Where it may differ (offset in the file, extent), in order; what is not named is right.
    """

    is_right: bool
    stretches: Sequence[tuple[int, Extent]]


def compare(descriptor: int, entry: TreeEntry, hashes: ContentHash) -> Difference:
    """Compare a file with an entry, without reading the point: a frame is named by the hash of its bytes."""
    digest = hashes.file_digest()
    stretches: list[tuple[int, Extent]] = []
    position = 0
    for extent in entry.extents:
        data = os.pread(descriptor, extent.length, position)
        digest.update(data)
        # An extent that is a whole frame has the frame's name; of a part of a frame nothing is known.
        if extent.offset or hashes.frame_id(data) != extent.frame:
            stretches.append((position, extent))
        position += extent.length
    is_right = digest.digest() == entry.digest and not os.pread(descriptor, 1, position)
    return Difference(is_right, () if is_right else stretches)


def write_differences(
    descriptor: int, entry: TreeEntry, stretches: Sequence[tuple[int, Extent]], point: RestorablePoint,
    note: Callable[[int], None], tally: Tally,
) -> None:
    """Write what differs into a file, and read all of it again.

    Args:
        descriptor: Of the file, readable and writable.
        stretches: From `compare`.
        note: Called with the length of each piece that was read of the point.
        tally: Counts the bytes that were written, at once.

    Raises:
        DamageError: The point cannot be read, or the file is not what was taken even now.
    """
    reading = point.expect(extent for _, extent in stretches)
    try:
        pieces = reading.read([extent for _, extent in stretches])
        for (position, extent), piece in zip(stretches, pieces, strict=True):
            note(len(piece))
            old = os.pread(descriptor, extent.length, position)
            for begin, end in _differing_blocks(old, piece):
                tally.bytes_written += end - begin
                _write_at(descriptor, piece[begin:end], position + begin)
    finally:
        reading.close()
    if os.fstat(descriptor).st_size != entry.size:
        tally.bytes_written += 1
        os.ftruncate(descriptor, entry.size)
    if digest_of(descriptor, point.content_hash) != entry.digest:
        raise DamageError(
            "the content of {path} is not what was taken", "fetch the damaged objects again from a peer",
            path=os.fsdecode(entry.path),
        )


def digest_of(descriptor: int, hashes: ContentHash) -> bytes:
    """Return the keyed digest of a whole file."""
    digest, position = hashes.file_digest(), 0
    while data := os.pread(descriptor, _READ_BYTES, position):
        digest.update(data)
        position += len(data)
    return digest.digest()


def _differing_blocks(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Yield where two pieces differ, neighbouring blocks as one."""
    if old == new:
        return
    begin = None
    for offset in range(0, len(new), BLOCK_BYTES):
        differs = old[offset : offset + BLOCK_BYTES] != new[offset : offset + BLOCK_BYTES]
        if differs and begin is None:
            begin = offset
        elif not differs and begin is not None:
            yield begin, offset
            begin = None
    if begin is not None:
        yield begin, len(new)


def _write_at(descriptor: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, position)
        view, position = view[done:], position + done
