"""Restores a fixed point into a folder: python -m tests.hostile.restoring TARGET [RULE]. Says so before it begins."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.options import Conflict, RestoreOptions, RestoreResult
from jbackupd.restore.place import restore

SIZES = [0, 10, 3000, 70_000, 1_500_000]


class FixedPoint:
    """Six folders of forty files and links; a file's content follows from its number."""

    content_hash = ContentHash(b"t" * 32)

    def entries(self) -> Iterator[TreeEntry]:
        for number in range(240):
            folder = b"d%d" % (number // 40)
            if number % 40 == 0:
                yield TreeEntry(folder, EntryType.FOLDER, 0o550, 0, 0, 10**18 + number)
            data = content_of(number)
            digest = self.content_hash.file_digest()
            digest.update(data)
            extents = (Extent(FrameId(b"%016d" % number), 0, len(data)),) if data else ()
            yield TreeEntry(
                folder + b"/%03d" % number, EntryType.FILE, 0o640, 0, 0, 10**18 + number, size=len(data),
                digest=digest.digest(), extents=extents,
            )
            if number % 10 == 9:
                yield TreeEntry(folder + b"/%03d-link" % number, EntryType.SYMLINK, 0o777, 0, 0, 7, target=b"../x")

    def expect(self, extents: Iterable[Extent]) -> FixedPoint:
        """Plan nothing."""
        return self

    def close(self) -> None:
        """Nothing was planned."""

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        for extent in extents:
            yield content_of(int(extent.frame))


def content_of(number: int) -> bytes:
    """Return a file's content."""
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


def run(target: str, rule: Conflict = Conflict.REFUSE) -> RestoreResult:
    """Begin, or go on."""
    return restore(FixedPoint(), target, RestoreOptions(resume=True, conflict=rule, label="t/d@1"))


if __name__ == "__main__":
    print("begins", flush=True)
    run(sys.argv[1], *map(Conflict, sys.argv[2:]))
    print("ended", flush=True)
