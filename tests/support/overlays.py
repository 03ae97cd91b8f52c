"""Overlays over a point that is all in memory, beside what each of their names must hold."""

from __future__ import annotations

import os
import random

from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.lazy import BLOCK_BYTES
from jbackupd.restore.overlay import Overlay, make_overlay

SIZES = (3 * BLOCK_BYTES + 1000, BLOCK_BYTES, 100, 0, 20 * BLOCK_BYTES)
NAMES = (*(b"file%d" % number for number in range(len(SIZES))), b"new")


class Point:
    """The contents of a point that is all in memory."""

    def __init__(self) -> None:
        self.files = [random.Random(number).randbytes(size) for number, size in enumerate(SIZES)]
        self.damaged: set[int] = set()

    def read(self, number: int, offset: int, length: int) -> bytes:
        if number in self.damaged:
            raise OSError(5, "damaged")
        data = self.files[number][offset : offset + length]
        assert len(data) == length, "more was asked for than the point has"
        return data

    def entries(self):
        for number, data in enumerate(self.files):
            extents = (Extent(bytes(16), 0, len(data)),) if data else ()
            yield TreeEntry(b"file%d" % number, EntryType.FILE, 0o600, os.geteuid(), os.getegid(), number,
                            size=len(data), digest=bytes(32), extents=extents)


class Rig:
    """An overlay and, beside it, what each name must hold."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.point = Point()
        self.model: dict[bytes, bytes] = {b"file%d" % n: data for n, data in enumerate(self.point.files)}
        make_overlay(folder, "imari/db@1", self.point.entries)
        self.overlay = Overlay(folder, self.point)

    def write(self, name: bytes, offset: int, data: bytes, *, sync: bool) -> None:
        handle = self.overlay.open(name, os.O_RDWR)
        assert self.overlay.write(handle, offset, data) == len(data)
        if sync:
            self.overlay.sync(handle)
        self.overlay.release(handle)
        old = self.model[name].ljust(offset, b"\0")
        self.model[name] = old[:offset] + data + old[offset + len(data) :]

    def check(self) -> None:
        assert {name: self.content(name) for name in self.listed()} == self.model

    def listed(self) -> set[bytes]:
        folder = self.overlay.open_folder(b"")
        try:
            return set(map(os.fsencode, os.listdir(folder)))
        finally:
            os.close(folder)

    def content(self, name: bytes) -> bytes:
        handle = self.overlay.open(name, os.O_RDONLY)
        try:
            size = self.overlay.status(handle).st_size
            assert size == self.overlay.look(name).st_size
            return self.overlay.read(handle, 0, size + 10)
        finally:
            self.overlay.release(handle)

    def sync_all(self) -> None:
        for name in self.model:
            handle = self.overlay.open(name, os.O_RDWR)
            self.overlay.sync(handle)
            self.overlay.release(handle)

    def crash(self) -> None:
        self.overlay.lazy.abandon()
        self.overlay = Overlay(self.folder, self.point)
