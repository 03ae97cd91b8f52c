"""What a reclaim did or would do, for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jbackupd.engine.reclaimplan import chains_of, find_garbage, needed_by
from jbackupd.model.ids import TenantId
from jbackupd.service.reclaiming import Judged, Reclaimed, look
from jbackupd.service.wiring import point_lists
from jbackupd.settings.schema import Settings


def preview(settings: Settings, tenant: TenantId, now: datetime) -> dict[str, Any]:
    """Return what a reclaim would do at a moment; packs that would be written anew are not counted. Blocks.

    Raises:
        DamageError: A point or an expiry is damaged.
        ChainError: A point is missing.
    """
    (points,) = point_lists(settings, tenant)
    outlook = look(settings, points.store, points, tenant, now)
    staying = {each.point.name for each in outlook.judged if each.decision.stays}
    chains = chains_of(points)
    gone = needed_by(chains, {each.point.name for each in outlook.leaving}) - needed_by(chains, staying)
    already = find_garbage(points.store, points, points.verifiers).bytes
    since = outlook.doubted_since
    return {
        "tenant": tenant, "would_remove": [_judged(each) for each in outlook.leaving],
        "would_free_bytes": already + sum(points.store.size(ref) for ref in gone if points.store.has(ref)),
        "overdue": [_judged(each) for each in outlook.overdue], "stays": len(staying),
        "clock_doubted_since": _time(since) if since is not None else None,
    }


def reclaimed_document(done: Reclaimed) -> dict[str, Any]:
    """Return what a run did."""
    gone = {point.name for point in done.removed}
    return {
        "tenant": done.tenant,
        "removed": [_judged(each) for each in done.outlook.judged if each.point.name in gone],
        "freed_objects": done.freed.objects, "freed_bytes": done.freed.bytes,
        "rewritten_packs": done.moved_packs, "rewritten_bytes": done.moved_bytes,
        "postponed_bytes": done.postponed_bytes, "frozen": done.is_frozen,
        "overdue": [_judged(each) for each in done.outlook.overdue],
        "damaged": [{"code": error.code, "message": str(error)} for error in done.damaged],
        "stays": len(done.outlook.judged) - len(gone),
    }


def _judged(judged: Judged) -> dict[str, Any]:
    """Return a point with why it stays or goes."""
    return {
        "point": judged.point.label, "name": judged.point.name.hex(), "taken_at": _time(judged.point.header.taken_at),
        "reasons": [reason.value for reason in judged.decision.reasons],
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
