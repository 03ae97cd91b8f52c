"""What people say must stay: holds of points and the freeze of a vault; beside a daemon as well. Blocks."""

from __future__ import annotations

from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import PointSelector, TenantId
from jbackupd.service.leases import deciding
from jbackupd.service.wiring import existing_store, point_lists
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.holds import Freeze, Hold, Holds
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import StoredPoint


def hold_point(settings: Settings, selector: PointSelector, reason: str, clock: Clock) -> StoredPoint:
    """Hold a point: no retention removes it until it is let go. Durable when this returns.

    Raises:
        NotFoundError: There is no such point.
        RemovedError: Its content was given up already.
        BusyError: A reclaim is deciding just now.
    """
    tenant = selector.dataset.tenant
    with deciding(settings.site.state, tenant):
        point = _found(settings, selector)
        Holds(_store(settings, tenant)).hold(point.name, Hold(reason, clock.now()))
    return point


def unhold_point(settings: Settings, selector: PointSelector) -> StoredPoint:
    """Let a held point go.

    Raises:
        NotFoundError: There is no such point, or it is not held.
        BusyError: A reclaim is deciding just now.
    """
    tenant = selector.dataset.tenant
    with deciding(settings.site.state, tenant):
        point = _found(settings, selector)
        try:
            Holds(_store(settings, tenant)).unhold(point.name)
        except NotFoundError as error:
            raise NotFoundError(
                "{point} is not held", "'jbackupd points list' shows what is", point=point.label
            ) from error
    return point


def freeze(settings: Settings, tenant: TenantId, reason: str, clock: Clock) -> None:
    """Stop all removal of a vault; durable when this returns. A run that is under way ends within a few objects."""
    Holds(_store(settings, tenant)).freeze(Freeze(reason, clock.now()))


def unfreeze(settings: Settings, tenant: TenantId) -> None:
    """Let things be removed again.

    Raises:
        NotFoundError: The vault is not frozen.
    """
    try:
        Holds(_store(settings, tenant)).unfreeze()
    except NotFoundError as error:
        raise NotFoundError("the vault of {tenant} is not frozen", tenant=tenant) from error


def _store(settings: Settings, tenant: TenantId) -> ObjectStore:
    return existing_store(PosixFiles(settings.site.state), tenant)


def _found(settings: Settings, selector: PointSelector) -> StoredPoint:
    (points,) = point_lists(settings, selector.dataset.tenant)
    return points.find(selector)
