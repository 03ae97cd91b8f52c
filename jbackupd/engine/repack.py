"""Writes what is still needed of sparsely used packs into new ones, so that the old ones can go.

Frames keep their ids, encodings and bases: trees and later frames name frames, not packs. A frame is needed if a
kept point's tree names it, or if a needed frame is a delta against it. Nobody can tell this of points whose keys are
not at hand, nor may a peer miss what it was promised: packs that such points name are left as they are.

For each new pack: the statement that old packs moved there names it by its hash, durable before it is written. A crash
between leaves a statement of a pack that never came, which says nothing. Once the pack is there, the old ones do not
count any more (`vault.rebuild`), and the next `find_garbage` has them. So at most one pack's room is needed first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.codec.hashing import name_of
from jbackupd.codec.seal import PackOpener, PackSealer
from jbackupd.engine.eraseplan import SealedPack, is_open, opener_of, trailer_of
from jbackupd.engine.reclaimplan import chains_of, needed_by, with_places
from jbackupd.format.expiry import Expiry
from jbackupd.format.index import IndexedPack
from jbackupd.format.pack import PACK_HEAD_BYTES, PackBuilder, decode_pack_head
from jbackupd.model.errors import DamageError, KeyMissingError, MissingObjectError
from jbackupd.model.ids import FrameId, ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import moved_packs, put_expiry, removed_points
from jbackupd.vault.keyring import Keyring, Session
from jbackupd.vault.vault import StoredPoint, Vault
from jbackupd.vault.writer import PACK_BYTES

FRAMES_AT_ONCE = 5000


@dataclass(slots=True)
class Usage:
    """Which frames of which packs are needed, as far as it can be told.

    Attributes:
        slots: For each pack the needed slots with the bytes that they take.
        opaque: Packs of which nobody can tell, or that must stay as they are.
        closed: Points whose keys are not at hand.
    """

    slots: dict[ObjectName, dict[int, int]] = field(default_factory=dict)
    opaque: set[ObjectName] = field(default_factory=set)
    closed: list[StoredPoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Repack:
    """Packs whose needed frames go into one new pack.

    Attributes:
        packs: The old ones.
        bytes: Their bytes together.
        needed_bytes: What of it is needed.
    """

    packs: tuple[SealedPack, ...]
    bytes: int
    needed_bytes: int


def survey_usage(vault: Vault, *, waiting: Collection[ObjectName] = ()) -> Usage:
    """Look at the trees of all kept points and return which frames are needed.

    Args:
        vault: With its own keys, and a catalog that was reconciled.
        waiting: Points that some peer has not signed for: what they name must stay under its name.

    Raises:
        MissingObjectError: A frame that a kept point needs is not in the catalog.
        DamageError: A point is damaged.
    """
    chains = chains_of(vault.points)
    removed = removed_points(vault.store, vault.points.verifiers)
    usage, seen = Usage(), set[FrameId]()
    opaque: set[ObjectName] = set(waiting) - removed.keys()
    for point in (point for chain in chains for point in chain if point.name not in removed):
        try:
            for frames in _batches(vault, point, seen):
                _note(vault, frames, seen, usage)
        except KeyMissingError:
            usage.closed.append(point)
            opaque.add(point.name)
    # Also where that is now: what was moved while a point could be read is needed when it no longer can.
    verifiers = vault.points.verifiers
    named = with_places(needed_by(chains, opaque), vault.store, verifiers, moved_packs(vault.store, verifiers))
    usage.opaque = {ref.name for ref in named if ref.kind is ObjectKind.PACK}
    return usage


def plan_repacks(vault: Vault, usage: Usage, *, below: float) -> list[Repack]:
    """Return what is worth writing anew: packs of which less than a part is needed, filled into as few as possible."""
    sparse = []
    for name, slots in sorted(usage.slots.items()):
        ref = ObjectRef(ObjectKind.PACK, name)
        if name in usage.opaque or not slots or not vault.store.has(ref):
            continue
        length, needed = vault.store.size(ref), sum(slots.values())
        # A small pack is mostly padding and trailer: only what is not needed is worth a rewrite.
        if needed < below * length and len(slots) < len(vault.catalog.indexed_pack(name).frames):
            sparse.append((needed, _sealed(vault, name, length)))
    return list(_filled([(needed, pack) for needed, pack in sparse if is_open(vault, pack)]))


def repack(
    vault: Vault, planned: Sequence[Repack], usage: Usage, *, keyring: Keyring, author: Authorship, now: datetime,
    may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[list[Repack], list[DamageError]]:
    """Write new packs; return those that are durable, and what was wrong with others. The old packs are garbage then.

    Raises:
        NoSpaceError: The disk is full; what was moved before stays moved.
    """
    done: list[Repack] = []
    damaged: list[DamageError] = []
    session: Session | None = None
    for each in planned:
        if not may_go_on():
            break
        if session is None:
            session = keyring.new_session(now)
            for key_object in (keyring.epoch_object(), session.key_object):
                vault.store.put(ObjectKind.KEY, key_object)
        try:
            _write(vault, each, usage.slots, session, author, now)
        except DamageError as error:
            # These stay as they are, for a repair.
            damaged.append(error)
            continue
        done.append(each)
    return done, damaged


def _write(
    vault: Vault, planned: Repack, slots: Mapping[ObjectName, Mapping[int, int]], session: Session,
    author: Authorship, now: datetime,
) -> None:
    pack_id = secrets.token_bytes(16)
    sealer = PackSealer(session.key, tenant=vault.tenant, pack_id=pack_id)
    builder = PackBuilder(sealer, pack_id=pack_id, session_id=session.session_id)
    for pack in planned.packs:
        _copy(vault, pack, slots[pack.name], builder)
    data = builder.finish()
    name = name_of(data)
    moved = tuple((pack.name, name) for pack in planned.packs)
    put_expiry(vault.store, Expiry(vault.tenant, author.site, author.epoch, now, moved=moved), author.signer)
    vault.store.put(ObjectKind.PACK, data)
    vault.catalog.forget_packs([pack.name for pack in planned.packs])
    vault.catalog.add_packs([IndexedPack(name, len(data), session.session_id, tuple(builder.frames))])


def _copy(vault: Vault, pack: SealedPack, slots: Collection[int], builder: PackBuilder) -> None:
    data = vault.store.read_checked(ObjectRef(ObjectKind.PACK, pack.name))
    opener: PackOpener = opener_of(vault, pack, vault.keys)
    for slot, frame in enumerate(trailer_of(vault, pack)):
        if slot in slots:
            payload = opener.open(slot, data[frame.offset : frame.offset + frame.sealed_length])
            builder.add(
                frame.id, payload, plain_length=frame.plain_length, encoding=frame.encoding, bases=frame.bases,
                chunks=frame.chunks,
            )


def _batches(vault: Vault, stored: StoredPoint, seen: Collection[FrameId]) -> Iterator[set[FrameId]]:
    """Yield the frames that a point names and that were not seen yet, some thousands at a time."""
    point = vault.open_point(stored)
    batch = {extent.frame for extent in point.body.tree}
    for entry in point.entries():
        batch.update(extent.frame for extent in entry.extents if extent.frame not in seen)
        if len(batch) >= FRAMES_AT_ONCE:
            yield batch
            batch = set()
    yield batch


def _note(vault: Vault, frames: Iterable[FrameId], seen: set[FrameId], usage: Usage) -> None:
    """Note frames and everything that they are deltas against."""
    level = set(frames) - seen
    while level:
        places = vault.catalog.find_frames(level)
        if len(places) != len(level):
            raise MissingObjectError(
                "frame {frame} is not in the vault",
                "run 'jbackupd vault rebuild-catalog TENANT', then fetch what is missing from a peer",
                frame=next(frame for frame in level if frame not in places).hex(),
            )
        seen |= level
        for place in places.values():
            usage.slots.setdefault(place.pack, {})[place.slot] = place.record.sealed_length
        level = {base.frame for place in places.values() for base in place.record.bases} - seen


def _sealed(vault: Vault, name: ObjectName, length: int) -> SealedPack:
    head = decode_pack_head(vault.store.read(ObjectRef(ObjectKind.PACK, name), 0, min(length, PACK_HEAD_BYTES)))
    return SealedPack(name, head.pack_id, head.session_id, length)


def _filled(sparse: Iterable[tuple[int, SealedPack]]) -> Iterator[Repack]:
    """Yield packs together whose needed frames fill one new pack; one alone only if it shrinks by that."""
    group: list[tuple[int, SealedPack]] = []
    for needed, pack in sparse:
        if group and sum(size for size, _ in group) + needed > PACK_BYTES:
            yield _repack(group)
            group = []
        group.append((needed, pack))
    if group:
        yield _repack(group)


def _repack(group: Sequence[tuple[int, SealedPack]]) -> Repack:
    return Repack(
        tuple(pack for _, pack in group), sum(pack.length for _, pack in group), sum(needed for needed, _ in group)
    )
