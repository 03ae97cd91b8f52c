"""The commit of a backup run: key object, index, point, in this order, each durable before the next."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from jbackupd.codec.seal import PackSealer
from jbackupd.codec.signing import SiteSigner
from jbackupd.format.index import IndexedPack, encode_index
from jbackupd.format.point import PointBody, PointHeader, encode_point, seal_body
from jbackupd.model.ids import NO_OBJECT, DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId
from jbackupd.vault.erased import moved_here
from jbackupd.vault.keydirectory import KeyDirectory
from jbackupd.vault.keyring import Session
from jbackupd.vault.vault import Vault

INDEX_FRAMES = 20_000
"""Of one index: some 50 GB of data, 2 MB to read, 15 MB of memory to decode. A day's index is one."""


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who takes a point: the site, in which epoch, signing with what."""

    site: SiteId
    epoch: int
    signer: SiteSigner


@dataclass(frozen=True, slots=True)
class Committed:
    """A point that is durable in the vault.

    Attributes:
        new_object_bytes: What a peer that holds all points up to now has to receive: added objects and the point.
    """

    name: ObjectName
    header: PointHeader
    new_object_bytes: int


def commit_point(
    vault: Vault, dataset: DatasetId, body: PointBody, *, packs: Collection[ObjectName], session: Session,
    author: Authorship, begun_at: datetime, taken_at: datetime, incomplete: bool,
) -> Committed:
    """Commit a run; when this returns, the point is durable and restorable.

    Args:
        vault: All packs of the run are durable in it and in its catalog.
        packs: Every pack that the point needs, earlier ones included.
        session: The run's session; its key object is durable in the vault.
    """
    chain = vault.points.chain(dataset)
    before = vault.points.needed(dataset, len(chain))
    _write_index(vault, packs, session)
    needed = needed_objects(vault, packs, session)
    point_id = secrets.token_bytes(16)
    sealer = PackSealer(session.key, tenant=vault.tenant, pack_id=point_id, kind=ObjectKind.POINT)
    header = PointHeader(
        dataset, len(chain) + 1, chain[-1].name if chain else NO_OBJECT, author.site, author.epoch, begun_at, taken_at,
        point_id, session.session_id, tuple(sorted(needed - before)), tuple(sorted(before - needed)), incomplete,
    )
    data = encode_point(header, seal_body(sealer, body), author.signer)
    name = vault.store.put(ObjectKind.POINT, data)
    new = set(header.added) - _listed_before(vault, header, session)
    return Committed(name, header, len(data) + sum(vault.store.size(ref) for ref in new))


def needed_objects(vault: Vault, packs: Collection[ObjectName], session: Session) -> set[ObjectRef]:
    """Return every object that is needed to read these packs and a point of this session.

    With them goes what outlived an erasure of packs that earlier points need: no earlier point names it.
    """
    packs = set(packs) | _moved(vault)
    listed = vault.catalog.packs()
    indexes = {listed.get(pack) for pack in packs} - {None}
    keys = KeyDirectory(vault.store)
    sessions = {session.session_id} | vault.catalog.sessions_of(packs)
    sessions |= keys.sessions_of_indexes({index for index in indexes if index is not None})
    return (
        {ObjectRef(ObjectKind.PACK, pack) for pack in packs}
        | {ObjectRef(ObjectKind.INDEX, index) for index in indexes if index is not None}
        | {ObjectRef(ObjectKind.KEY, name) for name in keys.needed_for(sessions, newest=session.session_id)}
    )


def _moved(vault: Vault) -> set[ObjectName]:
    """Return the packs that hold what was still needed of packs that some point names."""
    moved = moved_here(vault.store, vault.points.verifiers)
    if not moved:
        return set()
    points = [point for dataset in vault.points.datasets() for point in vault.points.listed(dataset)]
    named = {ref.name for point in points for ref in point.header.added}
    return {new for pack in moved.keys() & named for new in moved[pack]}


def _listed_before(vault: Vault, header: PointHeader, session: Session) -> set[ObjectRef]:
    """Return what earlier points of any dataset brought; looked at only if the point shares packs with such points."""
    added = {ref.name for ref in header.added if ref.kind is ObjectKind.PACK}
    if vault.catalog.sessions_of(added) <= {session.session_id}:
        return set()
    listed = (point for dataset in vault.points.datasets() for point in vault.points.listed(dataset))
    return {ref for point in listed if point.header.point_id != header.point_id for ref in point.header.added}


def _write_index(vault: Vault, packs: Collection[ObjectName], session: Session) -> None:
    """Write indexes of those packs that no index lists yet; of a first point of a million files more than one."""
    listed = vault.catalog.packs()
    batch: list[IndexedPack] = []
    frames = 0
    for name in sorted(pack for pack in packs if listed[pack] is None):
        batch.append(vault.catalog.indexed_pack(name))
        frames += len(batch[-1].frames)
        if frames >= INDEX_FRAMES:
            _write_one_index(vault, batch, session)
            batch, frames = [], 0
    if batch:
        _write_one_index(vault, batch, session)


def _write_one_index(vault: Vault, packs: list[IndexedPack], session: Session) -> None:
    index_id = secrets.token_bytes(16)
    sealer = PackSealer(session.key, tenant=vault.tenant, pack_id=index_id, kind=ObjectKind.INDEX)
    data = encode_index(sealer, packs, index_id=index_id, session_id=session.session_id)
    vault.catalog.note_indexed([pack.name for pack in packs], vault.store.put(ObjectKind.INDEX, data))
