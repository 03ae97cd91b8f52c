"""A tenant's vault in a folder, and sources made of plain dictionaries."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jbackupd.catalog.database import Catalog
from jbackupd.codec.signing import SiteSigner
from jbackupd.engine.backup import BackupResult, run_backup
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import DatasetId, ObjectKind, PointSelector, SiteId, TenantId
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.port import SourceItem, UnreadableError
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.commit import Authorship
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import Reconciliation, reconcile
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import OpenPoint, Vault

TENANT = TenantId("imari")
DATASET = DatasetId(TENANT, "juki")
START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


@dataclass
class MemoryReader:
    """Reads bytes; fails after them if told so."""

    stream: io.BytesIO
    fails: bool = False
    was_changed: bool = False

    def read(self, length: int) -> bytes:
        block = self.stream.read(length)
        if not block and self.fails:
            raise UnreadableError("input/output error")
        return block

    def changed(self) -> bool:
        return self.was_changed


@dataclass
class MemorySource:
    """Files by path; a changed content changes the times, as a real file's would."""

    files: dict[bytes, bytes]
    times: dict[bytes, int] = field(default_factory=dict)
    failing: set[bytes] = field(default_factory=set)
    changing: set[bytes] = field(default_factory=set)
    opened: list[bytes] = field(default_factory=list)
    kind: str = "files"

    def items(self) -> Iterator[SourceItem | Unreadable]:
        folders = {path[:i] for path in self.files for i in range(len(path)) if path[i : i + 1] == b"/"}
        for path in sorted({*self.files, *folders}, key=lambda p: p.split(b"/")):
            if path in self.files:
                moment = self.times.get(path, 10**18)
                yield SourceItem(
                    path, EntryType.FILE, 0o644, 0, 0, moment, moment, 7, len(self.files[path]), opener=self.open
                )
            else:
                yield SourceItem(path, EntryType.FOLDER, 0o755, 0, 0, 10**18)

    @contextlib.contextmanager
    def open(self, item: SourceItem) -> Iterator[MemoryReader]:
        self.opened.append(item.path)
        yield MemoryReader(io.BytesIO(self.files[item.path]), item.path in self.failing, item.path in self.changing)


class Site:
    """One site with one tenant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(START)
        self.files = PosixFiles(str(folder))
        self.store = ObjectStore(self.files, "vaults/imari")
        self.store.create()
        made = Keyring.create(self.files, TENANT, local_key=b"l" * 32, now=START)
        self.keyring, self.seed = made.keyring, made.recovery_seed
        for data in made.objects:
            self.store.put(ObjectKind.KEY, data)
        self.signer = SiteSigner(b"s" * 64)
        self.author = Authorship(SiteId("saga"), 1, self.signer)
        self.open_vault()

    def open_vault(self, *, catalog: str = "catalog/imari.sqlite") -> Reconciliation:
        self.catalog = Catalog(str(self.folder / catalog))
        found = reconcile(self.store, self.catalog, self.keyring, tenant=TENANT)
        self.vault = Vault(
            self.store, self.catalog, self.keyring, tenant=TENANT,
            verifiers={SiteId("saga"): self.signer.public},
        )
        return found

    def backup(self, source: MemorySource, dataset: DatasetId = DATASET, **options: object) -> BackupResult:
        self.clock.advance(86_400)
        return run_backup(
            self.vault, dataset, source, keyring=self.keyring, author=self.author, clock=self.clock,
            **options,  # type: ignore[arg-type]
        )

    def open_point(self, sequence: int | None = None, dataset: DatasetId = DATASET) -> OpenPoint:
        return self.vault.open_point(self.vault.points.find(PointSelector(dataset, sequence)))

    def content(self, sequence: int | None = None, dataset: DatasetId = DATASET) -> dict[bytes, bytes]:
        point = self.open_point(sequence, dataset)
        found = {}
        for entry in point.entries():
            if entry.type is EntryType.FILE:
                data = b"".join(point.read(entry.extents))
                digest = point.content_hash.file_digest()
                digest.update(data)
                assert digest.digest() == entry.digest
                found[entry.path] = data
        return found


