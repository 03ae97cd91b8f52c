"""What of a vault nobody needs any more. Decides by names alone: no keys, no catalog, no trees.

Every point says which objects it needs, as a difference to the one before it. What the kept points of all datasets
name is needed, and so are the packs that hold what was moved out of those. Of the rest packs and indexes go. Points
stay listed, since later ones continue them; key objects and receipts stay, since they are small and explain the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.erased import moved_here
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.keyhistory import Verifiers
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint

REMOVABLE = (ObjectKind.PACK, ObjectKind.INDEX)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects that no kept point needs, with their bytes."""

    objects: Mapping[ObjectRef, int]

    @property
    def bytes(self) -> int:
        """Their length together."""
        return sum(self.objects.values())

    def names(self, kind: ObjectKind) -> set[ObjectName]:
        """Return those of one kind."""
        return {ref.name for ref in self.objects if ref.kind is kind}


def chains_of(points: PointList) -> list[list[StoredPoint]]:
    """Return all datasets' points, whole chains or nothing.

    Raises:
        DamageError: A point is damaged: nobody can tell what it needs, so nothing may go.
        ChainError: A point is missing, or two have one sequence.
    """
    return [points.chain(dataset) for dataset in points.datasets()]


def needed_by(chains: Iterable[Iterable[StoredPoint]], wanted: Collection[ObjectName]) -> set[ObjectRef]:
    """Return the objects that some points of whole chains name."""
    found: set[ObjectRef] = set()
    for chain in chains:
        # Needed now and not by an earlier wanted point: a chain of years is not added up again at each of its points.
        fresh: set[ObjectRef] = set()
        for point in chain:
            fresh.difference_update(point.header.removed)
            fresh.update(point.header.added)
            if point.name in wanted:
                found |= fresh
                fresh = set()
    return found


def find_garbage(store: ObjectStore, points: PointList, verifiers: Verifiers) -> Garbage:
    """Return what can go: neither kept points nor what was moved needs it.

    Raises:
        DamageError: A point or an expiry is damaged.
        ChainError: A point is missing.
        StorageError: A folder cannot be listed whole.
    """
    chains = chains_of(points)
    removed = removed_points(store, verifiers)
    kept = {point.name for chain in chains for point in chain} - removed.keys()
    moved = moved_packs(store, verifiers)
    needed = with_places(needed_by(chains, kept), store, verifiers, moved)
    refs = [ObjectRef(kind, name) for kind in REMOVABLE for name in store.names(kind)]
    return Garbage({
        ref: store.size(ref) for ref in refs
        if ref not in needed or (ref.kind is ObjectKind.PACK and ref.name in moved)
    })


def with_places(
    needed: Collection[ObjectRef], store: ObjectStore, verifiers: Verifiers, moved: Mapping[ObjectName, ObjectName]
) -> set[ObjectRef]:
    """Return needed objects together with the packs that hold what was moved out of them."""
    erased = moved_here(store, verifiers)
    found, waiting = set(needed), [ref.name for ref in needed if ref.kind is ObjectKind.PACK]
    while waiting:
        pack = waiting.pop()
        places = {*erased.get(pack, ()), *({moved[pack]} if pack in moved else ())}
        new = {ObjectRef(ObjectKind.PACK, name) for name in places} - found
        found |= new
        waiting += [ref.name for ref in new]
    return found
