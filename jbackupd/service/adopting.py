"""Shares become keys again: opened for a proof, or kept at this site so that it goes on with a tenant's vault."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from jbackupd.codec.shares import Share, combine
from jbackupd.format.pack import PACK_HEAD_BYTES, decode_pack_head
from jbackupd.model.clock import Clock
from jbackupd.model.errors import ChainError, DamageError, ShareError
from jbackupd.model.ids import ObjectKind, ObjectRef, TenantId
from jbackupd.service.lock import state_lock
from jbackupd.service.wiring import existing_store, known_verifiers, point_lists
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.identity import load_or_create
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.recovered import RecoveredKeys


def recovery_seed(tenant: TenantId, shares: Sequence[Share]) -> bytes:
    """Return the recovery seed of a tenant.

    Raises:
        ShareError: A share is bad, or made for another tenant; the message names it.
    """
    for share in shares:
        if share.label != tenant:
            raise ShareError(
                "{share} is a share of {label}, not of {tenant}", "use the shares of this tenant",
                share=share.title, label=share.label, tenant=tenant,
            )
    return combine(shares)


def open_keys(settings: Settings, tenant: TenantId, seed: bytes) -> RecoveredKeys:
    """Return a tenant's keys, opened with its recovery seed; damaged key objects are no hindrance. Blocks.

    Raises:
        NotFoundError: The tenant has no vault here.
        KeyringError: The seed is not of this tenant.
    """
    store = existing_store(PosixFiles(settings.site.state), tenant)
    return RecoveredKeys.from_store(seed, tenant, store, known_verifiers(settings))


def adopt_keys(settings: Settings, tenant: TenantId, keys: RecoveredKeys, clock: Clock) -> None:
    """Keep recovered keys at this site, durable; a keyring that does not open is replaced. Blocks.

    Raises:
        RefusedError: This site has good keys of the tenant.
        BusyError: The daemon or another command is at work.
    """
    with state_lock(settings.site.state):
        files = PosixFiles(settings.site.state)
        identity = load_or_create(files, settings.site.id)
        store = existing_store(files, tenant)
        Keyring.adopt(
            files, tenant, keys, created_at=_begun_at(settings, tenant), local_key=identity.local_key,
            now=clock.now(), sessions_of=_sessions_of(settings, tenant) if keys.kept() else {},
            doomed=[ref.name for ref in destroyed_objects(store, known_verifiers(settings))],
        )


def _begun_at(settings: Settings, tenant: TenantId) -> dict[bytes, datetime]:
    """Return when the sessions of the vault's points were, as far as the points are readable."""
    begun: dict[bytes, datetime] = {}
    for points in point_lists(settings, tenant):
        for dataset in points.datasets():
            with contextlib.suppress(ChainError):
                begun |= {point.header.session_id: point.header.begun_at for point in points.listed(dataset)}
    return begun


def _sessions_of(settings: Settings, tenant: TenantId) -> dict[bytes, bytes]:
    """Return the sessions of the vault's points and packs by their ids, as far as they are readable."""
    found: dict[bytes, bytes] = {}
    for points in point_lists(settings, tenant):
        for dataset in points.datasets():
            with contextlib.suppress(ChainError):
                found |= {point.header.point_id: point.header.session_id for point in points.listed(dataset)}
    store = existing_store(PosixFiles(settings.site.state), tenant)
    for name in store.names(ObjectKind.PACK):
        with contextlib.suppress(DamageError):
            head = decode_pack_head(store.read(ObjectRef(ObjectKind.PACK, name), 0, PACK_HEAD_BYTES))
            found[head.pack_id] = head.session_id
    return found
