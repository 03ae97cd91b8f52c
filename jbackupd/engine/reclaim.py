"""Removes what nobody needs. Statement, caches, deed, in this order, each durable before the next.

1. `expire`: a signed expiry names the points that are given up. Before it nothing of them may go; after it a crash at
   any instant leaves a vault whose kept points all restore, and the next run goes on.
2. The catalog forgets what goes: nothing is to be skipped as "already there" that is about to go.
3. The objects go. No order among them matters any more.

The first two steps need a few kilobytes of room, the third none: see `vault.retentionstate` for a full disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from jbackupd.catalog.database import Catalog
from jbackupd.engine.reclaimplan import Garbage, find_garbage
from jbackupd.format.expiry import Expiry, RemovedPoint
from jbackupd.model.ids import ObjectKind, TenantId
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import put_expiry, settle_expiries
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList

OBJECTS_AT_ONCE = 64
"""Between so many removals somebody may say stop; a power cut brings back at most as many, for the next run."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What has gone."""

    objects: int = 0
    bytes: int = 0


def settle_for_reclaim(store: ObjectStore) -> None:
    """Make durable what will be decided on: a newer point that a power cut takes back must not cost an older one."""
    store.settle_all()
    settle_expiries(store)


def expire(
    store: ObjectStore, tenant: TenantId, removed: Sequence[RemovedPoint], *, author: Authorship, now: datetime
) -> None:
    """State durably which points are given up; nothing goes by this.

    Raises:
        NoSpaceError: The disk is full; nothing was stated.
    """
    if removed:
        put_expiry(store, Expiry(tenant, author.site, author.epoch, now, tuple(removed)), author.signer)


def forget(catalog: Catalog, garbage: Garbage) -> None:
    """Make a catalog forget what goes."""
    catalog.forget_indexes(garbage.names(ObjectKind.INDEX))
    catalog.forget_packs(garbage.names(ObjectKind.PACK))


def remove(store: ObjectStore, garbage: Garbage, may_go_on: Callable[[], bool] = lambda: True) -> Freed:
    """Remove objects that the catalog has forgotten; return what has gone.

    Args:
        may_go_on: Asked before every few; the rest is left to the next run when it says no.
    """
    refs = sorted(garbage.objects)
    done = 0
    while done < len(refs) and may_go_on():
        some = refs[done : done + OBJECTS_AT_ONCE]
        store.remove(some)
        done += len(some)
    return Freed(done, sum(garbage.objects[ref] for ref in refs[:done]))


def sweep(
    store: ObjectStore, points: PointList, *, forget: Callable[[Garbage], None],
    alone: Callable[[], contextlib.AbstractContextManager[bool]], may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[Freed, int]:
    """Remove what nobody needs; return what has gone, and the bytes that are left to the next run.

    Args:
        forget: Makes the catalog forget what goes; durable or not, since a catalog is put right when it is opened.
        alone: Begins a new epoch of readers and tells whether those from before it have gone.

    Raises:
        DamageError: A point or an expiry is damaged: nobody can tell what is needed, so nothing went.
        ChainError: A point is missing.
    """
    garbage = find_garbage(store, points, points.verifiers)
    if not garbage.objects or not may_go_on():
        return Freed(), garbage.bytes
    forget(garbage)
    with alone() as is_alone:
        freed = remove(store, garbage, may_go_on) if is_alone else Freed()
    return freed, garbage.bytes - freed.bytes
