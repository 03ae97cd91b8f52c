"""What was made unreadable on purpose: points and key objects that signed records name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.format.key import KeyObject, KeyRole, decode_key
from jbackupd.format.keyrecord import KeyRecord, moved_packs
from jbackupd.model.errors import DamageError, ErasedError, KeyMissingError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.vault.keyhistory import Verifiers, erasure, erasures
from jbackupd.vault.store import ObjectStore


def erasure_records(store: ObjectStore, verifiers: Verifiers | None) -> list[KeyRecord]:
    """Return the records of erased epochs in a store, oldest first.

    Args:
        verifiers: Whose records count; None for all, at the site that signs them.
    """
    return erasures(_signed(store), verifiers)


def erased_points(store: ObjectStore, verifiers: Verifiers) -> Mapping[ObjectName, KeyRecord]:
    """Return the points that nobody can read any more, each with the record that says so."""
    return {point.name: record for record in erasure_records(store, verifiers) for point in erasure(record).lost}


def destroyed_objects(store: ObjectStore, verifiers: Verifiers | None = None) -> frozenset[ObjectRef]:
    """Return the key objects that were destroyed: points name them still, and they are not missing."""
    return frozenset(
        ObjectRef(ObjectKind.KEY, name)
        for record in erasure_records(store, verifiers) for name in erasure(record).destroyed
    )


def moved_here(store: ObjectStore, verifiers: Verifiers | None = None) -> Mapping[ObjectName, frozenset[ObjectName]]:
    """Return the packs of a store that do not count any more, each with those that hold what is needed of it.

    One whose new places are not all here still counts: better what was than nothing.

    Args:
        verifiers: Whose records count; None where nobody's card is at hand.
    """
    moved = moved_packs(erasures(_signed(store), verifiers))
    return {
        pack: new for pack, new in moved.items() if all(store.has(ObjectRef(ObjectKind.PACK, name)) for name in new)
    }


def explained(
    error: KeyMissingError, point: ObjectName, label: str, *, store: ObjectStore, verifiers: Verifiers
) -> KeyMissingError:
    """Return why a point does not open: that it was erased, or else what was found first.

    Args:
        label: How messages name the point.
    """
    record = erased_points(store, verifiers).get(point)
    if record is None:
        return error
    return ErasedError(
        "{point} was erased on {when}: the key of the epoch {epoch} was destroyed",
        "nobody can read it any more; the record tells why: 'jbackupd key show {tenant}'",
        point=label, when=record.made_at.date().isoformat(), epoch=erasure(record).label, tenant=record.tenant,
    )


def record_objects(store: ObjectStore) -> list[ObjectRef]:
    """Return the key objects that hold records."""
    return [ref for ref, key in _long_ones(store) if key.role is KeyRole.RECORD]


def _signed(store: ObjectStore) -> Iterator[KeyObject]:
    return (key for _, key in _long_ones(store))


def _long_ones(store: ObjectStore) -> Iterator[tuple[ObjectRef, KeyObject]]:
    """Yield the key objects that are long enough to hold a signature: most of them hold a session's key alone."""
    for name in store.names(ObjectKind.KEY):
        ref = ObjectRef(ObjectKind.KEY, name)
        try:
            if store.size(ref) > SIGNATURE_BYTES:
                yield ref, decode_key(store.read_checked(ref))
        except DamageError:
            continue  # told by verify
