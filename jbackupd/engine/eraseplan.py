"""What an erasure of a key epoch keeps, and what nobody can read after it. Decides; `engine.erase` does.

Every object sealed under the epoch has a key of its own. The keys of the point bodies and packs that retained points
need are kept alone; all others are lost with the epoch's key. Needed is what a retained point names, chunk by chunk:
one frame holds many small files. That a later frame is a delta against something does not make it needed: such a
frame is encoded anew. So a pack closes in one of three ways: it stays, it is lost, or what is needed of it moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from jbackupd.codec.seal import PackOpener
from jbackupd.engine.closure import reach
from jbackupd.engine.spans import Span, Spans, merged
from jbackupd.format.pack import (
    PACK_HEAD_BYTES,
    PACK_TAIL_BYTES,
    FrameRecord,
    decode_pack_head,
    open_trailer,
    trailer_span,
)
from jbackupd.model.errors import (
    DamageError,
    ErasedError,
    JbackupdError,
    KeyMissingError,
    RefusedError,
)
from jbackupd.model.ids import FrameId, ObjectKind, ObjectName, ObjectRef, PointSelector
from jbackupd.model.records import Extent, Statistics
from jbackupd.vault.erased import moved_here
from jbackupd.vault.expiry import moved_packs, removed_points
from jbackupd.vault.keyring import KeySource
from jbackupd.vault.vault import StoredPoint, Vault


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A pack that the epoch's key opens."""

    name: ObjectName
    pack_id: bytes
    session_id: bytes
    length: int


@dataclass(frozen=True, slots=True)
class LostPoint:
    """A point that is given up; without statistics where nobody can open it any more."""

    point: StoredPoint
    statistics: Statistics | None


@dataclass(slots=True)
class ErasePlan:
    """What an erasure does.

    Attributes:
        epoch: Name of the epoch.
        sessions: Of the epoch.
        lost: Its points that are given up.
        kept: Points that only it opens, and that stay readable.
        unread: Retained points that cannot be read now, with the reason: nobody can tell what they need.
        packs: Packs that only it opens, and that stay as they are.
        lost_packs: Its packs that none needs.
        moves: Packs of which something moves: those that hold anything unneeded, and those of any epoch with a frame
            that is a delta against it.
        gaps: What is not needed of frames that only the epoch opens; one that is needed wholly is not in it.
        unneeded_bytes: That together, bytes of plaintext.
    """

    epoch: str
    sessions: frozenset[bytes]
    lost: list[LostPoint] = field(default_factory=list)
    kept: list[StoredPoint] = field(default_factory=list)
    unread: list[tuple[StoredPoint, JbackupdError]] = field(default_factory=list)
    packs: list[SealedPack] = field(default_factory=list)
    lost_packs: list[SealedPack] = field(default_factory=list)
    moves: list[SealedPack] = field(default_factory=list)
    gaps: dict[FrameId, tuple[Span, ...]] = field(default_factory=dict)
    unneeded_bytes: int = 0

    def keys_to_keep(self) -> list[tuple[bytes, ObjectKind, bytes]]:
        """Return session id, kind and id of every object whose own key must outlive the epoch's."""
        points = [(p.header.session_id, ObjectKind.POINT, p.header.point_id) for p in self.kept]
        return points + [(pack.session_id, ObjectKind.PACK, pack.pack_id) for pack in self.packs]

    def check(self) -> None:
        """Check that no retained point becomes unreadable unasked.

        Raises:
            RefusedError: One cannot be read now: what it needs would be destroyed.
        """
        for point, error in self.unread:
            raise RefusedError(
                "unable to erase the epoch {epoch}: {point} is retained but cannot be read now: {reason}",
                "repair it, or give the shares that open it; to give it up, name it: --give-up {point}",
                epoch=self.epoch, point=point.label, reason=error,
            )


def plan_erasure(
    vault: Vault, epoch: str, *, sessions: Collection[bytes], open_elsewhere: Collection[bytes],
    give_up: Collection[PointSelector],
) -> ErasePlan:
    """Look at every retained point and decide.

    Args:
        vault: With keys that open as much as there is, and a catalog that was reconciled with them.
        epoch: Name of the epoch.
        sessions: Of the epoch.
        open_elsewhere: Sessions of other epochs whose keys are there. What is neither here nor there is open only by
            keys that an earlier erasure has kept, under the epoch or a later one: they are kept anew.
        give_up: Points of the epoch that may become unreadable.

    Raises:
        NotFoundError: There is no such point.
        RefusedError: A point to give up is not of the epoch.
        MissingObjectError: Something that a retained point needs is not there.
        DamageError: A point, or a pack's head or trailer, is damaged: its key could not be kept.
        ChainError: A point is missing, or two have one sequence.
    """
    plan = ErasePlan(epoch, frozenset(sessions))
    given_up = {_named(vault, epoch, open_elsewhere, selector) for selector in give_up}
    needs: dict[FrameId, Spans] = {}
    for point in _points(vault):
        if point.name in given_up:
            plan.lost.append(LostPoint(point, _statistics(vault, point)))
            continue
        try:
            for extent in _extents(vault, point):
                needs.setdefault(extent.frame, Spans()).add(extent.offset, extent.offset + extent.length)
        except ErasedError:
            continue
        except (KeyMissingError, DamageError) as error:
            plan.unread.append((point, error))
            continue
        if point.header.session_id not in open_elsewhere:
            plan.kept.append(point)
    _plan_packs(vault, plan, needs, open_elsewhere)
    return plan


def _plan_packs(
    vault: Vault, plan: ErasePlan, needs: dict[FrameId, Spans], open_elsewhere: Collection[bytes]
) -> None:
    # Raises where a frame is missing: the key of its pack could not be kept.
    reach(vault.catalog, needs)
    packs, known = list(_packs(vault)), vault.catalog.packs()
    verifiers = vault.points.verifiers
    moved_before = moved_here(vault.store, verifiers).keys() | moved_packs(vault.store, verifiers).keys()
    readable = [pack for pack in packs if pack.name not in moved_before and is_open(vault, pack)]
    closing = [pack for pack in readable if pack.session_id not in open_elsewhere]
    changed: set[ObjectName] = set()
    for pack in closing:
        gaps = {frame.id: _gaps(frame, needs.get(frame.id)) for frame in trailer_of(vault, pack)}
        plan.gaps |= {frame: spans for frame, spans in gaps.items() if spans}
        if not any(frame in needs for frame in gaps):
            plan.lost_packs.append(pack)
        elif any(gaps.values()):
            changed.add(pack.name)
    plan.unneeded_bytes = sum(end - begin for spans in plan.gaps.values() for begin, end in spans)
    lost = {pack.name for pack in plan.lost_packs}
    for pack in readable:
        if pack.name in lost:
            continue
        if pack.name not in known:
            raise DamageError(
                "{object} is damaged: nobody can tell what of it is needed",
                "run 'jbackupd verify', then fetch it from a peer", object=ObjectRef(ObjectKind.PACK, pack.name),
            )
        frames = vault.catalog.indexed_pack(pack.name).frames
        if pack.name in changed or any(touches(plan.gaps, frame.bases) for frame in frames):
            plan.moves.append(pack)
        elif pack.session_id not in open_elsewhere:
            plan.packs.append(pack)


def _gaps(frame: FrameRecord, needed: Spans | None) -> tuple[Span, ...]:
    """Return the chunks of a frame of which nothing is needed, those that touch as one."""
    found, offset = [], 0
    for chunk in frame.chunks:
        if needed is None or not needed.touches(offset, offset + chunk.length):
            found.append((offset, offset + chunk.length))
        offset += chunk.length
    return tuple(merged(found))


def touches(gaps: Mapping[FrameId, tuple[Span, ...]], bases: Iterable[Extent]) -> bool:
    """Tell whether any of these stretches is not wholly what it was."""
    return any(
        begin < base.offset + base.length and base.offset < end
        for base in bases for begin, end in gaps.get(base.frame, ())
    )


def trailer_of(vault: Vault, pack: SealedPack) -> list[FrameRecord]:
    """Return a pack's frames with their chunks.

    Raises:
        DamageError: The trailer is damaged.
    """
    ref = ObjectRef(ObjectKind.PACK, pack.name)
    offset, length = trailer_span(
        vault.store.read(ref, pack.length - PACK_TAIL_BYTES, PACK_TAIL_BYTES), pack.length
    )
    return open_trailer(opener_of(vault, pack, vault.keys), vault.store.read(ref, offset, length))


def opener_of(vault: Vault, pack: SealedPack, keys: KeySource) -> PackOpener:
    """Return what opens a pack with some keys.

    Raises:
        KeyMissingError: They do not.
        DamageError: The pack was sealed with another key.
    """
    head = decode_pack_head(vault.store.read(ObjectRef(ObjectKind.PACK, pack.name), 0, PACK_HEAD_BYTES))
    return PackOpener.with_object_key(
        keys.object_key(pack.session_id, pack.pack_id, ObjectKind.PACK), tenant=vault.tenant, pack_id=pack.pack_id,
        commitment=head.commitment,
    )


def is_open(vault: Vault, pack: SealedPack) -> bool:
    """Tell whether the vault's keys open a pack."""
    try:
        vault.keys.object_key(pack.session_id, pack.pack_id, ObjectKind.PACK)
    except KeyMissingError:
        return False
    return True


def _points(vault: Vault) -> Iterator[StoredPoint]:
    """Yield the points whose content retention has not removed."""
    removed = removed_points(vault.store, vault.points.verifiers)
    for dataset in vault.points.datasets():
        # Not `listed`: what a damaged point needs, nobody can tell.
        yield from (point for point in vault.points.chain(dataset) if point.name not in removed)


def _named(vault: Vault, epoch: str, open_elsewhere: Collection[bytes], selector: PointSelector) -> ObjectName:
    point = vault.points.find(selector)
    if point.header.session_id in open_elsewhere:
        raise RefusedError(
            "unable to give up {point}: it was not sealed under the epoch {epoch}",
            "erase the epoch that it is of; see 'jbackupd key show'", point=point.label, epoch=epoch,
        )
    return point.name


def _extents(vault: Vault, stored: StoredPoint) -> Iterator[Extent]:
    """Yield what a point names; what that needs in turn is not among it."""
    point = vault.open_point(stored)
    yield from point.body.tree
    for entry in point.entries():
        yield from entry.extents


def _statistics(vault: Vault, stored: StoredPoint) -> Statistics | None:
    try:
        return vault.open_point(stored).body.statistics
    except (KeyMissingError, DamageError):
        return None


def _packs(vault: Vault) -> Iterator[SealedPack]:
    """Yield all packs.

    Raises:
        DamageError: The head of one is damaged: nobody can tell what it is.
    """
    for name in vault.store.names(ObjectKind.PACK):
        ref = ObjectRef(ObjectKind.PACK, name)
        length = vault.store.size(ref)
        head = decode_pack_head(vault.store.read(ref, 0, min(length, PACK_HEAD_BYTES)))
        yield SealedPack(name, head.pack_id, head.session_id, length)
