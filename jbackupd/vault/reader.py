"""Reading frames: find, open, decode with their bases, and keep a few at hand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog, FramePlace
from jbackupd.model.errors import DamageError, MissingObjectError
from jbackupd.model.ids import FrameId, TenantId
from jbackupd.model.records import Extent
from jbackupd.vault.decoding import FrameDecoder, Load, SessionKeys
from jbackupd.vault.framecache import FrameCache
from jbackupd.vault.plan import Plan, make_plan
from jbackupd.vault.reading import Reading
from jbackupd.vault.schedule import Schedule
from jbackupd.vault.store import ObjectStore

CACHE_BYTES = 64 * 1024 * 1024
"""Half of the widest closure, whose frames are then decoded 1.7 times; a day's frames share theirs."""
READ_AHEAD = 2
AHEAD_BYTES = 16 * 1024 * 1024
"""Plaintext that may be decoded before it is asked for, for all readings together: four large frames."""
DEPTH_MAX = 64
"""No encoder goes beyond eight; a longer chain is a damaged or hostile vault."""


@dataclass(frozen=True, slots=True)
class _Planned:
    place: FramePlace
    load: Load
    reading: Reading


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
        self._catalog = catalog
        self._decoder = FrameDecoder(store, keys, tenant=tenant)
        # Reentrant: a generator that is collected while this is held ends its reading on this very thread.
        self._lock = threading.RLock()
        self._cache = FrameCache(cache_bytes)
        self._planned: dict[FrameId, _Planned] = {}
        self._under_way: dict[FrameId, Future[bytes]] = {}
        self._workers = ThreadPoolExecutor(READ_AHEAD, "frame-reader")
        self._schedule = Schedule()
        self._asked: dict[FrameId, Future[bytes]] = {}
        # Threads of their own: those of `read` wait for them.
        self._planned_workers = ThreadPoolExecutor(READ_AHEAD, "frame-planner")
        self.ahead_bytes = 0
        """Decoded ahead, or about to be, and not yet asked for."""
        self.counts = self._decoder.counts

    def frame(self, frame: FrameId) -> bytes:
        """Return a frame's plaintext.

        Raises:
            MissingObjectError: The frame, a base of it, or their pack is not in the vault.
            DamageError: Something is not what was written; nothing of it is returned.
            KeyMissingError: The session's key is not at hand.
        """
        return self._frame(frame, None, 0)

    def view(self, extent: Extent) -> memoryview:
        """Return an extent's bytes without copying them; the frame stays in memory as long as the view.

        Raises:
            As `frame`.
        """
        piece = memoryview(self.frame(extent.frame))[extent.offset : extent.offset + extent.length]
        if len(piece) != extent.length:
            raise DamageError("an extent reaches beyond its frame")
        return piece

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
            yield self.slice(ahead.popleft().result(), extent)

    def expect(self, extents: Iterable[Extent]) -> Reading:
        """Begin to read what is known beforehand: planned, merged, each frame decoded once if memory allows.

        Args:
            extents: In the order in which they will be read; as many are looked at as are planned at once.
        """
        return Reading(self, extents)

    @property
    def planned_frames(self) -> int:
        """How many frames readings have planned and not yet brought."""
        return len(self._planned)

    def close(self) -> None:
        """End the threads that decode ahead; the reader cannot be used any more."""
        self._workers.shutdown(cancel_futures=True)
        self._planned_workers.shutdown(cancel_futures=True)
        for frame in self._asked:
            self._planned.pop(frame, None)

    def forget(self) -> None:
        """Drop all plaintext."""
        with self._lock:
            self._cache.clear()

    @staticmethod
    def slice(data: bytes, extent: Extent) -> bytes:
        """Return an extent's bytes of its frame.

        Raises:
            DamageError: The frame is shorter.
        """
        piece = data[extent.offset : extent.offset + extent.length]
        if len(piece) != extent.length:
            raise DamageError("an extent reaches beyond its frame")
        return piece

    # What a reading asks for.

    def plan(self, reading: Reading, extents: Sequence[Extent]) -> Plan:
        """Plan extents for a reading: what it needs is kept from now on, until it has used it or ended."""
        plan = make_plan(extents, self._catalog.find_frames, self._is_known)
        loads = {stretch: Load(stretch) for stretch in set(plan.stretches.values())}
        with self._lock:
            self._cache.expect(plan.uses)
            for frame, place in plan.places.items():
                self._planned.setdefault(frame, _Planned(place, loads[plan.stretches[frame]], reading))
        return plan

    def decode_ahead(self, frame: FrameId, *, at_any_price: bool) -> int | None:
        """Decode a planned frame on another thread if there is room; it goes to the cache.

        Args:
            at_any_price: Even if there is no room.

        Returns:
            Its plain length, to be given back by `note_taken`; 0 if there is nothing to do, None without room.
        """
        with self._lock:
            planned = self._planned.get(frame)
            if planned is None or frame in self._asked:
                return 0
            length = planned.place.record.plain_length
            if self.ahead_bytes + length > AHEAD_BYTES and not at_any_price:
                return None
            self.ahead_bytes += length
            self._ask(frame)
        return length

    def note_taken(self, length: int) -> None:
        """Note that what was decoded ahead has been asked for."""
        with self._lock:
            self.ahead_bytes -= length

    def note_use(self, frame: FrameId) -> None:
        """Note one planned use of a frame."""
        with self._lock:
            self._cache.used(frame)

    def end_reading(self, reading: Reading, left: Mapping[FrameId, int], ahead_bytes: int) -> None:
        """Forget what a reading has planned and not used."""
        with self._lock:
            self.ahead_bytes -= ahead_bytes
            for frame, count in left.items():
                if count:
                    self._cache.used(frame, count)
                planned = self._planned.get(frame)
                if planned is not None and planned.reading is reading and frame not in self._asked:
                    del self._planned[frame]

    def _is_known(self, frame: FrameId) -> bool:
        with self._lock:
            return frame in self._planned or frame in self._cache

    # Decoding by plan: whoever is free takes the next frame whose bases are there.

    def _ask(self, frame: FrameId) -> Future[bytes]:
        """Let a planned frame and all that it needs be decoded; the lock is held."""
        new, ready = self._schedule.ask(frame, self._bases_to_decode)
        for one in new:
            self._asked[one] = Future()
        self._employ(ready)
        return self._asked[frame]

    def _bases_to_decode(self, frame: FrameId) -> list[FrameId]:
        bases = {base.frame for base in self._planned[frame].place.record.bases}
        return [base for base in bases if base in self._planned and base not in self._cache]

    def _employ(self, count: int) -> None:
        for _ in range(count):
            self._planned_workers.submit(self._work)

    def _work(self) -> None:
        with self._lock:
            frame = self._schedule.next()
            assert frame is not None, "one call for each frame that is ready"
            planned, data = self._planned.get(frame), self._cache.get(frame)
        try:
            if data is None:
                data = self._found(frame, planned.place if planned else None, planned, 0)
                self._keep(frame, data, planned)
        except BaseException as error:
            with self._lock:
                lost = [frame, *self._schedule.failed(frame)]
                waiting = [self._asked.pop(one) for one in lost]
                for one in lost:
                    self._planned.pop(one, None)
            for future in waiting:
                future.set_exception(error)
            return
        with self._lock:
            self._employ(self._schedule.done(frame))
            future = self._asked.pop(frame)
        future.set_result(data)

    def _keep(self, frame: FrameId, data: bytes, planned: _Planned | None) -> None:
        """Put a frame into the cache; what it needed has been used."""
        with self._lock:
            self._cache.put(frame, data)
            was_planned = self._planned.pop(frame, None) is not None
        if planned is not None and was_planned:
            planned.reading.note_used(base.frame for base in planned.place.record.bases)

    # Decoding.

    def _frame(self, frame: FrameId, place: FramePlace | None, depth: int) -> bytes:
        """Return a frame from the cache, from who is decoding it just now, or by decoding it."""
        with self._lock:
            data = self._cache.get(frame)
            if data is not None:
                return data
            planned = self._planned.get(frame)
            under_way = None
            if not depth:
                # A base is never waited for: in a hostile vault two frames could wait for each other.
                is_planned = planned is not None
                under_way = self._asked.get(frame) or self._ask(frame) if is_planned else self._under_way.get(frame)
            mine = Future[bytes]()
            is_told = under_way is None and self._under_way.setdefault(frame, mine) is mine
        if under_way is not None:
            return under_way.result()
        try:
            data = self._found(frame, planned.place if planned is not None else place, planned, depth)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            self._keep(frame, data, planned)
            mine.set_result(data)
            return data
        finally:
            if is_told:
                with self._lock:
                    del self._under_way[frame]

    def _found(self, frame: FrameId, place: FramePlace | None, planned: _Planned | None, depth: int) -> bytes:
        if depth > DEPTH_MAX:
            raise DamageError("a chain of frames is longer than any that is written")
        place = place or self._catalog.find_frames([frame]).get(frame)
        if place is None:
            raise MissingObjectError(
                "frame {frame} is not in the vault",
                "run 'jbackupd vault rebuild-catalog TENANT', then fetch what is missing from a peer",
                frame=frame.hex(),
            )
        prefix = self._prefix(place.record.bases, depth)
        return self._decoder.decode(place, prefix, planned.load if planned else None)

    def _prefix(self, bases: Sequence[Extent], depth: int) -> bytes | memoryview:
        """Return the stretches of bases one after another; one alone is not copied."""
        unplanned = {base.frame for base in bases if not self._is_known(base.frame)}
        places = self._catalog.find_frames(unplanned) if unplanned else {}
        found: dict[FrameId, bytes] = {}
        for frame in {base.frame for base in bases}:
            found[frame] = self._frame(frame, places.get(frame), depth + 1)
        pieces = [memoryview(found[base.frame])[base.offset : base.offset + base.length] for base in bases]
        if any(len(piece) != base.length for piece, base in zip(pieces, bases, strict=True)):
            raise DamageError("an extent reaches beyond its frame")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _done(data: bytes) -> Future[bytes]:
    future = Future[bytes]()
    future.set_result(data)
    return future
