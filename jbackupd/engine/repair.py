"""Healing a vault: what is damaged or missing is taken again from wherever a sound copy is.

Nothing of another place is trusted: an object is put in its place only when its bytes hash to its name. So any place
will do, and none needs a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jbackupd.engine.replicate import Offload
from jbackupd.engine.verify import VerifyReport, look_at, needs_of, wanted_of
from jbackupd.model.errors import DamageError, JbackupdError, NotFoundError
from jbackupd.model.ids import ObjectRef, TenantId
from jbackupd.protocol.messages import OBJECT_BYTES_MAX
from jbackupd.vault.peer import Peer
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList


@dataclass(frozen=True, slots=True)
class Broken:
    """An object that is damaged or missing.

    Attributes:
        points: Spans of points that need it, for people.
    """

    ref: ObjectRef
    error: JbackupdError
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healed:
    """An object that is sound again."""

    ref: ObjectRef
    place: str
    bytes: int


@dataclass(slots=True)
class Repair:
    """What came of a repair.

    Attributes:
        hopeless: What no place has.
        failures: Why a place could not help, by its name; the others were asked.
    """

    healed: list[Healed] = field(default_factory=list)
    hopeless: list[Broken] = field(default_factory=list)
    failures: dict[str, JbackupdError] = field(default_factory=dict)


class Place(Protocol):
    """Somewhere that may have sound copies of objects."""

    @property
    def name(self) -> str:
        """How people call it."""
        ...

    async def read(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes, unchecked.

        Raises:
            NotFoundError: It is not there; a damaged one is as good as none.
            DamageError: The same.
            JbackupdError: The place cannot be used any more.
        """
        ...


class FolderPlace:
    """Another copy of the tenant's vault in a folder of this machine, for example on a disk that was brought."""

    def __init__(self, store: ObjectStore, *, name: str, offload: Offload = asyncio.to_thread) -> None:
        self.name = name
        self._store = store
        self._offload = offload

    async def read(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes."""
        return await self._offload(self._store.read_checked, ref)


class PeerPlace:
    """Another site, over its line."""

    def __init__(self, peer: Peer, tenant: TenantId) -> None:
        self.name = str(peer.site)
        self._peer = peer
        self._tenant = tenant

    async def read(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes."""
        return b"".join([piece async for piece in self._peer.get(self._tenant, ref, 0, OBJECT_BYTES_MAX)])


def find_broken(store: ObjectStore, points: PointList, soundness: Soundness) -> list[Broken]:
    """Return what is missing, and what some look found damaged and still is. Blocks; reads only the latter.

    What nobody has looked at is not found: that is verify's work.
    """
    needs = needs_of(points, None, VerifyReport())
    wanted = wanted_of(store, points, needs, soundness=soundness)
    suspects = {ref for ref in wanted if not store.has(ref)} | (soundness.unsound() & wanted)
    suspects |= {ref for ref in wanted if ref.name in points.damaged}
    broken = ((ref, look_at(store, ref)[1]) for ref in sorted(suspects))
    return [Broken(ref, error, needs.labels(ref)) for ref, error in broken if error is not None]


async def repair(
    store: ObjectStore, find: Callable[[], Sequence[Broken]], places: Iterable[Place], *,
    on_bytes: Callable[[int], None] = lambda _: None, offload: Offload = asyncio.to_thread,
) -> Repair:
    """Take each broken object from the first place that has a sound copy; each is durable at once.

    Args:
        find: Returns what is broken. Asked again when something was healed: a point that can be read again tells what
            else is missing.
        places: In the order in which they are asked; one that fails is not asked again.
        on_bytes: Called with the bytes that were healed so far.

    Raises:
        NoSpaceError: The disk is full; what was healed stays.
    """
    # A repair that was killed may have left a name that is not durable: nothing is sound before it is.
    await offload(store.settle_all)
    done, usable, tried = Repair(), list(places), set[ObjectRef]()
    while broken := [each for each in await offload(find) if each.ref not in tried]:
        tried.update(each.ref for each in broken)
        for each in broken:
            healed = await _heal(store, each.ref, usable, done, offload)
            if healed is None:
                done.hopeless.append(each)
            else:
                done.healed.append(healed)
                on_bytes(sum(healed.bytes for healed in done.healed))
    return done


async def _heal(
    store: ObjectStore, ref: ObjectRef, usable: list[Place], done: Repair, offload: Offload
) -> Healed | None:
    """Take an object from the first place that has it; places that fail are no longer usable."""
    for place in list(usable):
        try:
            data = await place.read(ref)
        except (NotFoundError, DamageError):
            continue
        except JbackupdError as error:
            done.failures[place.name] = error
            usable.remove(place)
            continue
        try:
            await offload(store.replace, ref, data)
        except DamageError as error:
            done.failures[place.name] = error
            continue
        return Healed(ref, place.name, len(data))
    return None
