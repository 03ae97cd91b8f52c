"""Reading frames: find, open, decode with their bases, and keep a few at hand."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from jbackupd.catalog.database import Catalog, FramePlace
from jbackupd.codec.compress import decompress
from jbackupd.codec.seal import PackOpener
from jbackupd.format.pack import PACK_HEAD_BYTES, decode_pack_head
from jbackupd.model.errors import DamageError, FormatError, MissingObjectError
from jbackupd.model.ids import FrameId, ObjectKind, ObjectName, ObjectRef, TenantId
from jbackupd.model.records import Extent
from jbackupd.vault.store import ObjectStore

CACHE_BYTES = 64 * 1024 * 1024
"""As much as the closure of one frame may need; a day's frames need their neighbours again at once."""
READ_AHEAD = 2
OPENERS_MAX = 256
DEPTH_MAX = 64
"""No encoder goes beyond 24 frames in a closure; a longer chain is a damaged or hostile vault."""


class SessionKeys(Protocol):
    """What a reader asks of a key source."""

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key (codec.seal).

        Raises:
            KeyMissingError: This holder of keys does not have it.
        """
        ...


class FrameReader:
    """Decodes frames of one vault; safe for several threads.

    Args:
        store: Where the packs are.
        catalog: Where the frames are in the packs.
        keys: Session keys.
        cache_bytes: Plaintext kept at most.
    """

    def __init__(
        self, store: ObjectStore, catalog: Catalog, keys: SessionKeys, *, tenant: TenantId,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys
        self._tenant = tenant
        self._lock = threading.Lock()
        self._room = cache_bytes
        self._cache: OrderedDict[FrameId, bytes] = OrderedDict()
        self._openers: OrderedDict[ObjectName, PackOpener] = OrderedDict()
        self._under_way: dict[FrameId, Future[bytes]] = {}
        self._workers = ThreadPoolExecutor(READ_AHEAD, "frame-reader")

    def frame(self, frame: FrameId) -> bytes:
        """Return a frame's plaintext.

        Raises:
            MissingObjectError: The frame, a base of it, or their pack is not in the vault.
            DamageError: Something is not what was written; nothing of it is returned.
            KeyMissingError: The session's key is not at hand.
        """
        return self._frame(frame, None, 0)

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents, in order; the next frames are decoded meanwhile on other threads.

        Raises:
            As `frame`.
        """
        wanted = list(extents)
        ahead: deque[Future[bytes]] = deque()
        for position, extent in enumerate(wanted):
            if not ahead:
                ahead.append(_done(self.frame(extent.frame)))
            for later in wanted[position + len(ahead) : position + 1 + READ_AHEAD]:
                ahead.append(self._workers.submit(self.frame, later.frame))
            yield self._slice(ahead.popleft().result(), extent)

    def forget(self) -> None:
        """Drop all plaintext."""
        with self._lock:
            self._room += sum(map(len, self._cache.values()))
            self._cache.clear()

    def _frame(self, frame: FrameId, place: FramePlace | None, depth: int) -> bytes:
        """Return a frame from the cache, from who is decoding it just now, or by decoding it."""
        with self._lock:
            if frame in self._cache:
                self._cache.move_to_end(frame)
                return self._cache[frame]
            # A base is never waited for: in a hostile vault two frames could wait for each other.
            under_way = None if depth else self._under_way.get(frame)
            if under_way is None:
                mine = self._under_way[frame] = Future[bytes]()
        if under_way is not None:
            return under_way.result()
        try:
            data = self._found(frame, place, depth)
        except BaseException as error:
            with self._lock:
                self._under_way.pop(frame, None)
            mine.set_exception(error)
            raise
        with self._lock:
            self._keep(frame, data)
            self._under_way.pop(frame, None)
        mine.set_result(data)
        return data

    def _found(self, frame: FrameId, place: FramePlace | None, depth: int) -> bytes:
        if depth > DEPTH_MAX:
            raise DamageError("a chain of frames is longer than any that is written")
        place = place or self._catalog.find_frames([frame]).get(frame)
        if place is None:
            raise MissingObjectError(
                "frame {frame} is not in the vault",
                "run 'jbackupd vault rebuild-catalog TENANT', then fetch what is missing from a peer",
                frame=frame.hex(),
            )
        return self._decode(place, depth)

    def _decode(self, place: FramePlace, depth: int) -> bytes:
        record = place.record
        places = self._catalog.find_frames({base.frame for base in record.bases}) if record.bases else {}
        prefix = b"".join(
            self._slice(self._frame(base.frame, places.get(base.frame), depth + 1), base) for base in record.bases
        )
        ref = ObjectRef(ObjectKind.PACK, place.pack)
        sealed = self._store.read(ref, record.offset, record.sealed_length)
        try:
            payload = self._opener(place).open(place.slot, sealed)
            return decompress(record.encoding, payload, record.plain_length, prefix)
        except DamageError as error:
            raise DamageError(
                "frame {slot} of {object} is damaged: {reason}",
                "run 'jbackupd verify', then fetch the object again from a peer that holds it",
                slot=place.slot, object=ref, reason=error,
            ) from error

    def _opener(self, place: FramePlace) -> PackOpener:
        with self._lock:
            opener = self._openers.get(place.pack)
        if opener is None:
            head = decode_pack_head(self._store.read(ObjectRef(ObjectKind.PACK, place.pack), 0, PACK_HEAD_BYTES))
            if head.session_id != place.session_id:
                raise FormatError("the pack names another session than the catalog")
            opener = PackOpener.with_object_key(
                self._keys.object_key(head.session_id, head.pack_id, ObjectKind.PACK),
                tenant=self._tenant, pack_id=head.pack_id, commitment=head.commitment,
            )
            with self._lock:
                self._openers[place.pack] = opener
                if len(self._openers) > OPENERS_MAX:
                    self._openers.popitem(last=False)
        return opener

    def _keep(self, frame: FrameId, data: bytes) -> None:
        if frame not in self._cache:
            self._cache[frame] = data
            self._room -= len(data)
        while self._room < 0 and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._room += len(dropped)

    @staticmethod
    def _slice(data: bytes, extent: Extent) -> bytes:
        piece = data[extent.offset : extent.offset + extent.length]
        if len(piece) != extent.length:
            raise DamageError("an extent reaches beyond its frame")
        return piece


def _done(data: bytes) -> Future[bytes]:
    future = Future[bytes]()
    future.set_result(data)
    return future
