"""A file of a point, read at any offset: only the frames that a read touches are opened."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from jbackupd.model.errors import DamageError
from jbackupd.model.ids import FRAME_ID_BYTES, FrameId
from jbackupd.model.records import Extent

ReadExtents = Callable[[Iterable[Extent]], Iterator[bytes]]
"""Yields the bytes of extents in order; safe for several threads; raises DamageError and its kind."""


class Extents:
    """The extents of a file, found by offset. 36 bytes each: a file of terabytes has a million.

    Args:
        extents: In the order of the file, each as frame, offset and length.
    """

    def __init__(self, extents: Iterable[tuple[bytes, int, int]]) -> None:
        self._frames = bytearray()
        self._offsets = array("Q")
        self._begins = array("Q")
        end = 0
        for frame, offset, length in extents:
            self._frames += frame
            self._offsets.append(offset)
            self._begins.append(end)
            end += length
        self.size = end
        """Bytes of the file."""

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, number: int) -> Extent:
        frame = bytes(self._frames[number * FRAME_ID_BYTES : (number + 1) * FRAME_ID_BYTES])
        return Extent(FrameId(frame), self._offsets[number], self.end(number) - self._begins[number])

    def begin(self, number: int) -> int:
        """Return where in the file an extent begins."""
        return self._begins[number]

    def end(self, number: int) -> int:
        """Return where in the file an extent ends."""
        return self._begins[number + 1] if number + 1 < len(self) else self.size

    def at(self, offset: int) -> int:
        """Return the number of the extent that holds a byte of the file."""
        return bisect_right(self._begins, offset) - 1

    def between(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield what a range consists of: whole extents, the outer ones cut to the range.

        Args:
            offset: From the file's begin; it and the range's end lie within the file.
            length: Bytes; for 0 nothing is yielded.
        """
        end = offset + length
        number = self.at(offset)
        while offset < end:
            whole, begin = self[number], self.begin(number)
            stop = min(end, begin + whole.length)
            yield Extent(whole.frame, whole.offset + offset - begin, stop - offset)
            offset, number = stop, number + 1


class FileView:
    """Bytes of one file; safe for several threads. Made by `PointView.open`.

    Args:
        read: Reads frames.
        extents: What the file consists of.
    """

    def __init__(self, read: ReadExtents, extents: Extents) -> None:
        self._read = read
        self.extents = extents
        self.size = extents.size

    def read(self, offset: int, length: int) -> bytes:
        """Return a range of the file; shorter only where the file ends, empty behind its end. Blocks.

        Args:
            offset: 0 or more.
            length: 0 or more; so much memory is taken, and that of the frames that it touches.

        Raises:
            DamageError: Something is not what was taken; nothing of it is returned.
            KeyMissingError: The session's key is not at hand.
            PeerError: It lies only at a peer, and no peer answers.
        """
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        pieces = list(self._read(self.extents.between(offset, length)))
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(data) != length:
            raise DamageError("an extent reaches beyond its frame")
        return data
