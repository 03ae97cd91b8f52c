"""A point of very many small files, without taking it: python -m tests.support.synthetic SITE TARGET FILES.

The contents are pieces of one file that a real backup took, so a real reader decodes real frames; the tree goes
through the real encoder and decoder, piece by piece, and is never whole in memory.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from jbackupd.format.tree import TreeDecoder, TreeEncoder
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.place import restore
from jbackupd.vault.reading import Reading
from jbackupd.vault.vault import OpenPoint
from tests.support.onesite import MemorySource, Site

POOL_BYTES = 24 * 1024 * 1024
FILE_BYTES = 120
FILES_PER_FOLDER = 16


class ManyFiles:
    """Folders of sixteen files and a symlink; file n holds the nth piece of the pool."""

    def __init__(self, point: OpenPoint, files: int) -> None:
        self._point = point
        self._files = files
        self.content_hash = point.content_hash

    def expect(self, extents: Iterable[Extent]) -> Reading:
        """Plan, as a vault does."""
        return self._point.expect(extents)

    def entries(self) -> Iterator[TreeEntry]:
        """Yield what the decoder makes of what the encoder makes of the entries."""
        encoder, decoder = TreeEncoder(), TreeDecoder()
        yield from decoder.feed(encoder.begin())
        for entry in self._made():
            yield from decoder.feed(encoder.add(entry))
        yield from decoder.feed(encoder.end())
        decoder.finish()

    def _made(self) -> Iterator[TreeEntry]:
        pool = next(entry for entry in self._point.entries() if entry.path == b"pool")
        pieces = self._pieces(pool)
        for number in range(self._files):
            folder = b"f%07d" % (number // FILES_PER_FOLDER)
            if number % FILES_PER_FOLDER == 0:
                yield TreeEntry(folder, EntryType.FOLDER, 0o750, 0, 0, 10**18 + number)
                yield TreeEntry(folder + b"/!link", EntryType.SYMLINK, 0o777, 0, 0, 10**18, target=b"../x")
            extent, digest = next(pieces)
            yield TreeEntry(
                folder + b"/%07d" % number, EntryType.FILE, 0o640, 0, 0, 10**18 + number, size=extent.length,
                digest=digest, extents=(extent,),
            )

    def _pieces(self, pool: TreeEntry) -> Iterator[tuple[Extent, bytes]]:
        while True:
            for whole, data in zip(pool.extents, self._point.read(pool.extents), strict=True):
                for offset in range(0, whole.length - FILE_BYTES, FILE_BYTES):
                    digest = self.content_hash.file_digest()
                    digest.update(data[offset : offset + FILE_BYTES])
                    yield Extent(whole.frame, whole.offset + offset, FILE_BYTES), digest.digest()


def main(folder: str, target: str, files: int) -> None:
    """Restore, and print the counts and the most memory that this process had."""
    site = Site(Path(folder))
    site.backup(MemorySource({b"pool": random.Random(1).randbytes(POOL_BYTES)}))
    result = restore(ManyFiles(site.open_point(), files), target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({
        "files": result.files, "folders": result.folders, "symlinks": result.symlinks, "code": result.exit_code,
        "peak_mib": peak,
    }))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
