"""How a tenant's keys stand: recovery key, shares, epochs with what was sealed in each, what was erased. Opens none."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from jbackupd.format.key import KeyRole, decode_key
from jbackupd.format.keyrecord import KeyRecord, open_details
from jbackupd.format.pack import PACK_HEAD_BYTES, decode_pack_head
from jbackupd.format.receipt import Receipt
from jbackupd.model.errors import DamageError, KeyringError, NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.service.wiring import existing_store, known_verifiers
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault import keylog
from jbackupd.vault.erased import erasure_records
from jbackupd.vault.identity import load_identity
from jbackupd.vault.keydirectory import EpochKeys, KeySurvey
from jbackupd.vault.keyhistory import erasure, recovery_change
from jbackupd.vault.keyring import Keyring, KeySource
from jbackupd.vault.keyringfile import exists
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint

CLOCK_ERROR = timedelta(days=1)
"""A holder's clock may be wrong: rather call an erasure pending for a day too long than over too early."""


def key_document(settings: Settings, tenant: TenantId) -> tuple[dict[str, Any], KeySurvey]:
    """Return how a tenant's keys stand, for machines, and what was found of key objects. Needs no lock. Blocks.

    Raises:
        NotFoundError: The tenant has no vault here.
    """
    files = PosixFiles(settings.site.state)
    store = existing_store(files, tenant)
    survey = KeySurvey.of(store)
    points = PointList(store, known_verifiers(settings))
    held = Held(store, points)
    current = _current_epoch(settings, tenant)
    return {
        "tenant": tenant, "keyring": exists(files, tenant), "recovery_key": survey.recovery_key,
        "recovery_number": recovery_change(survey.recoveries[-1]).number if survey.recoveries else 1,
        "recovery_since": _time(survey.recoveries[-1].made_at) if survey.recoveries else None,
        "without_recovery_key": held.without(_roots(store, survey.recovery_key)) if survey.recoveries else [],
        "share_set": _share_set(files, tenant, survey), "last_rehearsal": _last_rehearsal(files, tenant, survey),
        "epochs": [_epoch(epoch, held, current) for epoch in survey.epochs],
        "erasures": [
            erasure_document(settings, tenant, record) for record in erasure_records(store, points.verifiers)
        ],
        "sessions": survey.sessions, "damaged": [str(error) for error in survey.damaged],
    }, survey  # fmt: skip


def erasure_document(
    settings: Settings, tenant: TenantId, record: KeyRecord, keys: KeySource | None = None
) -> dict[str, Any]:
    """Return what a record of an erasure says, for machines and auditors.

    Args:
        keys: Open what is said to the tenant alone; this site's own keyring without.
    """
    what = erasure(record)
    document: dict[str, Any] = {
        "epoch": what.label, "key": what.epoch.hex(), "erased_at": _time(record.made_at), "site": record.site,
        "points_lost": [f"{point.dataset}@{point.sequence}" for point in what.lost],
        "points_kept": what.points_kept, "packs_lost": what.packs, "bytes_lost": what.pack_bytes,
        "packs_rewritten": len(what.moved), "key_objects_destroyed": [name.hex() for name in what.destroyed],
        "asked_by": None, "reason": None, "share_set": None, "shares": None, "contents": None,
    }
    with contextlib.suppress(KeyringError, NotFoundError):
        found = keys or _own_keyring(settings, tenant)
        details = open_details(what.details, found.content_hash().record_key, tenant=tenant)
        document |= {
            "asked_by": details.asked_by, "reason": details.reason, "share_set": details.set_id.hex(),
            "shares": list(details.shares),
            "contents": [
                {"point": f"{c.dataset}@{c.sequence}", "files": c.files, "source_bytes": c.source_bytes}
                for c in details.contents
            ],
        }  # fmt: skip
    return document


def _own_keyring(settings: Settings, tenant: TenantId) -> Keyring:
    files = PosixFiles(settings.site.state)
    return Keyring.open(files, tenant, local_key=load_identity(files, settings.site.id).local_key)


class Held:
    """What lies in a vault, by session, and what its holders have signed for."""

    def __init__(self, store: ObjectStore, points: PointList) -> None:
        self._points = points
        self._receipts = list(ReceiptList(store).all())
        self.points: dict[bytes, list[StoredPoint]] = {}
        for dataset in points.datasets():
            for point in points.listed(dataset):
                self.points.setdefault(point.header.session_id, []).append(point)
        self.packs: Counter[bytes] = Counter()
        self.pack_bytes: Counter[bytes] = Counter()
        for name in store.names(ObjectKind.PACK):
            ref = ObjectRef(ObjectKind.PACK, name)
            try:
                session = decode_pack_head(store.read(ref, 0, min(store.size(ref), PACK_HEAD_BYTES))).session_id
            except DamageError:
                continue  # counted by verify
            self.packs[session] += 1
            self.pack_bytes[session] += store.size(ref)

    def without(self, keys: Iterable[ObjectName]) -> list[SiteId]:
        """Return the holders that have signed for points, but for none that needs these key objects."""
        wanted = {ObjectRef(ObjectKind.KEY, name) for name in keys}
        having = {receipt.holder for receipt, needed in self._signed_for() if wanted & needed}
        return sorted({receipt.holder for _, receipt in self._receipts} - having)

    def having(self, keys: Iterable[ObjectName], *, until: datetime | None = None) -> list[SiteId]:
        """Return the holders that have signed for a point that needs one of these key objects.

        Args:
            until: By the holders' clocks; what they signed for later, they got without the objects.
        """
        wanted = {ObjectRef(ObjectKind.KEY, name) for name in keys}
        return sorted({
            receipt.holder for receipt, needed in self._signed_for()
            if wanted & needed and (until is None or receipt.received_at <= until + CLOCK_ERROR)
        })

    def _signed_for(self) -> Iterator[tuple[Receipt, set[ObjectRef]]]:
        for _, receipt in self._receipts:
            try:
                yield receipt, self._points.needed(receipt.dataset, receipt.sequence)
            except (NotFoundError, DamageError):
                continue


def _roots(store: ObjectStore, recovery_key: str) -> list[ObjectName]:
    """Return the tenant's key objects for a recovery key."""
    found = []
    for name in store.names(ObjectKind.KEY):
        try:
            key = decode_key(store.read_checked(ObjectRef(ObjectKind.KEY, name)))
        except DamageError:
            continue
        if key.role is KeyRole.TENANT and key.recipient.hex() == recovery_key:
            found.append(name)
    return found


def _current_epoch(settings: Settings, tenant: TenantId) -> bytes | None:
    try:
        return _own_keyring(settings, tenant).epoch_public.fingerprint
    except (NotFoundError, KeyringError):
        return None


def _share_set(files: PosixFiles, tenant: TenantId, survey: KeySurvey) -> dict[str, Any] | None:
    """Return the newest set of shares of the recovery key in force, as far as this site knows of one."""
    made = [
        event for event in keylog.events(files, tenant)
        if event.event == "made" and event.recovery_key == survey.recovery_key
    ]
    if made:
        return {
            "set": made[-1].set, "threshold": made[-1].threshold, "count": made[-1].count, "made_at": _time(made[-1].at)
        }
    if not survey.recoveries:
        return None
    change = recovery_change(survey.recoveries[-1])
    return {
        "set": change.set_id.hex(), "threshold": change.threshold, "count": change.count,
        "made_at": _time(survey.recoveries[-1].made_at),
    }


def _last_rehearsal(files: PosixFiles, tenant: TenantId, survey: KeySurvey) -> dict[str, Any] | None:
    """Return the last time that shares opened, at this site, the recovery key in force."""
    good = [
        event for event in keylog.events(files, tenant)
        if (event.event, event.result, event.recovery_key) == ("rehearsed", "opened", survey.recovery_key)
    ]
    if not good:
        return None
    return {"at": _time(good[-1].at), "set": good[-1].set, "shares": list(good[-1].shares)}


def _epoch(epoch: EpochKeys, held: Held, current: bytes | None) -> dict[str, Any]:
    points = [point for session in epoch.sessions for point in held.points.get(session, [])]
    document: dict[str, Any] = {
        "name": epoch.name, "key": epoch.key.hex(), "current": epoch.key == current,
        "begun_at": _time(min(point.header.begun_at for point in points)) if points else None,
        "sessions": len(epoch.sessions), "points": len(points),
        "packs": sum(held.packs[session] for session in epoch.sessions),
        "pack_bytes": sum(held.pack_bytes[session] for session in epoch.sessions),
        "recipients": [recipient.hex() for recipient in epoch.recipients],
        "erased_at": None, "pending_at": [],
    }
    if epoch.erased is not None:
        document["erased_at"] = _time(epoch.erased.made_at)
        document["pending_at"] = held.having(
            erasure(epoch.erased).destroyed, until=epoch.erased.made_at
        )
    return document


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
