"""Content-defined cutting: chunks for deduplication, anchors to find what a frame resembles.

Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based
Storage Systems", IEEE TPDS 2020 (FastCDC 2020), as implemented by pyfastcdc.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyfastcdc
from pyfastcdc import FastCDC

from jbackupd.model.errors import StorageError

CHUNK_MIN = 16 * 1024
CHUNK_AVERAGE = 64 * 1024
CHUNK_MAX = 256 * 1024
ANCHOR_AVERAGE = 2048
FINE_AVERAGE = 512
"""For small files, which would have one anchor or two."""
HOOK_RATE = 16
"""One anchor in so many is looked for among all contents: thirty for a megabyte, so that a short frame has some."""

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
    """Finds anchors; its seed is secret too, since anchors follow content. Not for two threads at once.

    Args:
        average: Bytes from one anchor to the next; a quarter and four times that are the bounds.
    """

    def __init__(self, seed: int, average: int = ANCHOR_AVERAGE) -> None:
        self._pieces = FastCDC(
            average, min_size=average // 4, max_size=average * 4, normalized_chunking=1, seed=seed
        )

    def anchors(self, data: bytes | memoryview, position: int) -> Anchors:
        """Return the anchors of one chunk or small file, which begins at a position of its stream.

        The gear hash covers the 64 bytes before a cut: enough to be nearly unique, and it survives a
        change elsewhere in the piece, which a hash of the piece would not. The last piece ends where the
        data ends and needs no anchor.
        """
        found = [(piece.gear_hash, position + piece.offset) for piece in self._pieces.cut_buf(data)]
        return np.array(found[:-1] if len(found) > 1 else found, dtype=ANCHOR)


def anchor_table(found: Sequence[Anchors]) -> Anchors:
    """Return anchors sorted by hash, each hash that occurs more than once left out.

    A hash that repeats (zeros, a form's header) says nothing about where content came from.
    """
    table = joined(found)
    table.sort(order="hash")
    hashes = table["hash"]
    if len(hashes) < 2:
        return table
    equal = hashes[1:] == hashes[:-1]
    repeated = np.zeros(len(hashes), dtype=bool)
    repeated[1:] |= equal
    repeated[:-1] |= equal
    return table[~repeated]


def joined(found: Sequence[Anchors]) -> Anchors:
    """Return the anchors of several chunks as one array of its own."""
    return np.concatenate(found) if found else np.empty(0, dtype=ANCHOR)


def thinned(anchors: Anchors, halvings: int) -> Anchors:
    """Return one in 2**halvings of some anchors; what is left of one content is what is left of another like it."""
    return anchors[_mixed(anchors["hash"]) >> np.uint64(64 - halvings) == 0] if halvings else anchors


def sampled(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return one in HOOK_RATE of some anchors' hashes, always the same ones, each once; as SQLite stores them.

    Source: sparse indexing (Lillibridge et al., FAST'09): what two streams have in common shows in a sample.
    """
    return np.unique(hashes[_mixed(hashes) < np.uint64(2**64 // HOOK_RATE)]).astype(np.int64)


def smallest(hashes: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.int64]:
    """Return the smallest of some anchors' hashes in a mixed order: a sketch that similar contents share.

    Source: Broder, "On the resemblance and containment of documents", 1997.
    """
    distinct = np.unique(hashes)
    return distinct[np.argsort(_mixed(distinct))[:count]].astype(np.int64)


def _mixed(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return hashes in which all bits count: an anchor is where some bits of the gear hash are zero."""
    return hashes * np.uint64(0x9E37_79B9_7F4A_7C15)
