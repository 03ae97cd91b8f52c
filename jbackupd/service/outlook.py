"""What retention will do: played ahead for each dataset, and told point by point. Needs no keys and no lock. Blocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from jbackupd.model.ids import DatasetId
from jbackupd.policy.retention import Candidate, Removal, forecast
from jbackupd.service.reclaiming import candidate_of
from jbackupd.service.wiring import point_lists, tenants_here
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.holds import Holds

SPACING_POINTS = 30
"""How often points are taken is seen from so many newest ones."""
EVERY_LEAST = timedelta(hours=6)
"""More often changes no day, and a forecast of years would take minutes."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What goes of a dataset.

    Attributes:
        points: That are there now.
        every_seconds: How often further points were assumed; None for not at all.
    """

    dataset: DatasetId
    points: int
    every_seconds: int | None
    removals: list[Removal]


def forecasts(
    settings: Settings, wanted: DatasetId | None, now: datetime, ahead: timedelta, *, with_new_points: bool
) -> list[Forecast]:
    """Return what goes of one dataset of this site, or of all that have a retention.

    Args:
        ahead: How far to look.
        with_new_points: Assume that points go on being taken as often as now.
    """
    found = []
    own = {dataset.id.tenant for dataset in settings.datasets}
    for tenant in own.intersection(tenants_here(PosixFiles(settings.site.state))):
        (points,) = point_lists(settings, tenant)
        removed, holds = removed_points(points.store, points.verifiers), Holds(points.store).all()
        for dataset in settings.datasets:
            if dataset.id.tenant != tenant or wanted not in (None, dataset.id):
                continue
            there = [point for point in points.listed(dataset.id) if point.name not in removed]
            if not there:
                continue
            candidates = [candidate_of(point) for point in there]
            every = _spacing(candidates) if with_new_points else None
            removals = forecast(
                candidates, dataset.retention.rules, now=now, zone=settings.site.zone, until=now + ahead, every=every,
                held={point.header.sequence for point in there if point.name in holds},
            ) if not dataset.retention.rules.keeps_everything else []
            seconds = int(every.total_seconds()) if every is not None else None
            found.append(Forecast(dataset.id, len(there), seconds, removals))
    return sorted(found, key=lambda each: each.dataset)


def _spacing(candidates: list[Candidate]) -> timedelta:
    """Return how often points are taken, from what was taken last; a day where there is one point."""
    last = candidates[-SPACING_POINTS:]
    gaps = [(later.taken_at - one.taken_at).total_seconds() for one, later in pairwise(last)]
    return max(EVERY_LEAST, timedelta(seconds=median(gaps))) if gaps else timedelta(days=1)
