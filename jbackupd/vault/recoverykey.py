"""The public half of a tenant's recovery key, at a site that holds the tenant without any secret of it."""

from __future__ import annotations

from collections.abc import Mapping

from jbackupd.codec.hpke import RecipientPublic
from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.key import KeyRole, decode_key
from jbackupd.model.errors import KeyMissingError
from jbackupd.model.ids import ObjectKind, SiteId
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList


def recovery_public(store: ObjectStore, verifiers: Mapping[SiteId, SiteVerifier]) -> RecipientPublic:
    """Return the recovery key that the newest point names: a signed point vouches for it, a key object alone does not.

    Raises:
        KeyMissingError: The store has no point, or not its key objects.
    """
    points = PointList(store, verifiers)
    newest = max(
        (points.listed(dataset)[-1].header for dataset in points.datasets()), key=lambda header: header.begun_at,
        default=None,
    )
    needed = points.needed(newest.dataset, newest.sequence) if newest is not None else ()
    for ref in needed:
        if ref.kind is ObjectKind.KEY and store.has(ref):
            key = decode_key(store.read_checked(ref))
            if key.role is KeyRole.TENANT:
                return RecipientPublic(key.public)
    raise KeyMissingError(
        "the vault here has no point that tells the recovery key of the tenant", "bring a point here first"
    )
