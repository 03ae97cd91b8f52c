"""What this site has removed from its copy of a vault, by its own signed statements in the folder `expiry`.

The folder is this copy's own: its objects are no vault objects, are not named by points and are never sent. They are
read from the disk each time they are asked for: there are a few a week, and a stale answer would let something be
read that is gone.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from jbackupd.codec.hashing import name_of
from jbackupd.codec.signing import SiteSigner
from jbackupd.format.expiry import NOT_HELD, Expiry, decode_expiry, encode_expiry, verify_expiry
from jbackupd.model.errors import DamageError, IdentityError, RemovedError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, SiteId, object_name
from jbackupd.storage.durable import write_durably
from jbackupd.vault.keyhistory import Verifiers
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore

FOLDER = "expiry"


@dataclass(frozen=True, slots=True)
class Removed:
    """Why and when a point's content was given up here."""

    reason: str
    made_at: datetime


def put_expiry(store: ObjectStore, expiry: Expiry, signer: SiteSigner) -> None:
    """Write an expiry; it is durable when this returns. May be called twice.

    Raises:
        NoSpaceError: The disk is full; nothing of it counts.
    """
    data = encode_expiry(expiry, signer)
    name = name_of(data).hex()
    store.files.make_folder(_folder(store))
    temporary = posixpath.join(store.folder, "tmp", f"{name}.{secrets.token_hex(4)}")
    write_durably(store.files, posixpath.join(_folder(store), name), data, temporary=temporary)


def settle_expiries(store: ObjectStore) -> None:
    """Make the names of expiries that are there durable: a power cut may take away what a killed process left."""
    if store.files.exists(_folder(store)):
        store.files.sync_folder(_folder(store))


def expiries(store: ObjectStore, verifiers: Verifiers | None = None, *, lenient: bool = False) -> list[Expiry]:
    """Return all expiries of a store, oldest first.

    Args:
        verifiers: Who may sign them; None where nobody's card is at hand.
        lenient: Leave out what cannot be read: a damaged statement must not keep anybody from restoring.

    Raises:
        DamageError: One is damaged: nobody can tell what it removed.
        IdentityError: One is signed by somebody else.
    """
    if not store.files.exists(_folder(store)):
        return []
    found = []
    for name in store.files.names(_folder(store)):
        try:
            found.append(_load(store, object_name(name), verifiers))
        except (DamageError, IdentityError):
            if not lenient:
                raise
    return sorted(found, key=lambda expiry: expiry.made_at)


def damaged_expiries(store: ObjectStore) -> list[DamageError]:
    """Return what is wrong with the expiries of a store: everybody but reclaim passes a damaged one over."""
    found: list[DamageError] = []
    if not store.files.exists(_folder(store)):
        return found
    for name in store.files.names(_folder(store)):
        try:
            _load(store, object_name(name), None)
        except DamageError as error:
            found.append(error)
    return found


def removed_points(
    store: ObjectStore, verifiers: Verifiers | None = None, *, lenient: bool = False
) -> dict[ObjectName, Removed]:
    """Return the points whose content was given up here.

    Raises:
        As `expiries`.
    """
    found: dict[ObjectName, Removed] = {}
    never_came: dict[ObjectName, SiteId] = {}
    for expiry in expiries(store, verifiers, lenient=lenient):
        for point in expiry.removed:
            found[point.name] = Removed(point.reason, expiry.made_at)
            if point.reason == NOT_HELD:
                never_came[point.name] = expiry.site
    if never_came:
        # It came after all: a receipt is given for whole points only.
        for _, receipt in ReceiptList(store).all():
            if never_came.get(receipt.point) == receipt.holder:
                found.pop(receipt.point, None)
    return found


def moved_packs(
    store: ObjectStore, verifiers: Verifiers | None = None, *, lenient: bool = False
) -> dict[ObjectName, ObjectName]:
    """Return the packs that do not count any more, each with the one that holds what is needed of it.

    A pack whose new place is not there still counts: a crash came between the statement and the deed. What was moved
    again is followed.

    Raises:
        As `expiries`.
    """
    stated: dict[ObjectName, list[ObjectName]] = {}
    for expiry in expiries(store, verifiers, lenient=lenient):
        for old, new in expiry.moved:
            stated.setdefault(old, []).append(new)
    places = {old: _last_place(store, old, stated) for old in stated}
    return {old: new for old, new in places.items() if new is not None}


def _last_place(
    store: ObjectStore, pack: ObjectName, stated: Mapping[ObjectName, list[ObjectName]]
) -> ObjectName | None:
    waiting, seen = [*stated[pack]], {pack}
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        further = stated.get(place, [])
        moved_on = any(store.has(ObjectRef(ObjectKind.PACK, name)) for name in further)
        if store.has(ObjectRef(ObjectKind.PACK, place)) and not moved_on:
            return place
        waiting += further
    return None


def where_now(store: ObjectStore, refs: Iterable[ObjectRef]) -> set[ObjectRef]:
    """Return objects that points name, with the new places of moved packs instead of the packs."""
    moved = moved_packs(store, lenient=True)
    return {
        ObjectRef(ref.kind, moved.get(ref.name, ref.name)) if ref.kind is ObjectKind.PACK else ref for ref in refs
    }


def removed_error(label: str, removed: Removed) -> RemovedError:
    """Return what to tell who asks for a point that was removed.

    Args:
        label: How messages name the point.
    """
    return RemovedError(
        "{point} is no longer kept here: it was removed on {when} ({reason})",
        "a peer may still have it; see 'jbackupd points list' for what there is",
        point=label, when=removed.made_at.date().isoformat(), reason=removed.reason,
    )


def _folder(store: ObjectStore) -> str:
    return posixpath.join(store.folder, FOLDER)


def _load(store: ObjectStore, name: ObjectName, verifiers: Verifiers | None) -> Expiry:
    data = store.files.read(posixpath.join(_folder(store), name.hex()))
    if name_of(data) != name:
        raise DamageError(
            "expiry {name} is damaged: its bytes do not hash to its name",
            "nothing is removed before it is whole again: put it back from a copy of the state folder",
            name=name.hex()[:12],
        )
    expiry = decode_expiry(data)
    if verifiers is None:
        return expiry
    verifier = verifiers.get(expiry.site)
    if verifier is None:
        raise IdentityError(
            "expiry {name} is of the site {site}, which is not known here", "add the site's card to the configuration",
            name=name.hex()[:12], site=expiry.site,
        )
    return verify_expiry(data, verifier)
