"""What takes the room in a vault: by dataset, shared, reclaimable; by names alone, without keys. Blocks."""

from __future__ import annotations

from dataclasses import dataclass

from jbackupd.engine.reclaimplan import chains_of, find_garbage, needed_by
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList


@dataclass(frozen=True, slots=True)
class DatasetUsage:
    """What a dataset's points take.

    Attributes:
        points: That are there.
        removed_points: That were given up.
        bytes: Of all objects that the points name.
        own_bytes: Of those that no other dataset names: what its end would free.
        newest_bytes: Of what the newest point alone names.
    """

    points: int
    removed_points: int
    bytes: int
    own_bytes: int
    newest_bytes: int


@dataclass(frozen=True, slots=True)
class VaultUsage:
    """What a vault takes.

    Attributes:
        bytes: Of all objects.
        reclaimable_bytes: Of what no kept point needs already now.
        point_bytes: Of points, removed ones included: they stay, for the chain.
    """

    bytes: int
    reclaimable_bytes: int
    point_bytes: int
    datasets: dict[DatasetId, DatasetUsage]


def usage_of(store: ObjectStore, points: PointList) -> VaultUsage:
    """Return what takes the room.

    Raises:
        DamageError: A point or an expiry is damaged.
        ChainError: A point is missing.
    """
    sizes = {ObjectRef(kind, name): 0 for kind in ObjectKind for name in store.names(kind)}
    for ref in sizes:
        sizes[ref] = store.size(ref)
    chains = chains_of(points)
    removed = removed_points(store, points.verifiers)
    named = {
        chain[0].header.dataset: needed_by([chain], {point.name for point in chain} - removed.keys())
        for chain in chains
    }
    counts: dict[ObjectRef, int] = {}
    for refs in named.values():
        for ref in refs:
            counts[ref] = counts.get(ref, 0) + 1
    datasets = {}
    for chain in chains:
        dataset, gone = chain[0].header.dataset, sum(point.name in removed for point in chain)
        datasets[dataset] = DatasetUsage(
            len(chain) - gone, gone, _bytes(named[dataset], sizes),
            _bytes({ref for ref in named[dataset] if counts[ref] == 1}, sizes),
            _bytes(needed_by([chain], {chain[-1].name}), sizes),
        )
    return VaultUsage(
        sum(sizes.values()), find_garbage(store, points, points.verifiers).bytes,
        sum(size for ref, size in sizes.items() if ref.kind is ObjectKind.POINT), datasets,
    )


def _bytes(refs: set[ObjectRef], sizes: dict[ObjectRef, int]) -> int:
    return sum(sizes.get(ref, 0) for ref in refs)
