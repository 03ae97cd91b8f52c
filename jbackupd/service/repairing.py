"""Verifying and repairing the vaults of this site, with what both the daemon and the commands need for it."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jbackupd.engine.affected import Affected, affected_files
from jbackupd.engine.repair import Broken, FolderPlace, Repair, find_broken
from jbackupd.engine.verify import Allowance, VerifyReport, needs_of, verify_objects, wanted_of
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import ObjectKind, TenantId
from jbackupd.service.leases import reading
from jbackupd.service.wiring import VAULTS, existing_store, open_vault, point_lists
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.soundness import Coverage, Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList


@dataclass(frozen=True, slots=True)
class Standing:
    """How sound a vault is, from what is remembered; nothing was read for it.

    Attributes:
        bytes: All objects together.
    """

    coverage: Coverage
    last_look: datetime | None
    bytes: int


def stores_of(settings: Settings, tenant: TenantId) -> tuple[ObjectStore, PointList]:
    """Return a tenant's objects and points, own or held.

    Raises:
        NotFoundError: It has no vault here.
    """
    store = existing_store(PosixFiles(settings.site.state), tenant)
    (points,) = point_lists(settings, tenant)
    return store, points


def standing(settings: Settings, tenant: TenantId, now: datetime) -> Standing:
    """Return how sound a vault is. Blocks: asks for the length of every object."""
    store, points = stores_of(settings, tenant)
    wanted = wanted_of(store, points, needs_of(points, None, VerifyReport()))
    soundness = Soundness(store)
    there = [ref for ref in wanted if store.has(ref)]
    return Standing(
        soundness.coverage(wanted, now - settings.verify.cover), soundness.newest, sum(map(store.size, there))
    )


def share_of_run(settings: Settings, known: Standing, run: datetime) -> Allowance:
    """Return what one run of the schedule has to read so that all is read within the wanted span.

    Args:
        run: When it begins; the next one after it tells how many there are.
    """
    zone, schedule = settings.site.zone, settings.verify.schedule
    following = schedule.next_after(run, zone)
    interval = schedule.next_after(following, zone) - following
    return Allowance(bytes=math.ceil(known.bytes * min(1.0, interval / settings.verify.cover)))


def roll(
    settings: Settings, tenant: TenantId, allowance: Allowance, *, clock: Clock,
    progress: Callable[[int], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False,
) -> VerifyReport:
    """Look at the objects of a vault that wait longest. Blocks."""
    with reading(settings.site.state, tenant):
        store, points = stores_of(settings, tenant)
        return verify_objects(
            store, points, soundness=Soundness(store), allowance=allowance, clock=clock, progress=progress,
            stopped=stopped,
        )


def folder_place(folder: str, tenant: TenantId) -> FolderPlace:
    """Return another copy of a tenant's vault in a folder: the vault itself, or a state folder that has it.

    Raises:
        NotFoundError: There is none in the folder.
    """
    root = PosixFiles(os.path.abspath(folder))
    for inside in ("", f"{VAULTS}/{tenant}", str(tenant)):
        if root.exists(posixpath.join(inside, ObjectKind.PACK.folder)):
            return FolderPlace(ObjectStore(root, inside), name=folder)
    raise NotFoundError(
        "there is no vault of {tenant} in {folder}", "name the folder that has 'packs' and 'points' in it",
        tenant=tenant, folder=folder,
    )


def repaired_document(done: Repair) -> dict[str, Any]:
    """Return what a repair did, for machines."""
    return {
        "healed": len(done.healed),
        "healed_bytes": sum(each.bytes for each in done.healed),
        "places": sorted({each.place for each in done.healed}),
        "failures": {name: str(error) for name, error in sorted(done.failures.items())},
    }


def broken_objects(settings: Settings, tenant: TenantId) -> list[Broken]:
    """Return what is missing or known to be damaged. Blocks."""
    with reading(settings.site.state, tenant):
        store, points = stores_of(settings, tenant)
        return find_broken(store, points, Soundness(store))


def note_healed(store: ObjectStore, done: Repair, clock: Clock) -> None:
    """Remember what was put right: their bytes were just hashed."""
    soundness = Soundness(store)
    for each in done.healed:
        soundness.note(each.ref, clock.now(), each.bytes, sound=True)
    soundness.save()


def affected_by(settings: Settings, tenant: TenantId, hopeless: list[Broken]) -> Iterator[Affected]:
    """Yield the files that are not whole because of broken objects, in every point that needs one. Blocks."""
    refs = {each.ref for each in hopeless if each.ref.kind is ObjectKind.PACK}
    if not refs:
        return
    with open_vault(settings, tenant) as vault:
        removed = removed_points(vault.store, lenient=True)
        needs = needs_of(vault.points, None, VerifyReport())
        for dataset in vault.points.datasets():
            spans = [span for ref in refs if (span := needs.spans.get(ref, {}).get(dataset)) is not None]
            hit = [
                point for point in vault.points.listed(dataset) if point.name not in removed
                and any(first <= point.header.sequence <= last for first, last in spans)
            ]
            yield from affected_files(vault, refs, hit)
