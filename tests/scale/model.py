"""A vault as large as a prefecture's, a few hundred times smaller in bytes: python -m tests.scale.model FOLDER WORK ...

Chunks, frames and packs are a 256th of their usual sizes, so that ten million chunks are 2.5 GB and not 640, and what
costs memory, their number, is what it would be. All else is the real code. Every piece of work is a process of its
own, which prints what it took: its own memory is what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jbackupd.codec.cutting as cutting
import jbackupd.engine.lane as lane
import jbackupd.vault.writer as writer
from jbackupd.catalog.database import Catalog, discard
from jbackupd.codec.signing import SiteSigner
from jbackupd.engine.backup import run_backup
from jbackupd.engine.reclaim import expire, forget, remove, settle_for_reclaim
from jbackupd.engine.reclaimplan import find_garbage
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.expiry import RemovedPoint
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import DatasetId, ObjectKind, SiteId, TenantId
from jbackupd.model.records import EntryType
from jbackupd.restore.options import RestoreOptions
from jbackupd.restore.place import restore
from jbackupd.sources.port import SourceItem
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.commit import Authorship
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import rebuild, reconcile
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import Vault
from tests.support.onesite import MemoryReader

TENANT = TenantId("imari")
DATASET = DatasetId(TENANT, "files")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SMALLER = 256
SMALL_BYTES, LARGE_BYTES = 1000, 4_000_000
FILES_PER_FOLDER = 50
LOCAL_KEY = b"l" * 32


def shrink(frames: int) -> None:
    """Make chunks, frames and packs of this process smaller; frames by a factor of their own."""
    cutting.CHUNK_MIN, cutting.CHUNK_AVERAGE, cutting.CHUNK_MAX = (
        size // SMALLER for size in (cutting.CHUNK_MIN, cutting.CHUNK_AVERAGE, cutting.CHUNK_MAX)
    )
    lane.FRAME_BYTES_MIN //= frames
    lane.FRAME_BYTES_MAX //= frames
    writer.PACK_BYTES, writer.PACK_BYTES_MIN = 400_000, 250_000


@dataclass(frozen=True)
class ModelSource:
    """Small and large files whose contents follow from their numbers and versions.

    Attributes:
        small: How many small files.
        large: How many large ones.
        day: On day n, those of each hundred with the number n are in their second version.
    """

    small: int
    large: int
    day: int = 0
    kind: str = "files"

    def items(self) -> Iterator[SourceItem]:
        """Yield folders of fifty small files, then the large ones."""
        for number in range(self.small):
            folder = b"d%08d" % (number // FILES_PER_FOLDER)
            if number % FILES_PER_FOLDER == 0:
                yield SourceItem(folder, EntryType.FOLDER, 0o755, 0, 0, 10**18)
            yield self._file(b"%s/%08d" % (folder, number), number, SMALL_BYTES)
        for number in range(self.large):
            yield self._file(b"large-%06d" % number, number, LARGE_BYTES)

    def _file(self, path: bytes, number: int, size: int) -> SourceItem:
        changed = self.day > 0 and number % 100 == self.day
        moment = 10**18 + changed

        @contextlib.contextmanager
        def opened(item: SourceItem) -> Iterator[MemoryReader]:
            yield MemoryReader(_Stream(f"{number} {size} {changed}", size))  # type: ignore[arg-type]

        return SourceItem(path, EntryType.FILE, 0o644, 0, 0, moment, moment, number, size, opener=opened)


class _Stream:
    """Reads bytes that nobody has to keep."""

    def __init__(self, seed: str, size: int) -> None:
        self._random, self._left = random.Random(seed), size

    def read(self, length: int) -> bytes:
        length = min(length, self._left)
        self._left -= length
        return self._random.randbytes(length)


class Model:
    """One site's vault in a folder, opened anew by each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(BEGIN)
        self.files = PosixFiles(str(folder))
        self.store = ObjectStore(self.files, f"vaults/{TENANT}")
        self.signer = SiteSigner(b"s" * 64)
        self.author = Authorship(SiteId("saga"), 1, self.signer)
        self.catalog_path = str(folder / "catalog.sqlite")
        if not self.store.exists():
            self.store.create()
            for data in Keyring.create(self.files, TENANT, local_key=LOCAL_KEY, now=BEGIN).objects:
                self.store.put(ObjectKind.KEY, data)
        self.keyring = Keyring.open(self.files, TENANT, local_key=LOCAL_KEY)

    @contextlib.contextmanager
    def vault(self) -> Iterator[Vault]:
        """Open the vault, as every command does."""
        with contextlib.closing(Catalog(self.catalog_path)) as catalog:
            reconcile(self.store, catalog, self.keyring, tenant=TENANT)
            yield Vault(
                self.store, catalog, self.keyring, tenant=TENANT, verifiers={SiteId("saga"): self.signer.public}
            )

    def backup(self, source: ModelSource) -> dict[str, int]:
        """Take a point, a day after the last one."""
        with self.vault() as vault:
            self.clock.advance(timedelta(days=1 + len(vault.points.chain(DATASET))).total_seconds())
            run_backup(vault, DATASET, source, keyring=self.keyring, author=self.author, clock=self.clock)
            packs, frames, chunks = vault.catalog.count()
        return {"packs": packs, "frames": frames, "chunks": chunks}

    def restore(self, *paths: bytes) -> dict[str, int]:
        """Restore the newest point, or some of it."""
        with self.vault() as vault:
            point = vault.open_point(vault.points.chain(DATASET)[-1])
            options = replace(RestoreOptions(), paths=paths)
            result = restore(point, str(self.folder / f"restored-{len(paths)}"), options)
        assert not result.problems, result.problems[0]
        return {"files": result.files}

    def verify(self) -> dict[str, int]:
        """Verify every object, and every file of the newest point."""
        with self.vault() as vault:
            report = verify_objects(self.store, vault.points)
            verify_content(vault, vault.points.chain(DATASET)[-1:], report)
        assert not report.findings, report.findings[0]
        return {"files": report.files, "objects": report.objects}

    def reclaim(self) -> dict[str, int]:
        """Give up all points but the newest, remove what only they needed, write sparse packs anew and remove those."""
        with self.vault() as vault:
            chain, now = vault.points.chain(DATASET), self.clock.now()
            removed = [RemovedPoint(DATASET, point.header.sequence, point.name, "not-kept") for point in chain[:-1]]
            expire(self.store, TENANT, removed, author=self.author, now=now)
            freed = self._sweep(vault)
            usage = survey_usage(vault)
            planned = plan_repacks(vault, usage, below=0.995)
            done, damaged = repack(vault, planned, usage, keyring=self.keyring, author=self.author, now=now)
            assert not damaged
            freed += self._sweep(vault)
        return {"bytes": freed, "repacked": sum(len(each.packs) for each in done)}

    def _sweep(self, vault: Vault) -> int:
        settle_for_reclaim(self.store)
        garbage = find_garbage(self.store, vault.points, vault.points.verifiers)
        forget(vault.catalog, garbage)
        return remove(self.store, garbage).bytes

    def rebuild(self) -> dict[str, int]:
        """Make the catalog anew."""
        discard(self.catalog_path)
        with contextlib.closing(Catalog(self.catalog_path)) as catalog:
            found = rebuild(self.store, catalog, self.keyring, tenant=TENANT)
            assert not found.damaged and not found.closed
            packs, frames, chunks = catalog.count()
        return {"packs": packs, "frames": frames, "chunks": chunks}


def main() -> None:
    """Do one piece of work and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("work")
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--frames", type=int, default=SMALLER, help="so many times smaller than usual")
    arguments = parser.parse_args()
    shrink(arguments.frames)
    model, source = Model(arguments.folder), ModelSource(arguments.small, arguments.large)
    works: dict[str, Callable[[], dict[str, int]]] = {
        "first": lambda: model.backup(source),
        "unchanged": lambda: model.backup(source),
        "changed": lambda: model.backup(replace(source, day=1)),
        "restore-some": lambda: model.restore(b"d00000001", b"d00000100", b"large-000000"),
        "restore": model.restore,
        "verify": model.verify,
        "reclaim": model.reclaim,
        "rebuild": model.rebuild,
    }
    begun = time.monotonic()
    done = works[arguments.work]()
    seconds = round(time.monotonic() - begun, 2)
    print(json.dumps({"work": arguments.work, "seconds": seconds, "peak_mib": _peak_mib(), **done}))


def _peak_mib() -> int:
    """Return this program's own peak; what getrusage tells may be that of who started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
