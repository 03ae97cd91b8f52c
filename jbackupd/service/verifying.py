"""Verifying the vaults of this site: what both the daemon and the commands need for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jbackupd.engine.verify import Allowance, VerifyReport, needs_of, verify_objects, wanted_of
from jbackupd.model.clock import Clock
from jbackupd.model.ids import TenantId
from jbackupd.service.leases import reading
from jbackupd.service.wiring import existing_store, point_lists
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
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
    soundness = Soundness(store)
    wanted = wanted_of(store, points, needs_of(points, None, VerifyReport()), soundness=soundness)
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
