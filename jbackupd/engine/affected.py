"""Which files can no longer be read whole, and in which points, when objects are lost for good.

Every frame of a damaged pack is tried once: most of a pack survives a bad sector. What cannot be decoded, and what was
encoded against it, is lost; the trees of the points that need the pack then tell the files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from jbackupd.engine.closure import Closures
from jbackupd.model.errors import DamageError, KeyMissingError, MissingObjectError
from jbackupd.model.ids import FrameId, ObjectKind, ObjectRef
from jbackupd.model.records import EntryType, Extent
from jbackupd.vault.decoding import FrameDecoder
from jbackupd.vault.unsound import frames_that_do_not_open
from jbackupd.vault.vault import StoredPoint, Vault


@dataclass(frozen=True, slots=True)
class Affected:
    """A file that is not whole in a point, or a point of which nothing can be said.

    Attributes:
        path: None when the point's tree cannot be read: all of its files are affected.
        is_closed: This site cannot look into the point: it does not keep the key.
    """

    point: str
    path: bytes | None
    is_closed: bool = False


def affected_files(
    vault: Vault, broken: Collection[ObjectRef], points: Iterable[StoredPoint]
) -> Iterator[Affected]:
    """Yield what is not whole because of broken objects, point by point. Needs the keys.

    Args:
        vault: Its catalog is reconciled.
        broken: Objects that nobody has.
        points: Those that need one of them.
    """
    verdicts = _Verdicts(vault, [ref for ref in broken if ref.kind is ObjectKind.PACK])
    for stored in points:
        try:
            point = vault.open_point(stored)
            for entry in point.entries():
                if entry.type is EntryType.FILE and verdicts.is_lost(entry.extents):
                    yield Affected(stored.label, entry.path)
        except KeyMissingError:
            yield Affected(stored.label, None, is_closed=True)
        except DamageError:
            yield Affected(stored.label, None)


class _Verdicts:
    """Remembers which frames cannot be decoded."""

    def __init__(self, vault: Vault, packs: Sequence[ObjectRef]) -> None:
        self._closures = Closures(vault.catalog)
        self._known: dict[FrameId, bool] = {}
        decoder = FrameDecoder(vault.store, vault.keys, tenant=vault.tenant)
        there = vault.catalog.packs()
        self._undecodable: set[FrameId] = set()
        for ref in packs:
            if ref.name in there:
                frames = list(frames_that_do_not_open(vault.catalog, decoder, ref.name))
                # One that another pack has as well is read from there.
                places = vault.catalog.find_frames(frames)
                self._undecodable.update(frame for frame, place in places.items() if place.pack == ref.name)

    def is_lost(self, extents: Sequence[Extent]) -> bool:
        return any(self._frame_is_lost(extent) for extent in extents)

    def _frame_is_lost(self, extent: Extent) -> bool:
        if extent.frame not in self._known:
            try:
                self._known[extent.frame] = not self._undecodable.isdisjoint(self._closures.of(extent).frames)
            except MissingObjectError:
                self._known[extent.frame] = True
        return self._known[extent.frame]
