"""A bringer as threads see it: calls that block until what they want is here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from jbackupd.catalog.database import Catalog
from jbackupd.engine.bring import Bringer, Wanted
from jbackupd.format.pack import PACK_HEAD_BYTES
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.model.records import Extent
from jbackupd.vault.parts import Parts
from jbackupd.vault.plan import make_plan
from jbackupd.vault.ranges import Ranges


class Brings:
    """The face of a bringer for threads.

    Args:
        bringer: Lives on its loop; readers must not be on that thread.
        parts: Its parts.
        catalog: Where frames are.
    """

    def __init__(self, bringer: Bringer, parts: Parts, catalog: Catalog) -> None:
        self._bringer = bringer
        self._parts = parts
        self._catalog = catalog

    def range(self, ref: ObjectRef, offset: int, length: int) -> None:
        """Return once a range of a pack is here; see `Bringer.bring`."""
        self._bring([Wanted(self._parts.of(ref.name), offset, offset + length)])

    def doubt(self, ref: ObjectRef, offset: int, length: int) -> None:
        """Say that bytes of a pack turned out wrong; its part has forgotten them."""
        doubt = self._bringer.doubt(self._parts.of(ref.name), offset, length)
        asyncio.run_coroutine_threadsafe(doubt, self._bringer.loop).result()

    def frames(self, extents: Iterable[Extent], is_here: Callable[[ObjectRef], bool]) -> None:
        """Return once all frames that extents need are here: one round trip for all of them together.

        Args:
            is_here: Tells which packs are in the vault.
        """
        plan = make_plan(extents, self._catalog.find_frames, lambda _: False)
        ranges: dict[ObjectName, Ranges] = {}
        for place in plan.places.values():
            wanted = ranges.setdefault(place.pack, Ranges([(0, PACK_HEAD_BYTES)]))
            wanted.add(place.record.offset, place.record.offset + place.record.sealed_length)
        self._bring([
            Wanted(part, begin, end)
            for pack, wanted in ranges.items() if not is_here(ObjectRef(ObjectKind.PACK, pack))
            for part in [self._parts.of(pack)] for begin, end in wanted
        ])

    def packs(self, extents: Iterable[Extent]) -> list[ObjectName]:
        """Return the packs that extents need, in the order in which they are first needed."""
        found: dict[ObjectName, None] = {}
        batch: list[Extent] = []

        def look() -> None:
            plan = make_plan(batch, self._catalog.find_frames, lambda _: False)
            found.update(dict.fromkeys(place.pack for place in plan.places.values()))
            batch.clear()

        for extent in extents:
            batch.append(extent)
            if len(batch) >= 32:
                look()
        look()
        return list(found)

    def _bring(self, wanted: Sequence[Wanted]) -> None:
        if not wanted:
            return
        asyncio.run_coroutine_threadsafe(self._bringer.bring(wanted), self._bringer.loop).result()
