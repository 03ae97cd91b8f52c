"""How a keyring changes: from what was saved to what is saved next. Decides; `Keyring` writes it, in one write."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from jbackupd.codec.hpke import RecipientPublic, RecipientSecret, new_seed
from jbackupd.codec.seal import object_key
from jbackupd.format.key import ID_BYTES, KeyRole, seal_key
from jbackupd.model.errors import KeyringError
from jbackupd.model.ids import ObjectKind, ObjectName, TenantId
from jbackupd.vault.keyringfile import SavedKept, SavedKeyring, SavedSession
from jbackupd.vault.recovered import RecoveredKeys

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
KeptObject = tuple[bytes, ObjectKind, bytes]
"""Session id, kind and id of an object whose own key is kept."""


def with_new_epoch(saved: SavedKeyring, name: str) -> SavedKeyring:
    """Return a keyring with a new epoch's key pair, whose seed is sealed to the recovery key and forgotten."""
    seed = new_seed()
    public = RecipientSecret(seed).public.to_bytes()
    sealed = seal_key(
        KeyRole.EPOCH, seed, RecipientPublic(saved.recovery_public), tenant=TenantId(saved.tenant),
        key_id=secrets.token_bytes(ID_BYTES), label=name, public=public,
    )
    return msgspec.structs.replace(saved, epoch_label=name, epoch_public=public, epoch_object=sealed)


def adopted(
    tenant: TenantId, keys: RecoveredKeys, epoch: str, *, created_at: Mapping[bytes, datetime],
    sessions_of: Mapping[bytes, bytes], doomed: Collection[ObjectName],
) -> SavedKeyring:
    """Return a keyring of recovered keys, with a new epoch.

    Args:
        created_at: When sessions were; one that is not in it stays only while new deltas need it.
        sessions_of: By the ids of points and packs.
        doomed: Key objects that are to be destroyed whenever they are there.
    """
    sessions = tuple(
        SavedSession(session_id, key, created_at.get(session_id, LONG_AGO))
        for session_id, key in keys.open_all().keys.items()
    )
    kept = tuple(
        SavedKept(session, kind, object_id, key, created_at.get(session, LONG_AGO))
        for (kind, object_id), key in keys.kept().items() if (session := sessions_of.get(object_id)) is not None
    )
    recovery = keys.recovery_public.to_bytes()
    saved = SavedKeyring(
        tenant, keys.tenant_secret, recovery, "", b"", b"", sessions, doomed=tuple(doomed), kept=kept
    )
    return with_new_epoch(saved, epoch)


def following(
    saved: SavedKeyring, keys: RecoveredKeys, recovery: RecipientPublic, record: bytes, epoch: str
) -> SavedKeyring:
    """Return a keyring that has gone over to another recovery key, with a new epoch.

    A new epoch, since whoever has the old shares and an old copy of the vault opens those that there were.

    Raises:
        KeyringError: The keys were opened with another recovery key than the one in force.
        DamageError: An epoch's key object does not open; it would be lost to the new key.
    """
    if keys.recovery_public.to_bytes() != saved.recovery_public:
        raise KeyringError("the shares are not of the recovery key in force", "use the newest set of shares")
    objects = keys.sealed_to(recovery)
    saved = with_new_epoch(msgspec.structs.replace(saved, recovery_public=recovery.to_bytes()), epoch)
    return msgspec.structs.replace(saved, unplaced=(*saved.unplaced, *objects, record))


def erasing(
    saved: SavedKeyring, sessions: Collection[bytes], *, doomed: Collection[ObjectName], objects: Sequence[bytes],
    pending: SavedSession, kept: Collection[KeptObject],
) -> SavedKeyring:
    """Return a keyring that has forgotten sessions and takes upon itself to destroy key objects.

    Args:
        sessions: Whose keys go.
        doomed: Key objects of the vault that hold what must not be opened any more.
        objects: Key objects for the vault, a signed record among them.
        pending: A session that counts once these are in the vault.
        kept: What is still needed; its own key is kept here where its session's key was.
    """
    gone = {session.id: session for session in saved.sessions if session.id in sessions}
    wanted = set(kept)
    still = [k for k in saved.kept if (k.session_id, k.kind, k.object_id) in wanted]
    fresh = [_kept(gone[session], kind, object_id) for session, kind, object_id in kept if session in gone]
    return msgspec.structs.replace(
        saved, sessions=tuple(s for s in saved.sessions if s.id not in gone), kept=(*still, *fresh),
        unplaced=(*saved.unplaced, *objects), doomed=(*saved.doomed, *doomed), pending=(*saved.pending, pending),
    )


def settled(saved: SavedKeyring) -> SavedKeyring:
    """Return a keyring whose key objects are all in the vault."""
    return msgspec.structs.replace(saved, unplaced=(), pending=(), sessions=(*saved.sessions, *saved.pending))


def pruned(saved: SavedKeyring, needed: Collection[bytes], oldest: datetime | None) -> SavedKeyring:
    """Return a keyring without sessions that new deltas do not need and that are older than the history.

    Args:
        needed: Session ids.
        oldest: Where the history begins; None for a closed one.
    """

    def stays(session: bytes, created_at: datetime) -> bool:
        return session in needed or (oldest is not None and created_at >= oldest)

    return msgspec.structs.replace(
        saved, sessions=tuple(s for s in saved.sessions if stays(s.id, s.created_at)),
        kept=tuple(k for k in saved.kept if stays(k.session_id, k.created_at)),
    )


def _kept(session: SavedSession, kind: ObjectKind, object_id: bytes) -> SavedKept:
    return SavedKept(session.id, kind, object_id, object_key(session.key, object_id, kind), session.created_at)
