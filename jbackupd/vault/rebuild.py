"""Bringing a catalog in line with its vault: reconcile at every opening, rebuild on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.codec.seal import PackOpener
from jbackupd.format.index import IndexedPack, decode_index_head, open_index
from jbackupd.format.pack import (
    PACK_HEAD_BYTES,
    PACK_TAIL_BYTES,
    decode_pack_head,
    open_trailer,
    trailer_span,
)
from jbackupd.model.errors import DamageError, JbackupdError, KeyMissingError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, TenantId
from jbackupd.vault.decoding import SessionKeys
from jbackupd.vault.erased import moved_here
from jbackupd.vault.expiry import moved_packs
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore

FEW_PACKS = 64
"""What a run that was killed leaves is fewer; more come from a lost catalog, and are learned in little memory."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found.

    Attributes:
        forgotten: Packs that the catalog knew and the vault no longer has.
        learned: Packs that the catalog did not know.
        closed: Packs and indexes whose session key is not at hand; their chunks are not deduplicated against.
        damaged: Objects that could not be read, with the error of each.
    """

    forgotten: int
    learned: int
    closed: int
    damaged: tuple[tuple[ObjectRef, JbackupdError], ...]


def reconcile(
    store: ObjectStore, catalog: Catalog, keys: SessionKeys, *, tenant: TenantId, with_chunks: bool = True
) -> Reconciliation:
    """Make a catalog say what the vault holds: forget lost packs, learn of unknown ones.

    A pack may be unknown because a crash came between its rename and the catalog's commit, or
    because the catalog is new or older than the vault. Trailers tell frames and chunks, indexes
    frames without reading packs.

    Args:
        with_chunks: Learn chunks too, which only a backup needs; without, a pack's trailer is read
            only where no index lists the pack.
    """
    known = catalog.packs()
    superseded = moved_here(store).keys() | moved_packs(store, lenient=True).keys()
    present = set(store.names(ObjectKind.PACK)) - superseded
    forgotten = known.keys() - present
    catalog.forget_packs(forgotten)
    unknown = present - known.keys()
    # Learned last: a frame that lies in a sound pack as well is read from there.
    unsound = {ref.name for ref in Soundness(store).unsound(ObjectKind.PACK)}
    scan = _Scan(store, keys, tenant)
    known_indexes = {index for index in known.values() if index is not None}
    indexes = store.names(ObjectKind.INDEX)
    catalog.forget_indexes(known_indexes.difference(indexes))
    if with_chunks:
        # Each pack with its chunks at once: a run that is killed in between leaves no pack known without them.
        _learn_trailers(catalog, scan, sorted(unknown, key=lambda name: (name in unsound, name)))
    learned = set(catalog.packs())
    late: list[tuple[IndexedPack, ObjectName]] = []
    for name in indexes:
        if name not in known_indexes:
            packs = [pack for pack in scan.index(name) if pack.name in present]
            new = [pack for pack in packs if pack.name not in learned]
            catalog.add_packs([pack for pack in new if pack.name not in unsound], indexed=name)
            late += [(pack, name) for pack in new if pack.name in unsound]
            catalog.note_indexed([pack.name for pack in packs if pack.name in learned], name)
            learned.update(pack.name for pack in packs)
    for pack, name in late:
        catalog.add_packs([pack], indexed=name)
    if not with_chunks:
        _learn_trailers(catalog, scan, sorted(unknown - learned))
    return Reconciliation(len(forgotten), len(unknown), scan.closed, tuple(scan.damaged))


def rebuild(store: ObjectStore, catalog: Catalog, keys: SessionKeys, *, tenant: TenantId) -> Reconciliation:
    """Fill an emptied catalog from the vault alone."""
    catalog.clear()
    return reconcile(store, catalog, keys, tenant=tenant)


def _learn_trailers(catalog: Catalog, scan: _Scan, names: list[ObjectName]) -> None:
    if len(names) > FEW_PACKS:
        catalog.fill(scan.trailers(names))
    elif names:
        catalog.add_packs(list(scan.trailers(names)))


class _Scan:
    """Reads indexes and trailers, and counts what cannot be read."""

    def __init__(self, store: ObjectStore, keys: SessionKeys, tenant: TenantId) -> None:
        self._store = store
        self._keys = keys
        self._tenant = tenant
        self.closed = 0
        self.damaged: list[tuple[ObjectRef, JbackupdError]] = []

    def index(self, name: ObjectName) -> list[IndexedPack]:
        ref = ObjectRef(ObjectKind.INDEX, name)
        try:
            data = self._store.read_checked(ref)
            head = decode_index_head(data)
            opener = PackOpener.with_object_key(
                self._keys.object_key(head.session_id, head.pack_id, ObjectKind.INDEX), tenant=self._tenant,
                pack_id=head.pack_id, commitment=head.commitment, kind=ObjectKind.INDEX,
            )
            return open_index(opener, data)
        except KeyMissingError:
            self.closed += 1
        except DamageError as error:
            self.damaged.append((ref, error))
        return []

    def trailers(self, names: list[ObjectName]) -> Iterator[IndexedPack]:
        for name in names:
            ref = ObjectRef(ObjectKind.PACK, name)
            try:
                yield self._trailer(ref)
            except KeyMissingError:
                self.closed += 1
            except DamageError as error:
                self.damaged.append((ref, error))

    def _trailer(self, ref: ObjectRef) -> IndexedPack:
        length = self._store.size(ref)
        head = decode_pack_head(self._store.read(ref, 0, min(length, PACK_HEAD_BYTES)))
        opener = PackOpener.with_object_key(
            self._keys.object_key(head.session_id, head.pack_id, ObjectKind.PACK), tenant=self._tenant,
            pack_id=head.pack_id, commitment=head.commitment,
        )
        tail = self._store.read(ref, max(0, length - PACK_TAIL_BYTES), min(length, PACK_TAIL_BYTES))
        offset, sealed_length = trailer_span(tail, length)
        frames = open_trailer(opener, self._store.read(ref, offset, sealed_length))
        return IndexedPack(ref.name, length, head.session_id, tuple(frames))
