"""A backup run: from a source to a committed point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jbackupd.codec.cutting import require_compiled_cutter
from jbackupd.engine.closure import Budget, Closures, reach
from jbackupd.engine.earlier import EarlierTree, open_previous
from jbackupd.engine.encode import Encoder
from jbackupd.engine.taking import Progress, Taking
from jbackupd.engine.versions import Versions
from jbackupd.format.point import PointBody, PointHeader
from jbackupd.model.clock import Clock
from jbackupd.model.errors import TryLaterError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName
from jbackupd.model.records import Preset, Statistics
from jbackupd.sources.port import Source
from jbackupd.vault.commit import Authorship, Committed, commit_point
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.vault import Vault
from jbackupd.vault.writer import PackWriter

BASES_BYTES = 32 * 1024 * 1024
"""Plaintext of bases that is kept: two frames' chains of eight. With 16 MiB a fifth more time, with 64 none less."""


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A committed point and what it took.

    Attributes:
        new_object_bytes: What any peer that holds the predecessor has to receive.
    """

    name: ObjectName
    header: PointHeader
    statistics: Statistics
    new_object_bytes: int
    seconds: float


def run_backup(
    vault: Vault, dataset: DatasetId, source: Source, *, keyring: Keyring, author: Authorship, clock: Clock,
    budget: Budget | None = None, preset: Preset = Preset.BALANCED,
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
        progress: Called after every block and file, on this thread; must return quickly.
        stopped: Asked between files; when true the run ends without a point.

    Raises:
        SourceError: The source cannot be read at all; there is no new point.
        NoSpaceError: The disk is full; earlier points are as they were.
        TryLaterError: It was stopped.
    """
    require_compiled_cutter()
    begun_at, started = clock.now(), clock.monotonic()
    budget = budget or Budget()
    vault.store.settle_all()
    chain = vault.points.chain(dataset)
    session = keyring.new_session(begun_at)
    for key_object in (keyring.epoch_object(), session.key_object):
        vault.store.put(ObjectKind.KEY, key_object)
    writer = PackWriter(
        vault.store, vault.catalog, tenant=vault.tenant, session_id=session.session_id, session_key=session.key
    )
    closures = Closures(vault.catalog)
    versions = Versions(vault, dataset, len(chain) + 1, closures=closures)
    # A reader of its own: bases lie close together, and what a run may take of memory is less than what a restore may.
    reader = FrameReader(vault.store, vault.catalog, vault.keys, tenant=vault.tenant, cache_bytes=BASES_BYTES)
    encoder = Encoder(reader, writer, closures, budget, like=versions.like, preset=preset)
    taking = Taking(
        vault, encoder, closures=closures, budget=budget, earlier=EarlierTree(open_previous(vault, chain), closures),
        versions=versions, progress=progress,
    )

    writer.durable = taking.settle

    def commit() -> Committed:
        body = PointBody(
            tree.extents(), tree.length, tree.digest, taking.statistics(), source.kind, budget.frames,
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
        versions.store()
    finally:
        encoder.close()
        writer.close()
    return BackupResult(
        committed.name, committed.header, taking.statistics(), committed.new_object_bytes,
        clock.monotonic() - started,
    )
