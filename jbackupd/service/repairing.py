"""Repairing the vaults of this site: what both the daemon and the commands need for it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Any

from jbackupd.engine.affected import Affected, affected_files
from jbackupd.engine.repair import Broken, FolderPlace, Repair, find_broken
from jbackupd.engine.verify import VerifyReport, needs_of
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import ObjectKind, TenantId
from jbackupd.service.leases import reading
from jbackupd.service.verifying import stores_of
from jbackupd.service.wiring import VAULTS, open_vault
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore


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
