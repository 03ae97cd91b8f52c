"""Rows of very many chunks in the order of their ids, with little memory: by the first byte, then each part alone.

A tree of ten million chunks that is filled in order grows at its end; filled as chunks come, each of them is
a page elsewhere. The ids are keyed hashes, so the parts are of one size: of ten million, 40,000 rows each.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterable, Iterator

Row = tuple[bytes, int, int, int]
"""Chunk, number of its frame, offset in that, length."""
_ROW = struct.Struct("<16sQII")
_PARTS = 256
HELD_BYTES = 16 * 1024
"""Of each part, before it goes to the file: 4 MiB of all."""


class SortedRows:
    """Takes rows in any order and gives them back in the order of their chunks. Close it after use.

    Args:
        folder: Where a file without a name may grow to 32 bytes a row; None for the system's place.
    """

    def __init__(self, folder: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
        self._held = [bytearray() for _ in range(_PARTS)]
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]
        self._end = 0

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows.

        Raises:
            OSError: The disk is full, or failing.
        """
        pack, held = _ROW.pack, self._held
        for row in rows:
            part = held[row[0][0]]
            part += pack(*row)
            if len(part) >= HELD_BYTES:
                self._write(row[0][0])

    def rows(self) -> Iterator[Row]:
        """Yield all rows, sorted.

        Raises:
            OSError: The file cannot be read.
        """
        for number in range(_PARTS):
            part = b"".join([self._read(*place) for place in self._written[number]] + [bytes(self._held[number])])
            size = _ROW.size
            yield from map(_ROW.unpack, sorted([part[at : at + size] for at in range(0, len(part), size)]))

    def _write(self, number: int) -> None:
        data, self._held[number] = self._held[number], bytearray()
        left = memoryview(data)
        while left:
            left = left[os.pwrite(self._file.fileno(), left, self._end + len(data) - len(left)) :]
        self._written[number].append((self._end, len(data)))
        self._end += len(data)

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset)
        assert len(data) == length, "the file is our own, and local"
        return data
