"""Names of things: BLAKE3 of stored bytes, keyed BLAKE3 of content.

The tenant secret never hashes anything itself: each use has a key of its own, derived with
BLAKE3's key derivation and a context string that is part of format 1.
"""

from __future__ import annotations

from typing import Protocol

import blake3

from jbackupd.model.ids import CHUNK_ID_BYTES, FRAME_ID_BYTES, ChunkId, FrameId, ObjectName

Buffer = bytes | bytearray | memoryview
TENANT_SECRET_BYTES = 32
_CONTEXT = "jbackupd 1 {} key"


class Hasher(Protocol):
    """A hash in the making."""

    def update(self, data: Buffer, /) -> object:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """Return the hash of what was taken so far; 32 bytes."""
        ...


def name_of(data: Buffer) -> ObjectName:
    """Return the name of an object: the BLAKE3-256 of its stored bytes."""
    return ObjectName(blake3.blake3(data).digest())


def name_hasher() -> Hasher:
    """Return a hasher whose digest is the name of the bytes it takes."""
    return blake3.blake3()


class ContentHash:
    """Keyed hashes of a tenant's content; equal content of two tenants has nothing in common.

    Args:
        tenant_secret: 32 random bytes, wrapped in the tenant's key object.
    """

    def __init__(self, tenant_secret: bytes) -> None:
        if len(tenant_secret) != TENANT_SECRET_BYTES:
            raise ValueError("a tenant secret has 32 bytes")
        self._chunk, self._frame, self._file, cut, self.record_key = (
            blake3.blake3(tenant_secret, derive_key_context=_CONTEXT.format(use)).digest()
            for use in ("chunk", "frame", "file", "cut", "record")
        )
        """`record_key`: 32 bytes; seals what a record of the keys says to the tenant alone."""
        self.cut_seed = int.from_bytes(cut[:8], "little") >> 1
        """63 bits that decide where content is cut."""

    def chunk_id(self, data: Buffer) -> ChunkId:
        """Return a chunk's id."""
        return ChunkId(blake3.blake3(data, key=self._chunk).digest(CHUNK_ID_BYTES))

    def frame_id(self, data: Buffer) -> FrameId:
        """Return the id of a frame with this plaintext."""
        return FrameId(blake3.blake3(data, key=self._frame).digest(FRAME_ID_BYTES))

    def file_digest(self) -> Hasher:
        """Return a hasher for a file's content."""
        return blake3.blake3(key=self._file)
