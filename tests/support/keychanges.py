"""A site whose keys change: what it took, what was given up, and how to check both."""

from __future__ import annotations

import random
from pathlib import Path

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.engine.erase import Order, erase_epoch
from jbackupd.engine.eraseplan import plan_erasure
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.keyrecord import RecoveryChange, encode_record
from jbackupd.model.errors import ErasedError
from jbackupd.model.ids import PointSelector, SiteId
from jbackupd.vault.keydirectory import KeyDirectory, KeySurvey
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.vault import Vault
from tests.crash.rig import catalog_of
from tests.support.onesite import DATASET, TENANT, MemorySource, Site

SAGA = SiteId("saga")


class Story:
    """A site, what it took, and what was given up."""

    def __init__(self, folder: str) -> None:
        self.site = Site(Path(folder))
        self.seed = self.site.seed
        self.taken: dict[int, dict[bytes, bytes]] = {}
        self.lost: set[int] = set()
        self.number = 1

    @property
    def verifiers(self):
        return {SAGA: self.site.signer.public}

    def take(self, seed: int) -> None:
        """Take a point: a register with some rows changed, a file that stays, a file of its own."""
        number = len(self.taken) + 1
        rows = [b"%05d,%08d\n" % (row, random.Random(row).randrange(10**8)) for row in range(3000)]
        for row in random.Random(seed).sample(range(3000), 60):
            rows[row] = b"%05d,changed %d\n" % (row, number)
        content = {b"juki.csv": b"".join(rows), b"same": b"same" * 999, b"own": random.Random(-seed).randbytes(3000)}
        self.site.backup(MemorySource(content, times={b"juki.csv": number, b"own": number}))
        self.taken[number] = content

    def rotate(self, _: int) -> None:
        self.site.keyring.rotate(self.site.clock.now())
        self.site.keyring.settle(self.site.store)

    def change_recovery(self, seed: int) -> None:
        keys, following = self.keys(), bytes([seed]) * 32
        self.number += 1
        recovery = RecipientSecret(following).public
        change = RecoveryChange(self.number, recovery.fingerprint, keys.recovery_public.fingerprint, b"s" * 8, 2, 3)
        record = encode_record(
            change, tenant=TENANT, site=SAGA, made_at=self.site.clock.now(), signer=self.site.signer
        )
        if following != self.seed:
            self.site.keyring.follow(keys, recovery, record, self.site.clock.now())
            self.site.keyring.settle(self.site.store)
            self.seed = following

    def erase(self, seed: int) -> None:
        """Erase the oldest epoch that is there, if it is not the current one, giving up some of its points."""
        self.site.clock.advance(1)
        keys = self.keys()
        found = [epoch for epoch in KeySurvey.of(self.site.store).epochs if epoch.recipients]
        epoch = found[0]
        if epoch.key == self.site.keyring.epoch_public.fingerprint:
            return
        elsewhere = KeyDirectory(self.site.store).sessions_open(keys.recovery_public.fingerprint, but=epoch.key)
        chain = self.site.vault.points.chain(DATASET)
        own = [p.header.sequence for p in chain if p.header.session_id not in elsewhere]
        given_up = {n for n in own if n not in self.lost and random.Random(seed + n).random() < 0.6}
        reconcile(self.site.store, self.site.catalog, keys, tenant=TENANT)
        vault = Vault(self.site.store, self.site.catalog, keys, tenant=TENANT, verifiers=self.verifiers)
        plan = plan_erasure(
            vault, epoch.name, sessions=epoch.sessions, open_elsewhere=elsewhere,
            give_up=[PointSelector(DATASET, n) for n in given_up],
        )
        plan.check()
        erase_epoch(
            vault, plan, Order(epoch.key, "sato", "", b"s" * 8, (1, 2)), keys=keys, keyring=self.site.keyring,
            author=self.site.author, now=self.site.clock.now(),
            reopen=lambda without, more: RecoveredKeys.from_store(
                self.seed, TENANT, self.site.store, self.verifiers, without=without, more=more
            ),
        )
        self.lost |= given_up
        self.site.open_vault()

    def keys(self) -> RecoveredKeys:
        return RecoveredKeys.from_store(self.seed, TENANT, self.site.store, self.verifiers)

    def check(self) -> None:
        catalog = catalog_of(None)
        reconcile(self.site.store, catalog, self.keys(), tenant=TENANT)
        shared = Vault(self.site.store, catalog, self.keys(), tenant=TENANT, verifiers=self.verifiers)
        for vault in (self.site.vault, shared):
            for point in vault.points.chain(DATASET):
                number = point.header.sequence
                if number in self.lost:
                    try:
                        vault.open_point(point)
                    except ErasedError:
                        continue
                    raise AssertionError(f"point {number} was erased and opens")
                opened = vault.open_point(point)
                entries = [entry for entry in opened.entries() if entry.path in self.taken[number]]
                found = {entry.path: b"".join(opened.read(entry.extents)) for entry in entries}
                assert found == self.taken[number], f"point {number} is not what was taken"
        report = verify_objects(self.site.store, self.site.vault.points, [DATASET])
        verify_content(shared, shared.points.chain(DATASET), report)
        assert not report.findings and not report.closed_points
        assert len(report.erased_points) == len(self.lost)
