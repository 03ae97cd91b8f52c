"""Erasing a key epoch at its own site: shares open what is needed, the plan is shown, and only then anything goes."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog
from jbackupd.codec.shares import Share
from jbackupd.engine.erase import Order, doomed_objects, erase_epoch
from jbackupd.engine.eraseplan import ErasePlan, plan_erasure
from jbackupd.format.key import decode_key
from jbackupd.format.keyrecord import KeyRecord, decode_record
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import ObjectName, PointSelector, SiteId, TenantId
from jbackupd.service.adopting import recovery_seed
from jbackupd.service.keybook import Held
from jbackupd.service.lock import state_lock
from jbackupd.service.wiring import (
    Site,
    author_of,
    catalog_path,
    existing_store,
    open_epochs,
    open_site,
)
from jbackupd.settings.schema import Settings
from jbackupd.vault.keydirectory import EpochKeys, KeyDirectory, KeySurvey
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Erasing:
    """An erasure that is planned; made by `erasing`, which holds the lock of the state folder meanwhile.

    Attributes:
        pending_at: Sites that hold copies of the epoch's key, as far as their receipts tell.
    """

    plan: ErasePlan
    pending_at: list[SiteId]
    _site: Site
    _vault: Vault
    _epoch: EpochKeys
    _seed: bytes
    _keys: RecoveredKeys
    _keyring: Keyring
    _shares: Sequence[Share]

    def erase(self, settings: Settings, *, asked_by: str, reason: str, clock: Clock) -> KeyRecord:
        """Do it, and return the record; what was given up is unreadable then. Blocks.

        Raises:
            RefusedError: A retained point would become unreadable unasked.
        """
        self.plan.check()
        vault = self._vault

        def reopen(without: Collection[ObjectName], more: Sequence[bytes]) -> RecoveredKeys:
            return RecoveredKeys.from_store(
                self._seed, vault.tenant, vault.store, vault.points.verifiers, without=without, more=more
            )

        order = Order(
            self._epoch.key, asked_by, reason, self._shares[0].set_id, tuple(share.index for share in self._shares)
        )
        made = erase_epoch(
            vault, self.plan, order, keys=self._keys, keyring=self._keyring,
            author=author_of(self._site.identity, open_epochs(self._site)), reopen=reopen, now=clock.now(),
        )
        return decode_record(decode_key(made))


@contextlib.contextmanager
def erasing(
    settings: Settings, tenant: TenantId, epoch: str, given: Sequence[Share], give_up: Sequence[PointSelector]
) -> Iterator[Erasing]:
    """Plan the erasure of an epoch, holding the lock of the state folder. Blocks.

    Args:
        epoch: Its name, or its key as `key show --json` has it.
        given: Shares of the recovery key in force, of two people at least.
        give_up: Points of the epoch that may become unreadable.

    Raises:
        NotFoundError: There is no such epoch or point.
        ShareError: The shares are not good.
        KeyringError: They are of another recovery key, or this site has no keys of the tenant.
        RefusedError: The epoch is the current one or was erased before, or a point to give up is not of it.
        BusyError: The daemon or another command is at work.
    """
    with state_lock(settings.site.state):
        site = open_site(settings)
        store = existing_store(site.files, tenant)
        keyring = Keyring.open(site.files, tenant, local_key=site.identity.local_key, zone=settings.site.zone)
        keyring.settle(store)
        seed = recovery_seed(tenant, given)
        keys = RecoveredKeys.from_store(seed, tenant, store, site.verifiers)
        keys.require_in_force()
        wanted = _erasable(KeySurvey.of(store), epoch, keyring, tenant)
        with contextlib.closing(Catalog(catalog_path(settings, tenant))) as catalog:
            reconcile(store, catalog, keys, tenant=tenant)
            vault = Vault(store, catalog, keys, tenant=tenant, verifiers=site.verifiers)
            elsewhere = KeyDirectory(store).sessions_open(keys.recovery_public.fingerprint, but=wanted.key)
            plan = plan_erasure(
                vault, wanted.name, sessions=wanted.sessions, open_elsewhere=elsewhere, give_up=give_up
            )
            pending = Held(store, vault.points).having(doomed_objects(vault, wanted.key))
            yield Erasing(plan, pending, site, vault, wanted, seed, keys, keyring, given)


def _erasable(survey: KeySurvey, name: str, keyring: Keyring, tenant: TenantId) -> EpochKeys:
    found = [epoch for epoch in survey.epochs if name in (epoch.name, epoch.key.hex())]
    if len(found) > 1:
        # Version 0.1.0 called the epoch of a keyring that was made anew like the one before.
        raise UsageError(
            "{tenant} has several key epochs {epoch}", "name one by its key: 'jbackupd key show {tenant} --json'",
            tenant=tenant, epoch=name,
        )
    if not found:
        raise NotFoundError(
            "{tenant} has no key epoch {epoch}", "see 'jbackupd key show {tenant}'", tenant=tenant, epoch=name
        )
    if found[0].key == keyring.epoch_public.fingerprint:
        raise RefusedError(
            "unable to erase the epoch {epoch}: it is the current one",
            "begin another one first: 'jbackupd key rotate {tenant}'", epoch=name, tenant=tenant,
        )
    if found[0].erased is not None and not found[0].recipients:
        raise RefusedError(
            "the epoch {epoch} was erased before", "see 'jbackupd key show {tenant}'", epoch=name, tenant=tenant
        )
    return found[0]
