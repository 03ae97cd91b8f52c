"""Takes a point of a dataset into its tenant's vault: what the daemon's jobs and `backup --local` have in common."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jbackupd.engine.backup import BackupResult, run_backup
from jbackupd.engine.taking import Progress
from jbackupd.model.clock import Clock
from jbackupd.model.ids import DatasetId, ObjectKind
from jbackupd.model.records import Access, EntryType, Preset, Unreadable
from jbackupd.policy.skip import references_to_keep
from jbackupd.service.taken import Taken
from jbackupd.sources.port import Source, UnreadableError
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import moved_packs
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.vault import Vault

NAMED_UNREADABLE_MAX = 200
"""So many are named in results and in the job book; all are in the point, and `points show` names them."""
READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OwnVault:
    """The vault of a tenant of this site, with all that writing it takes.

    Attributes:
        history_days: How long the keyring keeps session keys.
    """

    vault: Vault
    keyring: Keyring
    author: Authorship
    history_days: int


def take_point(
    own: OwnVault, dataset: DatasetId, source: Source, *, preset: Preset, access: Access, clock: Clock,
    progress: Callable[[int, int], None], stopped: Callable[[], bool],
) -> Taken:
    """Take a point, then let the keyring forget what is no longer needed. Blocks; one call at a time for a vault.

    Raises:
        JbackupdError: There is no new point; see `engine.backup.run_backup`.
    """

    def report(done: Progress) -> None:
        progress(done.bytes, done.files)

    result = run_backup(
        own.vault, dataset, source, keyring=own.keyring, author=own.author, clock=clock, preset=preset,
        access=access, progress=report, stopped=stopped,
    )
    own.keyring.prune(clock.now(), history_days=own.history_days, needed=_needed_sessions(own.vault))
    return Taken(result.header.incomplete, result.statistics.source_bytes, result_document(dataset, result))


def _needed_sessions(vault: Vault) -> set[bytes]:
    """Return the sessions without which the next points could not be made against the earlier ones."""
    sessions, packs = set(), set()
    moved = moved_packs(vault.store, lenient=True)
    for dataset in vault.points.datasets():
        chain = vault.points.chain(dataset)
        for sequence in references_to_keep(len(chain)):
            sessions.add(chain[sequence - 1].header.session_id)
            needed = vault.points.needed(dataset, sequence)
            packs |= {moved.get(ref.name, ref.name) for ref in needed if ref.kind is ObjectKind.PACK}
    return sessions | vault.catalog.sessions_of(packs)


def result_document(dataset: DatasetId, result: BackupResult) -> dict[str, Any]:
    """Return what a backup has brought, for machines."""
    statistics, header = result.statistics, result.header
    return {
        "point": f"{dataset}@{header.sequence}",
        "sequence": header.sequence,
        "name": result.name.hex(),
        "taken_at": _time(header.taken_at),
        "incomplete": header.incomplete,
        "source_bytes": statistics.source_bytes,
        "new_object_bytes": result.new_object_bytes,
        "files": statistics.files,
        "folders": statistics.folders,
        "symlinks": statistics.symlinks,
        "new_frames": statistics.new_frames,
        "delta_frames": statistics.delta_frames,
        "changed_files": statistics.changed_files,
        "unreadable_files": len(statistics.unreadable),
        "unreadable": [_unreadable(missing) for missing in statistics.unreadable[:NAMED_UNREADABLE_MAX]],
        "seconds": round(result.seconds, 3),
    }


def look_through(source: Source, progress: Callable[[int, int], None]) -> Taken:
    """Read a source to its end and store nothing. Blocks.

    Raises:
        SourceError: The source cannot be read at all.
    """
    begun = datetime.now(UTC)
    counts = dict.fromkeys(EntryType, 0)
    unreadable: list[Unreadable] = []
    total = changed = 0
    for item in source.items():
        if isinstance(item, Unreadable):
            unreadable.append(item)
            continue
        try:
            if item.type is EntryType.FILE:
                with item.open() as reader:
                    while block := reader.read(READ_BYTES):
                        total += len(block)
                        progress(total, counts[EntryType.FILE])
                    changed += reader.changed()
            counts[item.type] += 1
        except UnreadableError as error:
            unreadable.append(Unreadable(item.path, error.reason))
    document = {
        "point": None, "sequence": None, "incomplete": bool(unreadable), "source_bytes": total,
        "new_object_bytes": None, "files": counts[EntryType.FILE], "folders": counts[EntryType.FOLDER],
        "symlinks": counts[EntryType.SYMLINK], "changed_files": changed, "unreadable_files": len(unreadable),
        "unreadable": [_unreadable(missing) for missing in unreadable[:NAMED_UNREADABLE_MAX]],
        "seconds": round((datetime.now(UTC) - begun).total_seconds(), 3),
    }  # fmt: skip
    return Taken(bool(unreadable), total, document)


def _unreadable(missing: Unreadable) -> dict[str, str]:
    try:
        return {"path": missing.path.decode("utf-8"), "reason": missing.reason}
    except UnicodeDecodeError:
        return {
            "path": missing.path.decode("utf-8", "replace"),
            "path_b64": base64.b64encode(missing.path).decode("ascii"),
            "reason": missing.reason,
        }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
