"""A backup run: from a source to a committed point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jbackupd.catalog.versions import VersionTable
from jbackupd.engine.closure import Budget, Closures, budget_of, reach
from jbackupd.engine.earlier import EarlierTree, open_previous
from jbackupd.engine.taking import Progress, Taking
from jbackupd.format.point import PointBody, PointHeader
from jbackupd.model.clock import Clock
from jbackupd.model.errors import TryLaterError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName
from jbackupd.model.records import Access, Preset, Statistics
from jbackupd.sources.port import Source
from jbackupd.vault.commit import Authorship, Committed, commit_point
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.vault import Vault
from jbackupd.vault.writer import PackWriter

if TYPE_CHECKING:
    # Brings numpy and what encodes, a tenth of a second: a run that finds nothing new does without.
    from jbackupd.engine.making import Making

@dataclass(frozen=True, slots=True)
class BackupResult:
    """A committed point and what it took.

    Attributes:
        new_object_bytes: What a peer that holds all points up to now has to receive.
    """

    name: ObjectName
    header: PointHeader
    statistics: Statistics
    new_object_bytes: int
    seconds: float


def run_backup(
    vault: Vault, dataset: DatasetId, source: Source, *, keyring: Keyring, author: Authorship, clock: Clock,
    budget: Budget | None = None, preset: Preset = Preset.BALANCED, access: Access = Access.STREAM,
    progress: Callable[[Progress], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False,
) -> BackupResult:
    """Take a point of a dataset. Blocks; only one run may write a vault at a time.

    Args:
        vault: The tenant's own vault; its catalog is reconciled.
        source: Where the data comes from.
        keyring: Gives the run its session key.
        author: Who signs.
        budget: What a frame may need to be read.
        preset: How much effort compressing is worth.
        access: How its files are read before they are restored.
        progress: Called after every block and file, on this thread; must return quickly.
        stopped: Asked between files; when true the run ends without a point.

    Raises:
        SourceError: The source cannot be read at all; there is no new point.
        NoSpaceError: The disk is full; earlier points are as they were.
        TryLaterError: It was stopped.
    """
    begun_at, started = clock.now(), clock.monotonic()
    budget = budget or budget_of(access)
    vault.store.settle_all()
    chain = vault.points.chain(dataset)
    session = keyring.new_session(begun_at)
    for key_object in (keyring.epoch_object(), session.key_object):
        vault.store.put(ObjectKind.KEY, key_object)
    writer = PackWriter(
        vault.store, vault.catalog, tenant=vault.tenant, session_id=session.session_id, session_key=session.key
    )
    closures = Closures(vault.catalog)
    sequence = len(chain) + 1

    def make() -> Making:
        from jbackupd.engine.making import Making

        return Making(
            vault, writer, dataset=dataset, sequence=sequence, closures=closures, budget=budget, preset=preset,
            access=access,
        )

    taking = Taking(earlier=EarlierTree(open_previous(vault, chain), closures), make=make, progress=progress)

    def commit() -> Committed:
        body = PointBody(
            tree.extents, tree.length, tree.digest, taking.statistics(), source.kind, budget.frames,
            budget.plain_bytes,
        )
        return commit_point(
            vault, dataset, body, packs=reach(vault.catalog, taking.used), session=session, author=author,
            begun_at=begun_at, taken_at=clock.now(), incomplete=bool(taking.unreadable),
        )

    try:
        for item in source.items():
            if stopped():
                raise TryLaterError("the backup of {dataset} was stopped", "run it again", dataset=dataset)
            taking.take(item)
        tree = taking.finish()
        committed = commit()
        taking.remember(VersionTable(vault.catalog), dataset, sequence)
    finally:
        taking.close()
        writer.close()
    return BackupResult(
        committed.name, committed.header, taking.statistics(), committed.new_object_bytes,
        clock.monotonic() - started,
    )
