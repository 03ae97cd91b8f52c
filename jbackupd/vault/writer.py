"""Writing frames: sealed into packs, packs made durable, then the catalog told."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.codec.seal import PackSealer
from jbackupd.format.index import IndexedPack
from jbackupd.format.pack import ChunkRecord, PackBuilder
from jbackupd.model.ids import FrameId, ObjectKind, TenantId
from jbackupd.model.records import Encoding, Extent
from jbackupd.vault.store import ObjectStore

PACK_BYTES = 15 * 1024 * 1024
"""A pack is closed at this length: 1.2 s at 100 Mbit/s, so that a cut line loses little, and few files."""
PACK_BYTES_MIN = 10 * 1024 * 1024
PADDING_PART = 256
"""From the least length on a pack is closed where it needs hardly any padding: less than one in so many bytes. Closed
at one length, packs of 16 MiB are padded by 1.6 % on average, so by 0.4 %."""
WRITES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame ready to be sealed."""

    id: FrameId
    payload: bytes
    plain_length: int
    encoding: Encoding
    bases: tuple[Extent, ...]
    chunks: tuple[ChunkRecord, ...]


class PackWriter:
    """Writes the frames of one run, in order. Used by one thread; stores packs on another.

    Args:
        store: Where packs go.
        catalog: Learns of a pack once it is durable.
        session_key: The run's key; the session's key object must be durable already.
    """

    def __init__(
        self, store: ObjectStore, catalog: Catalog, *, tenant: TenantId, session_id: bytes, session_key: bytes,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._tenant = tenant
        self._session_id = session_id
        self._session_key = session_key
        self.durable: Callable[[IndexedPack], None] = lambda _: None
        """Called on the caller's thread with each pack that is durable and in the catalog."""
        self._builder: PackBuilder | None = None
        self._thread = ThreadPoolExecutor(1, "pack-writer")
        self._writing: list[Future[IndexedPack]] = []

    def add(self, frame: EncodedFrame) -> None:
        """Seal a frame into the current pack; may wait for an earlier pack to become durable."""
        if self._builder is None:
            pack_id = secrets.token_bytes(16)
            sealer = PackSealer(self._session_key, tenant=self._tenant, pack_id=pack_id)
            self._builder = PackBuilder(sealer, pack_id=pack_id, session_id=self._session_id)
        self._builder.add(
            frame.id, frame.payload, plain_length=frame.plain_length, encoding=frame.encoding,
            bases=frame.bases, chunks=frame.chunks,
        )
        if self._is_full(self._builder):
            self._close_pack()

    def flush(self) -> None:
        """Close the current pack and wait until every pack is durable and in the catalog."""
        if self._builder is not None:
            self._close_pack()
        while self._writing:
            self._settle_oldest()

    def close(self) -> None:
        """Wait for what is being written, without raising; the current pack is thrown away."""
        self._thread.shutdown(wait=True)

    @staticmethod
    def _is_full(builder: PackBuilder) -> bool:
        if builder.length < PACK_BYTES_MIN:
            return False
        return builder.length >= PACK_BYTES or builder.padding_bytes * PADDING_PART < builder.length

    def _close_pack(self) -> None:
        assert self._builder is not None
        builder, self._builder = self._builder, None
        self._writing.append(self._thread.submit(self._write, builder))
        while len(self._writing) > WRITES_AHEAD:
            self._settle_oldest()

    def _write(self, builder: PackBuilder) -> IndexedPack:
        data = builder.finish()
        name = self._store.put(ObjectKind.PACK, data)
        pack = IndexedPack(name, len(data), self._session_id, tuple(builder.frames))
        self._catalog.add_packs([pack])
        return pack

    def _settle_oldest(self) -> None:
        self.durable(self._writing.pop(0).result())
