"""Retention and reclaim of a tenant's own vault: decide, state, remove, write anew, and tell.

Whoever calls holds the state folder's lock and is the only writer of the vault meanwhile. Blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from jbackupd.catalog.database import Catalog, discard
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.record import RunRecord, run_names
from jbackupd.engine.reclaim import Freed, expire, forget, settle_for_reclaim, sweep
from jbackupd.engine.reclaimplan import Garbage, chains_of
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.format.expiry import RemovedPoint
from jbackupd.model.errors import (
    DamageError,
    JbackupdError,
    MissingObjectError,
    NoSpaceError,
    RefusedError,
    StorageError,
)
from jbackupd.model.ids import DatasetId, ObjectName, TenantId
from jbackupd.policy.retention import Candidate, Decision, Rules, clock_doubt, decide
from jbackupd.service.leases import deciding, removing
from jbackupd.service.wiring import Site, author_of, catalog_path, existing_store, open_own_vault
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.schema import Dataset, Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.holds import Holds
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.retentionstate import keep_reserve, load_state, save_state, with_reserve
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint


@dataclass(frozen=True, slots=True)
class Judged:
    """A point with what retention says of it."""

    point: StoredPoint
    decision: Decision


@dataclass(frozen=True, slots=True)
class Outlook:
    """How retention sees a vault at a moment; nothing is changed by it.

    Attributes:
        judged: The points that are there, dataset by dataset in sequence.
        doubted_since: The last moment of the clock that is believed, if it may have jumped.
        waiting: Points that some peer has not signed for.
    """

    judged: tuple[Judged, ...]
    doubted_since: datetime | None
    waiting: frozenset[ObjectName]

    @property
    def leaving(self) -> list[Judged]:
        """The points that go."""
        return [each for each in self.judged if not each.decision.stays]

    @property
    def overdue(self) -> list[Judged]:
        """Points that stay although their upper bound is passed."""
        return [each for each in self.judged if each.decision.overdue]


@dataclass(slots=True)
class Reclaimed:
    """What a run did to one vault.

    Attributes:
        removed: Points that were given up.
        freed: What went.
        moved_packs: Packs whose needed part was written anew.
        moved_bytes: That part; it is sent again to the peers with the next points.
        postponed_bytes: What would have gone, had nobody been reading since before it was decided.
        is_frozen: Somebody said stop while it was under way.
        damaged: Why packs could not be written anew.
    """

    tenant: TenantId
    outlook: Outlook
    removed: list[StoredPoint] = field(default_factory=list)
    freed: Freed = field(default_factory=Freed)
    moved_packs: int = 0
    moved_bytes: int = 0
    postponed_bytes: int = 0
    is_frozen: bool = False
    damaged: list[DamageError] = field(default_factory=list)


def look(settings: Settings, store: ObjectStore, points: PointList, tenant: TenantId, now: datetime) -> Outlook:
    """Return how retention sees a vault.

    Raises:
        DamageError: A point or an expiry is damaged: nobody can tell what is needed.
        ChainError: A point is missing.
    """
    removed, holds = removed_points(store, points.verifiers), Holds(store).all()
    state, receipts = load_state(store), ReceiptList(store)
    judged: list[Judged] = []
    doubts: list[datetime] = []
    waiting: set[ObjectName] = set()
    for chain in chains_of(points):
        dataset = settings.dataset(chain[0].header.dataset)
        there = [point for point in chain if point.name not in removed]
        unsigned = _unsigned(settings, dataset, chain, receipts)
        waiting |= {point.name for point in there if point.header.sequence in unsigned}
        decisions = decide(
            [candidate_of(point) for point in there], _rules(dataset), now=now, zone=settings.site.zone,
            held={point.header.sequence for point in there if point.name in holds}, waiting=unsigned,
        )
        judged += [Judged(point, decision) for point, decision in zip(there, decisions, strict=True)]
        doubt = clock_doubt(_witnesses(chain, state.believed_at, state.sequences), now)
        doubts += [doubt] if doubt is not None else []
    return Outlook(tuple(judged), min(doubts, default=None), frozenset(waiting))


def candidate_of(point: StoredPoint) -> Candidate:
    """Return a point as retention sees it."""
    return Candidate(point.header.sequence, point.header.taken_at, point.header.incomplete)


def reclaim(
    site: Site, tenant: TenantId, epochs: Epochs, *, now: datetime, believe_clock: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Reclaimed:
    """Give up the points that retention does not keep, remove what nobody needs then, write sparse packs anew.

    Args:
        believe_clock: A person has looked at the clock.
        stopped: Asked between steps; the rest is left to the next run.

    Raises:
        RefusedError: The vault is frozen, or the clock may have jumped.
        FencedError: This site was declared lost.
        BusyError: Somebody is changing a hold just now.
        DamageError: Something is damaged: nothing was removed.
        NoSpaceError: Not even the statement of what goes fits on the disk.
    """
    author = author_of(site.identity, epochs)
    store = existing_store(site.files, tenant)
    points = PointList(store, site.verifiers)
    run = _Run(site, tenant, store, points, lambda: not stopped() and Holds(store).frozen() is None)
    run.check()
    settle_for_reclaim(store)
    outlook = look(site.settings, store, points, tenant, now)
    if outlook.doubted_since is not None and not believe_clock:
        raise _doubtful(outlook.doubted_since, now)
    done = Reclaimed(tenant, outlook)
    # What went before first: on a full disk it makes the room for everything else.
    run.sweep(done)
    with deciding(site.settings.site.state, tenant):
        # Again, now that nobody can hold a point or let one go meanwhile.
        run.check()
        done.outlook = look(site.settings, store, points, tenant, now)
        leaving = [
            RemovedPoint(each.point.header.dataset, each.point.header.sequence, each.point.name,
                         each.decision.reasons[0].value)
            for each in done.outlook.leaving
        ]
        with_reserve(store, lambda: expire(store, tenant, leaving, author=author, now=now))
    done.removed = [each.point for each in done.outlook.leaving]
    run.sweep(done)
    try:
        run.write_anew(done, epochs, now)
    finally:
        _believe(store, points, now, done)
    keep_reserve(store)
    done.is_frozen = Holds(store).frozen() is not None
    return done


class _Run:
    """One vault's run."""

    def __init__(
        self, site: Site, tenant: TenantId, store: ObjectStore, points: PointList, may_go_on: Callable[[], bool]
    ) -> None:
        self._site = site
        self._tenant = tenant
        self._store = store
        self._points = points
        self._may_go_on = may_go_on

    def check(self) -> None:
        """Return unless the vault is frozen, by a person or by a recovery that is under way."""
        freeze = Holds(self._store).frozen()
        if freeze is not None:
            raise RefusedError(
                "nothing is removed of {tenant}: it is frozen ({reason})",
                "'jbackupd vault unfreeze {tenant}' ends it", tenant=self._tenant, reason=freeze.reason,
            )
        run = _recovery_under_way(self._site.files, self._tenant)
        if run is not None:
            raise RefusedError(
                "nothing is removed of {tenant}: the recovery run {run} has not ended",
                "let it go on with 'jbackupd recovery resume', or end it with 'jbackupd recovery clean'",
                tenant=self._tenant, run=run,
            )

    def sweep(self, done: Reclaimed) -> None:
        """Remove what nobody needs, if no reader from before it was stated is left."""
        state = self._site.settings.site.state
        freed, left = sweep(
            self._store, self._points, forget=self._forget, alone=lambda: removing(state, self._tenant),
            may_go_on=self._may_go_on,
        )
        done.freed = Freed(done.freed.objects + freed.objects, done.freed.bytes + freed.bytes)
        done.postponed_bytes = left

    def write_anew(self, done: Reclaimed, epochs: Epochs, now: datetime) -> None:
        """Write sparse packs anew and remove the old ones."""
        below = self._site.settings.reclaim.rewrite_below_percent / 100
        if not below or not self._may_go_on():
            return
        with open_own_vault(self._site, self._tenant, epochs) as own:
            try:
                usage = survey_usage(own.vault, waiting=done.outlook.waiting)
            except MissingObjectError:
                # A pack that went may have been the one of two with a frame that the catalog knew.
                rebuild(own.vault.store, own.vault.catalog, own.keyring, tenant=self._tenant)
                usage = survey_usage(own.vault, waiting=done.outlook.waiting)
            planned = plan_repacks(own.vault, usage, below=below)
            written, done.damaged = repack(
                own.vault, planned, usage, keyring=own.keyring, author=own.author, now=now, may_go_on=self._may_go_on
            )
        done.moved_packs = sum(len(each.packs) for each in written)
        done.moved_bytes = sum(each.needed_bytes for each in written)
        self.sweep(done)

    def _forget(self, garbage: Garbage) -> None:
        """Invalidate the catalog; where the disk is too full for that, it goes whole and is made anew later."""
        path = catalog_path(self._site.settings, self._tenant)
        try:
            with contextlib.closing(Catalog(path)) as catalog:
                forget(catalog, garbage)
        except (NoSpaceError, StorageError):
            discard(path)


def _recovery_under_way(files: PosixFiles, tenant: TenantId) -> str | None:
    """Return a recovery run of a tenant that has not ended: in a disaster nothing is removed."""
    for name in run_names(files):
        try:
            record = RunRecord.open(files, name, parse_plan)
        except JbackupdError:
            continue  # never begun, or told by 'recovery history'
        record.close()
        if record.plan.tenant == tenant and record.ended_at is None and record.clean_begun_at is None:
            return name
    return None


def _rules(dataset: Dataset | None) -> Rules:
    """Return a dataset's rules; one that is not in the configuration any more keeps everything."""
    return dataset.retention.rules if dataset is not None else Rules()


def _unsigned(
    settings: Settings, dataset: Dataset | None, chain: list[StoredPoint], receipts: ReceiptList
) -> set[int]:
    """Return the points that some peer of a dataset has not signed for, where that matters."""
    if dataset is None or not dataset.retention.wait_for_peers:
        return set()
    signed = [receipts.newest(dataset.id, peer.id) for peer in settings.peers_of(dataset)]
    least = min((receipt.sequence if receipt is not None else 0 for receipt in signed), default=len(chain))
    return set(range(least + 1, len(chain) + 1))


def _witnesses(
    chain: list[StoredPoint], believed_at: datetime | None, sequences: Mapping[str, int]
) -> list[datetime]:
    """Return what bears witness to the time: the last look that was believed, and the points taken since."""
    if believed_at is None:
        return [chain[-1].header.taken_at]
    known = sequences.get(str(chain[0].header.dataset), 0)
    return [believed_at, *(point.header.taken_at for point in chain if point.header.sequence > known)]


def _believe(store: ObjectStore, points: PointList, now: datetime, done: Reclaimed) -> None:
    """Note that the clock was believed, and what has gone."""
    state = load_state(store)
    chains = {str(dataset): len(points.chain(dataset)) for dataset in points.datasets()}
    with contextlib.suppress(NoSpaceError):
        save_state(store, type(state)(
            now, chains, state.removed_points + len(done.removed), state.freed_bytes + done.freed.bytes,
            state.moved_bytes + done.moved_bytes,
        ))


def _doubtful(since: datetime, now: datetime) -> RefusedError:
    return RefusedError(
        "nothing is removed: the clock says {now}, but what was seen last is of {since}; it may have jumped",
        "look at the clock; if it is right, say so once: 'jbackupd vault reclaim --clock-is-right'",
        now=now.isoformat(timespec="minutes"), since=since.isoformat(timespec="minutes"),
    )


def datasets_with_retention(settings: Settings) -> list[DatasetId]:
    """Return the datasets whose retention removes anything."""
    return [dataset.id for dataset in settings.datasets if not dataset.retention.rules.keeps_everything]
