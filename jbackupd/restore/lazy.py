"""A file that is not complete yet: what it lacks is read from a point when it is wanted, and kept.

The file lies in a folder of its own as a sparse file of full size. It is cut into blocks; a block is *missing* until
it was fetched or written. What is missing comes from the point, whatever the hole in the file says. Beyond the
*limit* nothing is missing: there the file has grown, or was cut off and has grown again.

A block that is at hand only becomes durable with `sync`: first the bytes, then the note that they are right. A crash
in between leaves it missing, and what was written into it and never synced is lost, as on any file system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

BLOCK_BYTES = 64 * 1024
"""A page of 8 KiB that is written into a missing block costs a read of the rest; what is noted of a file of 1 GiB is
16,384 blocks."""
FETCH_BLOCKS_MAX = 16
"""A frame holds about a megabyte: to fetch less of it would decode it again."""

Run = tuple[int, int]
"""Blocks from the first up to, and not with, the second."""
Blocks = tuple[int, list[Run]]
"""Of a file, by its number."""


class Contents(Protocol):
    """The bytes of a point's files. May be called from several threads."""

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return exactly so many bytes of a file, which it has.

        Raises:
            OSError: They cannot be had: EIO. Nothing wrong is returned.
        """
        ...


class LazyFile:
    """One file; safe for several threads.

    Args:
        number: Which file of the point it is.
        descriptor: Open for reading and writing; closed by `close`.
        limit: Where what the point has of it ends; at most the file's size.
        valid: Blocks that are at hand and durable.
        contents: Where the missing ones come from.
        note_valid: Makes a note durable: these blocks are at hand.
        note_limit: Makes a note durable: nothing of this file beyond this is the point's.
    """

    def __init__(
        self, number: int, descriptor: int, limit: int, valid: Sequence[Run], contents: Contents, *,
        note_valid: Callable[[list[Blocks]], None], note_limit: Callable[[int, int], None],
    ) -> None:
        self.number = number
        self.descriptor = descriptor
        self.handles = 0
        """How often it is open; kept by who opens it."""
        self._limit = limit
        self._have = bytearray(-(-limit // BLOCK_BYTES))
        for begin, end in valid:
            for block in range(begin, min(end, len(self._have))):
                self._have[block] = 1
        self._missing = self._have.count(0)
        self._fresh: set[int] = set()
        """At hand, and not yet noted."""
        self._contents = contents
        self._note_valid = note_valid
        self._note_limit = note_limit
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._failed = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing; perhaps not yet durable."""
        return not self._missing

    @property
    def missing_bytes(self) -> int:
        """How much is missing, in whole blocks."""
        return self._missing * BLOCK_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes; fewer at the end of the file.

        Raises:
            OSError: What is missing cannot be had.
        """
        self._bring(offset, offset + length)
        return os.pread(self.descriptor, length, offset)

    def write(self, offset: int, data: bytes) -> int:
        """Write bytes, wherever; not durable."""
        begin, end = offset, offset + len(data)
        if not data:
            return 0
        while True:
            # The first and the last block may be written in part: the rest of them must be there first.
            for edge in (begin, end - 1):
                block = edge // BLOCK_BYTES
                if not self._covers(begin, end, block):
                    self._bring(block * BLOCK_BYTES, block * BLOCK_BYTES + 1)
            with self._lock:
                if all(self._covers(begin, end, edge // BLOCK_BYTES) for edge in (begin, end - 1)):
                    written = os.pwrite(self.descriptor, data, offset)
                    first, last = begin // BLOCK_BYTES, (begin + written - 1) // BLOCK_BYTES
                    for block in range(first, min(last + 1, len(self._have))):
                        if self._covers(begin, begin + written, block):
                            self._mark(block)
                    return written

    def truncate(self, length: int) -> None:
        """Cut the file, or let it grow; what is cut off of the point's part is cut off durably.

        The file is cut before it is noted: a crash in between leaves it shorter than its limit, which tells the same.
        """
        with self._syncing, self._lock:
            os.ftruncate(self.descriptor, length)
            if length >= self._limit:
                return
            self._limit = length
            del self._have[-(-length // BLOCK_BYTES) :]
            self._fresh = {block for block in self._fresh if block < len(self._have)}
            self._missing = self._have.count(0)
            os.fsync(self.descriptor)
            self._note_limit(self.number, length)

    def sync(self) -> None:
        """Make what was written durable, and note which blocks are at hand.

        Raises:
            OSError: It could not be made durable; what was written since the last time may be lost.
        """
        with self.syncing() as fresh:
            os.fsync(self.descriptor)
            if fresh:
                self._note_valid([(self.number, fresh)])

    @contextlib.contextmanager
    def syncing(self) -> Iterator[list[Run]]:
        """Give the blocks that are at hand and not yet noted; within, they are made durable and noted.

        Raises:
            OSError: An earlier time failed.
        """
        with self._syncing:
            with self._lock:
                fresh, self._fresh = self._fresh, set()
            try:
                if self._failed:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                yield runs(fresh)
            except BaseException:
                # The system may have dropped what it could not write, and would say yes the next time.
                self._failed = True
                raise

    def fill(self, begin: int) -> int | None:
        """Fetch the first missing blocks from a block on, a megabyte at most.

        Returns:
            The block to go on from; None if nothing is missing from there on.
        """
        with self._lock:
            found = self._next_missing(begin, len(self._have))
        if found is None:
            return None
        self._fetch(found)
        return found[1]

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def _bring(self, begin: int, end: int) -> None:
        """Fetch what is missing of a range."""
        while self._missing:
            with self._lock:
                last = min(end, self._limit)
                found = self._next_missing(begin // BLOCK_BYTES, -(-last // BLOCK_BYTES)) if begin < last else None
                if found is not None:
                    # What is decoded anyway is kept: a scan comes back for it at once.
                    found = self._next_missing(found[0], len(self._have))
            if found is None:
                return
            self._fetch(found)

    def _next_missing(self, begin: int, end: int) -> Run | None:
        """Return the first run of missing blocks in a range; the lock is held."""
        first = self._have.find(0, begin, end)
        if first < 0:
            return None
        most = min(first + FETCH_BLOCKS_MAX, end)
        following = self._have.find(1, first, most)
        return first, following if following >= 0 else most

    def _fetch(self, run: Run) -> None:
        begin = run[0] * BLOCK_BYTES
        length = min(run[1] * BLOCK_BYTES, self._limit) - begin
        # Not under the lock: who reads another part must not wait for a thin line. What a point holds never changes.
        if length <= 0:
            return  # cut off meanwhile
        data = memoryview(self._contents.read(self.number, begin, length))
        if len(data) != length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with self._lock:
            self._keep(run, data)

    def _keep(self, run: Run, data: memoryview) -> None:
        """Put fetched blocks in that are still missing; the file's time stays. The lock is held."""
        status = os.fstat(self.descriptor)
        block, end = run[0], min(run[1], len(self._have))
        while (found := self._next_missing(block, end)) is not None:
            first, block = found
            piece = data[(first - run[0]) * BLOCK_BYTES : min(block * BLOCK_BYTES, self._limit) - run[0] * BLOCK_BYTES]
            _write_all(self.descriptor, piece, first * BLOCK_BYTES)
            for one in range(first, block):
                self._mark(one)
        os.utime(self.descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _covers(self, begin: int, end: int, block: int) -> bool:
        """Tell whether a block is at hand, or a range that is written has all that it would lack."""
        if block >= len(self._have) or self._have[block]:
            return True
        return begin <= block * BLOCK_BYTES and end >= min((block + 1) * BLOCK_BYTES, self._limit)

    def _mark(self, block: int) -> None:
        if not self._have[block]:
            self._have[block] = 1
            self._missing -= 1
            self._fresh.add(block)


def runs(blocks: set[int]) -> list[Run]:
    """Return blocks as runs, in order."""
    found: list[Run] = []
    for block in sorted(blocks):
        if found and found[-1][1] == block:
            found[-1] = (found[-1][0], block + 1)
        else:
            found.append((block, block + 1))
    return found


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
