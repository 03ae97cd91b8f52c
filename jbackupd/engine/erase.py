"""Erases a key epoch: what is needed gets other keys, the rest is lost with the epoch's private key.

Packs and indexes that are written here are sealed under a session whose key exists in memory only until the one write
that decides (`Keyring.erase`): nobody opens them before, and a crash leaves everything as it was. That write holds
the session, the record and all key objects; what follows it is finished by the next start (`Keyring.settle`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.catalog.database import Catalog
from jbackupd.codec.compress import compress
from jbackupd.codec.hashing import name_of
from jbackupd.codec.seal import PackSealer
from jbackupd.engine.eraseplan import ErasePlan, SealedPack, opener_of, touches, trailer_of
from jbackupd.engine.spans import Span
from jbackupd.format.index import IndexedPack, encode_index
from jbackupd.format.key import seal_kept
from jbackupd.format.keyrecord import Details, Erasure, LostContent, LostPoint, encode_record, seal_details
from jbackupd.format.pack import ChunkRecord, FrameRecord
from jbackupd.model.errors import InvariantError, KeyMissingError
from jbackupd.model.ids import FrameId, ObjectKind, ObjectName, ObjectRef
from jbackupd.model.records import Extent
from jbackupd.vault.commit import Authorship
from jbackupd.vault.keydirectory import KeyDirectory
from jbackupd.vault.keyring import Keyring, Session
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.vault import Vault
from jbackupd.vault.writer import EncodedFrame, PackWriter

INDEX_PACKS = 500
"""Packs in one index: a later point that needs one of them brings the whole index along, some 100 kB."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants an epoch erased, and why.

    Attributes:
        epoch: Fingerprint of its public key.
        set_id: Of the shares that were given.
        shares: Their numbers.
    """

    epoch: bytes
    asked_by: str
    reason: str
    set_id: bytes
    shares: tuple[int, ...]


@dataclass(slots=True)
class _Moved:
    """Packs that hold what was needed of others.

    Attributes:
        by_old: The packs that hold it, by each of those others.
        plain: Of each frame that was encoded anew: the hash of what it must decode to.
    """

    packs: list[IndexedPack] = field(default_factory=list)
    by_old: dict[ObjectName, set[ObjectName]] = field(default_factory=dict)
    plain: dict[FrameId, bytes] = field(default_factory=dict)


def doomed_objects(vault: Vault, epoch: bytes) -> set[ObjectName]:
    """Return the key objects that an erasure destroys: the epoch's own, and kept keys, which are kept anew."""
    keys = KeyDirectory(vault.store)
    return keys.of_epoch(epoch) | keys.kept()


def erase_epoch(
    vault: Vault, plan: ErasePlan, order: Order, *, keys: RecoveredKeys, keyring: Keyring, author: Authorship,
    reopen: Callable[[Collection[ObjectName], Sequence[bytes]], RecoveredKeys], now: datetime,
) -> bytes:
    """Erase an epoch as planned; when this returns, nobody reads what was given up, and the record is in the vault.

    Args:
        vault: The tenant's own, opened with `keys`.
        plan: Checked: no retained point is lost unasked.
        keys: Opened with the recovery key in force.
        keyring: Its epoch is not the one that is erased.
        reopen: Opens the vault's keys again, without some key objects and with others that are not in it yet.

    Returns:
        The record, a key object.

    Raises:
        DamageError: Something that is needed does not open; nothing was destroyed.
        NoSpaceError: The disk is full; nothing was destroyed.
    """
    doomed = doomed_objects(vault, order.epoch)
    session = keyring.draw_session()
    moved = _move(vault, plan, session)
    whole = [vault.catalog.indexed_pack(pack.name) for pack in plan.packs]
    indexes = _write_indexes(vault, [*whole, *moved.packs], session)
    kept = {(kind, object_id): keys.object_key(sid, object_id, kind) for sid, kind, object_id in plan.keys_to_keep()}
    objects = [session.key_object, *seal_kept(kept, keyring.epoch_public, tenant=vault.tenant)]
    record = _record(vault, plan, order, doomed, moved, author, now)
    _prove(vault, plan, moved, reopen(doomed, [keyring.epoch_object(), *objects]))
    # Caches before deeds: what is going to be unreadable must not be skipped as "already there".
    vault.catalog.forget_packs({pack.name for pack in plan.lost_packs} | moved.by_old.keys())
    keyring.erase(
        plan.sessions, doomed=doomed, objects=[record, *objects], session=session, kept=plan.keys_to_keep(), now=now
    )
    keyring.settle(vault.store)
    for index, packs in indexes:
        vault.catalog.add_packs(packs, indexed=index)
    return record


def _move(vault: Vault, plan: ErasePlan, session: Session) -> _Moved:
    """Seal what is needed of packs that also hold something else again, into packs of the session."""
    moved = _Moved(by_old={pack.name: set() for pack in plan.moves})
    sources: dict[FrameId, ObjectName] = {}
    with contextlib.closing(Catalog(":memory:")) as aside:
        writer = PackWriter(
            vault.store, aside, tenant=vault.tenant, session_id=session.session_id, session_key=session.key
        )
        writer.durable = moved.packs.append
        try:
            for pack in plan.moves:
                for frame in _needed_frames(vault, pack, plan, moved):
                    sources[frame.id] = pack.name
                    writer.add(frame)
            writer.flush()
        finally:
            writer.close()
    for new in moved.packs:
        for placed in new.frames:
            moved.by_old[sources[placed.id]].add(new.name)
    return moved


def _needed_frames(vault: Vault, pack: SealedPack, plan: ErasePlan, moved: _Moved) -> Iterator[EncodedFrame]:
    """Yield what is needed of a pack's frames: as they are sealed now, or encoded anew."""
    known = {frame.id for frame in vault.catalog.indexed_pack(pack.name).frames}
    data = vault.store.read_checked(ObjectRef(ObjectKind.PACK, pack.name))
    opener = opener_of(vault, pack, vault.keys)
    for slot, frame in enumerate(trailer_of(vault, pack)):
        gaps = plan.gaps.get(frame.id, ())
        if frame.id not in known or gaps == ((0, frame.plain_length),):
            continue
        if not gaps and not touches(plan.gaps, frame.bases):
            payload = opener.open(slot, data[frame.offset : frame.offset + frame.sealed_length])
            yield EncodedFrame(frame.id, payload, frame.plain_length, frame.encoding, frame.bases, frame.chunks)
        else:
            yield _encoded_anew(vault, frame, gaps, plan.gaps, moved)


def _encoded_anew(
    vault: Vault, frame: FrameRecord, gaps: tuple[Span, ...], all_gaps: Mapping[FrameId, tuple[Span, ...]],
    moved: _Moved,
) -> EncodedFrame:
    """Return a frame with zeros for what is not needed of it, as a delta against nothing that is going to be lost.

    Its id stays, since trees and other frames name it; what they name of it is what it was. Its chunks are what they
    are now: a later run must not count on what is gone.
    """
    plain = bytearray(vault.reader.frame(frame.id))
    for begin, end in gaps:
        plain[begin:end] = bytes(end - begin)
    bases = tuple(left for base in frame.bases for left in _left_of(base, all_gaps.get(base.frame, ())))
    encoding, payload = compress(bytes(plain), b"".join(vault.reader.read(bases)))
    moved.plain[frame.id] = name_of(plain)
    chunks, offset = [], 0
    for chunk in frame.chunks:
        content = memoryview(plain)[offset : offset + chunk.length]
        chunks.append(ChunkRecord(vault.keys.content_hash().chunk_id(content), chunk.length))
        offset += chunk.length
    return EncodedFrame(frame.id, payload, frame.plain_length, encoding, bases, tuple(chunks))


def _left_of(base: Extent, gaps: tuple[Span, ...]) -> Iterator[Extent]:
    """Yield what of a stretch does not lie in a gap."""
    position, end = base.offset, base.offset + base.length
    for first, last in gaps:
        if position < min(first, end):
            yield Extent(base.frame, position, min(first, end) - position)
        position = max(position, last)
    if position < end:
        yield Extent(base.frame, position, end - position)


def _write_indexes(
    vault: Vault, packs: list[IndexedPack], session: Session
) -> list[tuple[ObjectName, list[IndexedPack]]]:
    """List packs in indexes of the session: the earlier ones are lost with the epoch."""
    written = []
    for begin in range(0, len(packs), INDEX_PACKS):
        some = packs[begin : begin + INDEX_PACKS]
        index_id = secrets.token_bytes(16)
        sealer = PackSealer(session.key, tenant=vault.tenant, pack_id=index_id, kind=ObjectKind.INDEX)
        data = encode_index(sealer, some, index_id=index_id, session_id=session.session_id)
        written.append((vault.store.put(ObjectKind.INDEX, data), some))
    return written


def _prove(vault: Vault, plan: ErasePlan, moved: _Moved, after: RecoveredKeys) -> None:
    """Check with the keys that will be left that what stays opens, and that what was given up does not.

    Raises:
        DamageError: Something that stays does not open, or does not decode to what it was.
    """
    with contextlib.closing(Catalog(":memory:")) as aside:
        # New places first: the first one counts.
        aside.add_packs(moved.packs)
        staying = vault.catalog.packs().keys() - moved.by_old.keys() - {pack.name for pack in plan.lost_packs}
        aside.add_packs([vault.catalog.indexed_pack(name) for name in staying])
        later = Vault(vault.store, aside, after, tenant=vault.tenant, verifiers=vault.points.verifiers)
        for point in plan.kept:
            later.open_point(point)
        for pack in plan.packs:
            opener_of(later, pack, after)
        for frame, plain in moved.plain.items():
            if name_of(later.reader.frame(frame)) != plain:
                raise InvariantError("a frame that was encoded anew does not decode to what it was")
    lost = [(p.point.header.session_id, p.point.header.point_id, ObjectKind.POINT) for p in plan.lost]
    lost += [(pack.session_id, pack.pack_id, ObjectKind.PACK) for pack in plan.lost_packs]
    for wanted in lost:
        try:
            after.object_key(*wanted)
        except KeyMissingError:
            continue
        raise InvariantError("what is given up would stay readable")


def _record(
    vault: Vault, plan: ErasePlan, order: Order, doomed: Collection[ObjectName], moved: _Moved, author: Authorship,
    now: datetime,
) -> bytes:
    contents = tuple(
        LostContent(
            lost.point.header.dataset, lost.point.header.sequence,
            lost.statistics.files if lost.statistics else None,
            lost.statistics.source_bytes if lost.statistics else None,
        )
        for lost in plan.lost
    )
    details = Details(order.asked_by, order.reason, order.set_id, tuple(sorted(order.shares)), contents)
    what = Erasure(
        order.epoch, plan.epoch, tuple(sorted(doomed)),
        tuple(LostPoint(p.point.header.dataset, p.point.header.sequence, p.point.name) for p in plan.lost),
        len(plan.kept), len(plan.lost_packs), sum(pack.length for pack in plan.lost_packs),
        tuple((old, tuple(sorted(new))) for old, new in sorted(moved.by_old.items())),
        seal_details(details, vault.keys.content_hash().record_key, tenant=vault.tenant),
    )
    return encode_record(what, tenant=vault.tenant, site=author.site, made_at=now, signer=author.signer)
