"""Scenario: a site takes points of a small dataset into its own vault."""

from __future__ import annotations

import functools
import posixpath
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jbackupd.vault.writer
from jbackupd.catalog.database import Catalog
from jbackupd.codec.signing import SiteSigner
from jbackupd.engine.backup import BackupResult, run_backup
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.pack import PACK_HEAD_BYTES, decode_pack_head
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.model.records import EntryType
from jbackupd.storage.files import Files
from jbackupd.vault.commit import Authorship
from jbackupd.vault.keyring import Keyring, KeySource
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import StoredPoint, Vault
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, key_of
from tests.support.onesite import MemorySource

TENANT = TenantId("imari")
DATASET = DatasetId(TENANT, "juki")
SAGA = SiteId("saga")
START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
LOCAL_KEY = b"l" * 32
FOLDER = "vaults/imari"


@functools.cache
def signer() -> SiteSigner:
    """Return the source site's keys; making them takes longer than a backup."""
    return SiteSigner(b"s" * 64)


@dataclass(frozen=True)
class Acknowledged:
    """A run returned: its point restores from now on, whatever happens."""

    sequence: int
    name: ObjectName


@functools.cache
def content(sequence: int) -> dict[bytes, bytes]:
    """Return the dataset as it is when the point of this number is taken: a hundredth of the rows differs."""
    chance = random.Random(1)
    rows = [b"%06d,%05d,%04d\n" % (i, chance.randrange(10**5), chance.randrange(10**4)) for i in range(3000)]
    for row in range(sequence, len(rows), 100):
        rows[row] = b"%06d,changed %d\n" % (row, sequence)
    return {b"juki.csv": b"".join(rows), b"d/same": b"same" * 700, b"d/%d" % sequence: b"new %d " % sequence * 40}


class Town:
    """A site as it is after the start of a program: keyring and vault open, leftovers removed, catalog reconciled."""

    def __init__(self, files: Files, catalog: Catalog) -> None:
        self.files = files
        self.keyring = Keyring.open(files, TENANT, local_key=LOCAL_KEY)
        self.store = ObjectStore(files, FOLDER)
        self.store.create()
        self.store.clear_temporary()
        reconcile(self.store, catalog, self.keyring, tenant=TENANT)
        self.vault = vault_of(self.store, catalog, self.keyring)

    def backup(self, source: MemorySource | None = None) -> BackupResult:
        """Take the next point."""
        sequence = len(self.vault.points.chain(DATASET)) + 1
        source = source or MemorySource(content(sequence), times={b"juki.csv": sequence})
        return run_backup(
            self.vault, DATASET, source, keyring=self.keyring,
            author=Authorship(SAGA, 1, signer()), clock=ManualClock(START + timedelta(days=sequence)),
        )


def vault_of(store: ObjectStore, catalog: Catalog, keys: KeySource) -> Vault:
    """Return a vault that accepts the points of the source site."""
    return Vault(store, catalog, keys, tenant=TENANT, verifiers={SAGA: signer().public})


def init(files: Files) -> bytes:
    """Make a new tenant's keys and vault; return the recovery seed."""
    made = Keyring.create(files, TENANT, local_key=LOCAL_KEY, now=START)
    store = ObjectStore(files, FOLDER)
    store.create()
    for data in made.objects:
        store.put(ObjectKind.KEY, data)
    return made.recovery_seed


def restored(vault: Vault, stored: StoredPoint) -> dict[bytes, bytes]:
    """Return every file of a point."""
    point = vault.open_point(stored)
    return {
        entry.path: b"".join(point.read(entry.extents))
        for entry in point.entries() if entry.type is EntryType.FILE
    }


def check_points(vault: Vault, facts: Sequence[object]) -> None:
    """Raise unless every acknowledged point is listed, and every listed point restores byte for byte."""
    listed = vault.points.chain(DATASET)
    names = {point.name for point in listed}
    lost = [fact for fact in facts if isinstance(fact, Acknowledged) and fact.name not in names]
    assert not lost, f"acknowledged and gone: {lost}"
    for point in listed:
        assert restored(vault, point) == content(point.header.sequence), f"{point.label} is not what was taken"
    report = verify_objects(vault.store, vault.points, [DATASET])
    verify_content(vault, listed, report)
    assert not report.findings, f"verify found {report.findings}"


def check_sessions(store: ObjectStore, keyring: Keyring) -> None:
    """Raise unless every pack's session key is in the keyring."""
    for name in store.names(ObjectKind.PACK):
        head = decode_pack_head(store.read(ObjectRef(ObjectKind.PACK, name), 0, PACK_HEAD_BYTES))
        keyring.session_key(head.session_id)


class LocalBackup:
    """Takes two points.

    Args:
        earlier: Points that are there before.
    """

    name = "backup"
    uses_catalog = True
    in_order = False

    def __init__(self, earlier: int = 1) -> None:
        self._earlier = earlier

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        init(files)
        town = Town(files, catalog_of(None))
        for _ in range(self._earlier):
            town.backup()
        return key_of(files.root)

    def prepare(self) -> Key:
        return self._before

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        town = Town(files, catalog)

        def work() -> None:
            with small_packs():
                for _ in range(2):
                    result = town.backup()
                    files.mark(Acknowledged(result.header.sequence, result.name))

        return work

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        town = Town(files, catalog)
        check_sessions(town.store, town.keyring)
        check_points(town.vault, facts)
        town.backup()
        check_points(town.vault, facts)

    def essence(self, key: Key) -> object:
        return without_leftovers(key)


def without_leftovers(key: Key) -> object:
    """Return a disk without the bytes of temporary files, which every start removes unread."""
    return tuple(
        (path, b"" if posixpath.basename(posixpath.dirname(path)) == "tmp" or path.endswith(".new") else data)
        for path, data in key if not path.startswith(f"{FOLDER}/tmp/")
    ), any(path.startswith(f"{FOLDER}/tmp/") for path, _ in key)


@contextmanager
def small_packs() -> Iterator[None]:
    """Close a pack after each frame, so that a small run has several."""
    writer = jbackupd.vault.writer
    before = writer.PACK_BYTES_MIN, writer.PACK_BYTES
    writer.PACK_BYTES_MIN = writer.PACK_BYTES = 1
    try:
        yield
    finally:
        writer.PACK_BYTES_MIN, writer.PACK_BYTES = before
