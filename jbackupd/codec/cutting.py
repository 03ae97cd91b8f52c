"""Content-defined cutting: chunks for deduplication, anchors to find what a frame resembles.

Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based
Storage Systems", IEEE TPDS 2020 (FastCDC 2020), as implemented by pyfastcdc.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyfastcdc
from pyfastcdc import FastCDC

from jbackupd.model.errors import StorageError

CHUNK_MIN = 16 * 1024
CHUNK_AVERAGE = 64 * 1024
CHUNK_MAX = 256 * 1024
ANCHOR_MIN = 512
ANCHOR_AVERAGE = 2048
ANCHOR_MAX = 8192

Anchors = npt.NDArray[np.void]
ANCHOR = np.dtype([("hash", "<u8"), ("position", "<u8")])
"""A place that the same content leads to: the gear hash of the 64 bytes before a cut, and where."""


def require_compiled_cutter() -> None:
    """Refuse to run on the pure Python fallback of the cutter, a hundred times slower.

    Raises:
        StorageError: The compiled module is missing from this installation.
    """
    if not FastCDC.__module__.startswith("pyfastcdc.cy"):
        raise StorageError(
            "the compiled cutter of pyfastcdc {version} is missing on this machine",
            "install pyfastcdc from a wheel made for this Python",
            version=pyfastcdc.__version__,
        )


class Cutter:
    """Cuts chunks with a secret seed; not for two threads at once."""

    def __init__(self, seed: int) -> None:
        self._chunks = FastCDC(
            CHUNK_AVERAGE, min_size=CHUNK_MIN, max_size=CHUNK_MAX, normalized_chunking=2, seed=seed
        )

    def cut(self, data: bytes | memoryview, *, last: bool) -> list[int]:
        """Return the chunk lengths of a buffer's begin.

        The cut restarts at every chunk, so what remains behind the last returned chunk is to be put
        in front of the next buffer.

        Args:
            data: Begins at a chunk's begin.
            last: The stream ends with this buffer; then the lengths cover it wholly.
        """
        lengths = [chunk.length for chunk in self._chunks.cut_buf(data)]
        if not last and lengths:
            lengths.pop()
        return lengths


class AnchorCutter:
    """Finds anchors; its seed is secret too, since anchors follow content. Not for two threads at once."""

    def __init__(self, seed: int) -> None:
        self._pieces = FastCDC(
            ANCHOR_AVERAGE, min_size=ANCHOR_MIN, max_size=ANCHOR_MAX, normalized_chunking=1, seed=seed
        )

    def anchors(self, chunk: bytes | memoryview, position: int) -> list[tuple[int, int]]:
        """Return (hash, position) for the pieces of one chunk.

        The gear hash covers the 64 bytes before a cut: enough to be nearly unique, and it survives a
        change elsewhere in the piece, which a hash of the piece would not. The last piece ends where the
        chunk ends and needs no anchor.
        """
        found = [(piece.gear_hash, position + piece.offset) for piece in self._pieces.cut_buf(chunk)]
        return found[:-1] if len(found) > 1 else found


def anchor_table(found: list[tuple[int, int]]) -> Anchors:
    """Return anchors sorted by hash, each hash that occurs more than once left out.

    A hash that repeats (zeros, a form's header) says nothing about where content came from.
    """
    table = np.array(found, dtype=ANCHOR)
    table.sort(order="hash")
    hashes = table["hash"]
    if len(hashes) < 2:
        return table
    equal = hashes[1:] == hashes[:-1]
    repeated = np.zeros(len(hashes), dtype=bool)
    repeated[1:] |= equal
    repeated[:-1] |= equal
    return table[~repeated]
