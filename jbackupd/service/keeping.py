"""What officers and operators do with a tenant's keys: rehearse, begin an epoch, change the recovery key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from jbackupd.codec.hpke import RecipientSecret, new_seed
from jbackupd.codec.shares import Share, combine, split
from jbackupd.format.keyrecord import RecoveryChange, encode_record
from jbackupd.model.clock import Clock
from jbackupd.model.errors import BusyError, InvariantError, JbackupdError
from jbackupd.model.ids import TenantId
from jbackupd.service.adopting import open_keys, recovery_seed
from jbackupd.service.founding import write_shares
from jbackupd.service.lock import state_lock
from jbackupd.service.wiring import Site, existing_store, open_site
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keydirectory import KeySurvey
from jbackupd.vault.keyhistory import recovery_change
from jbackupd.vault.keylog import ShareEvent, note
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.recovered import Opened, RecoveredKeys
from jbackupd.vault.store import ObjectStore


@dataclass(frozen=True, slots=True)
class NewShares:
    """A set of shares that was written.

    Attributes:
        set_id: 16 hex digits.
        texts: Paths of the share files.
        sheets: Paths of the pages to print, if wanted.
    """

    set_id: str
    threshold: int
    texts: list[str]
    sheets: list[str]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal found: the shares open the recovery key in force.

    Attributes:
        recovery_key: Its fingerprint, 32 hex digits.
    """

    recovery_key: str
    set_id: str
    opened: Opened


@dataclass(frozen=True, slots=True)
class Changed:
    """The recovery key was changed.

    Attributes:
        recovery_key: Fingerprint of the new one, 32 hex digits.
        epoch: Name of the epoch that began with it.
    """

    recovery_key: str
    number: int
    epoch: str
    shares: NewShares


def begin_epoch(settings: Settings, tenant: TenantId, clock: Clock) -> str | None:
    """Begin a new key epoch and return its name; None where a daemon runs: it begins one with its next point. Blocks.

    Raises:
        KeyMissingError: This site has no keys of the tenant.
    """
    try:
        with _own_keys(settings, tenant) as (_site, store, keyring):
            name = keyring.rotate(clock.now(), taken=[epoch.name for epoch in KeySurvey.of(store).epochs])
            keyring.settle(store)
            return name
    except BusyError:
        site = open_site(settings)
        Keyring.open(site.files, tenant, local_key=site.identity.local_key).ask_rotation()
        return None


def change_recovery(
    settings: Settings, tenant: TenantId, given: Sequence[Share], *, threshold: int, count: int, folder: str,
    sheets: bool, clock: Clock,
) -> Changed:
    """Give a tenant another recovery key: new shares, every epoch sealed to it, a new epoch. Blocks.

    The new shares are durable and proved before anything follows them; whoever is interrupted before that has shares
    of nothing, and begins again.

    Args:
        given: Shares of the recovery key in force.
        folder: For the new shares; new or empty.
        sheets: Also write a page to print for each share.

    Raises:
        ShareError: The given shares are not good.
        KeyringError: They are not of the recovery key in force.
        DamageError: A key object is damaged: what is in it would be lost to the new key.
        RefusedError: The folder holds something.
        BusyError: The daemon or another command is at work.
    """
    with _own_keys(settings, tenant) as (site, store, keyring):
        keys = open_keys(settings, tenant, recovery_seed(tenant, given))
        keys.require_in_force()
        now, seed = clock.now(), new_seed()
        recovery = RecipientSecret(seed).public
        shares = _written(split(seed, threshold=threshold, count=count, label=tenant), seed, folder, sheets, clock)
        earlier = KeySurvey.of(store).recoveries
        number = recovery_change(earlier[-1]).number + 1 if earlier else 2
        change = RecoveryChange(
            number, recovery.fingerprint, keyring.recovery_public.fingerprint, bytes.fromhex(shares.set_id), threshold,
            count,
        )
        record = encode_record(
            change, tenant=tenant, site=site.identity.site, made_at=now, signer=site.identity.signer
        )
        keyring.follow(keys, recovery, record, now)
        keyring.settle(store)
        _note_made(site.files, tenant, shares, count, recovery.fingerprint, clock)
        return Changed(recovery.fingerprint.hex(), number, keyring.epoch, shares)


def share_anew(
    settings: Settings, tenant: TenantId, given: Sequence[Share], *, threshold: int, count: int, folder: str,
    sheets: bool, clock: Clock,
) -> NewShares:
    """Split the recovery key in force again: other holders, other numbers. Blocks.

    Raises:
        As `change_recovery`, without the lock.
    """
    seed = recovery_seed(tenant, given)
    keys = open_keys(settings, tenant, seed)
    keys.require_in_force()
    shares = _written(split(seed, threshold=threshold, count=count, label=tenant), seed, folder, sheets, clock)
    files = PosixFiles(settings.site.state)
    _note_made(files, tenant, shares, count, keys.recovery_public.fingerprint, clock)
    return shares


def rehearse(settings: Settings, tenant: TenantId, given: Sequence[Share], clock: Clock) -> Rehearsal:
    """Prove that shares open the recovery key in force and every session under it; changes nothing but the note of it.

    The result is noted with its date, a failure too. Works at every site that holds the vault, beside a daemon. Blocks.

    Raises:
        ShareError: The shares are not good.
        KeyringError: They are of another recovery key.
    """
    files = PosixFiles(settings.site.state)
    existing_store(files, tenant)
    sets = {share.set_id for share in given}
    event = ShareEvent(
        clock.now(), "rehearsed", "", sets.pop().hex() if len(sets) == 1 else "",
        max((share.threshold for share in given), default=0), max((share.count for share in given), default=0),
        tuple(sorted(share.index for share in given)),
    )
    try:
        keys = open_keys(settings, tenant, recovery_seed(tenant, given))
        keys.require_in_force()
        opened = keys.open_all()
    except JbackupdError as error:
        note(files, tenant, _with_result(event, error.code, None, 0))
        raise
    result = opened.damaged[0].code if opened.damaged else "opened"
    note(files, tenant, _with_result(event, result, keys, len(opened.keys)))
    return Rehearsal(keys.recovery_public.fingerprint.hex(), event.set, opened)


@contextlib.contextmanager
def _own_keys(settings: Settings, tenant: TenantId) -> Iterator[tuple[Site, ObjectStore, Keyring]]:
    """Hold the lock and give the keyring, with whatever was interrupted finished."""
    with state_lock(settings.site.state):
        site = open_site(settings)
        store = existing_store(site.files, tenant)
        keyring = Keyring.open(
            site.files, tenant, local_key=site.identity.local_key, zone=settings.site.zone
        )
        keyring.settle(store)
        yield site, store, keyring


def _written(shares: Sequence[Share], seed: bytes, folder: str, sheets: bool, clock: Clock) -> NewShares:
    """Write shares, read them back, and return them when they give the seed."""
    texts, pages = write_shares(folder, shares, clock.now() if sheets else None)
    read = []
    for path in texts:
        with open(path, "rb") as file:
            read.append(Share.from_file(file.read(), source=path))
    if combine(read) != seed:
        raise InvariantError("shares that were written do not give the key")
    return NewShares(shares[0].set_id.hex(), shares[0].threshold, texts, pages)


def _note_made(
    files: PosixFiles, tenant: TenantId, shares: NewShares, count: int, recovery: bytes, clock: Clock
) -> None:
    event = ShareEvent(clock.now(), "made", recovery.hex(), shares.set_id, shares.threshold, count)
    note(files, tenant, event)


def _with_result(event: ShareEvent, result: str, keys: RecoveredKeys | None, sessions: int) -> ShareEvent:
    recovery = "" if keys is None else keys.recovery_public.fingerprint.hex()
    return msgspec.structs.replace(event, result=result, recovery_key=recovery, sessions=sessions)
