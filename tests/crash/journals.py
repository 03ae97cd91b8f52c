"""Scenarios: a journal, the epochs kept in one, the audit log, and the keyring's sessions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jbackupd.catalog.database import Catalog
from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.epoch import Epochs
from jbackupd.format.declaration import NONCE_BYTES, Statement, approve, declare, encode_declaration
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import SiteId
from jbackupd.storage.chain import AuditChain, verify_chain
from jbackupd.storage.journal import Journal
from jbackupd.vault.keyring import Keyring
from tests.crash.local_backup import LOCAL_KEY, START, TENANT, init
from tests.crash.memory import MemoryFiles
from tests.crash.states import Key, key_of

RECORDS = (b"look begun", b"", b"look done" * 30, b"commit begun", b"x")
KYOTO = SiteId("kyoto")


@dataclass(frozen=True)
class Appended:
    """An append returned."""

    number: int


@dataclass(frozen=True)
class InForce:
    """A site was told that this epoch is in force."""

    site: SiteId
    epoch: int


@dataclass(frozen=True)
class Opened:
    """A session key was handed out: something may have been sealed with it."""

    session_id: bytes
    key: bytes


class Append:
    """Appends records, going on where the journal ends."""

    name = "journal"
    uses_catalog = False
    in_order = True

    def prepare(self) -> Key:
        return ()

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files)

    def _work(self, files: MemoryFiles) -> None:
        files.make_folder("run")
        journal = Journal.open(files, "run/journal")
        if journal.records:  # a process that goes on acts upon what it reads
            files.mark(Appended(len(journal.records) - 1))
        for number in range(len(journal.records), len(RECORDS)):
            journal.append(RECORDS[number])
            files.mark(Appended(number))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        files.make_folder("run")
        records = Journal.open(files, "run/journal").records
        assert tuple(records) == RECORDS[: len(records)], f"other records than were appended: {records}"
        last = max((fact.number for fact in facts if isinstance(fact, Appended)), default=-1)
        assert len(records) > last, f"record {last} was acknowledged, {len(records)} are there"
        self._work(files)
        assert tuple(Journal.open(files, "run/journal").records) == RECORDS

    def essence(self, key: Key) -> object:
        return key


@functools.cache
def officer(name: str) -> SiteSigner:
    """Return an officer's keys."""
    return SiteSigner(name.encode().ljust(64, b"o"))


OFFICERS = ("sato", "tanaka")
DECLARED = tuple((SiteId(site), epoch) for epoch in (2, 3) for site in ("saga", "kashima"))


@functools.cache
def declaration(site: SiteId, epoch: int) -> bytes:
    """Return an approved declaration that a site is lost."""
    made_at = datetime(2026, 11, 23, tzinfo=UTC)
    made = declare(Statement(site, epoch, KYOTO, made_at, "flood", bytes(32), bytes(NONCE_BYTES)))
    for name in OFFICERS:
        made = made.with_approval(approve(made, name, officer(name)))
    return encode_declaration(made)


class RaiseEpochs:
    """A site hears of two losses of two sites and says so to others."""

    name = "epochs"
    uses_catalog = False
    in_order = True

    def prepare(self) -> Key:
        return ()

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files)

    def _work(self, files: MemoryFiles) -> None:
        epochs = self._open(files)
        for site, epoch in epochs.known().items():
            files.mark(InForce(site, epoch))
        for site, epoch in DECLARED:
            if epoch > epochs.epoch_of(site):
                epochs.learn(declaration(site, epoch))
                files.mark(InForce(site, epoch))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        epochs = self._open(files)
        for fact in facts:
            if isinstance(fact, InForce):
                there = epochs.epoch_of(fact.site)
                assert there >= fact.epoch, f"{fact.site} went back from epoch {fact.epoch} to {there}"
        self._work(files)
        assert self._open(files).known() == {site: 3 for site, _ in DECLARED}

    @staticmethod
    def _open(files: MemoryFiles) -> Epochs:
        return Epochs(
            files, KYOTO, officers=lambda: {name: officer(name).public for name in OFFICERS}, needed=lambda: 2
        )

    def essence(self, key: Key) -> object:
        return key


class Audit:
    """The desk writes down who looked up whom, before it shows anything."""

    name = "audit"
    uses_catalog = False
    in_order = False

    def prepare(self) -> Key:
        return ()

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        files.make_folder("audit")
        chain = AuditChain(files, "audit/desk.chain", ManualClock(START))

        def work() -> None:
            for _ in range(3):
                files.mark(Appended(chain.append({"clerk": "sato", "query": "いまり"}).sequence))

        return work

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        files.make_folder("audit")
        chain = AuditChain(files, "audit/desk.chain", ManualClock(START))
        last = max((fact.number for fact in facts if isinstance(fact, Appended)), default=0)
        assert chain.head.entries >= last, f"entry {last} was written down, {chain.head.entries} are there"
        chain.append({"clerk": "sato", "query": "after"})
        report = verify_chain(files, "audit/desk.chain")
        assert (report.broken, report.torn_bytes) == (None, 0)

    def essence(self, key: Key) -> object:
        return key


class OpenSessions:
    """The keyring hands out session keys, one for each start of a run."""

    name = "sessions"
    uses_catalog = False
    in_order = False

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        init(files)
        return key_of(files.root)

    def prepare(self) -> Key:
        return self._before

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files)

    def _work(self, files: MemoryFiles) -> None:
        keyring = Keyring.open(files, TENANT, local_key=LOCAL_KEY)
        for _ in range(3):
            session = keyring.new_session(START)
            files.mark(Opened(session.session_id, session.key))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        keyring = Keyring.open(files, TENANT, local_key=LOCAL_KEY)
        opened = [fact for fact in facts if isinstance(fact, Opened)]
        for fact in opened:
            assert keyring.session_key(fact.session_id) == fact.key
        fresh = keyring.new_session(START)
        assert fresh.session_id not in {fact.session_id for fact in opened}
        assert fresh.key not in {fact.key for fact in opened}, "a session key was drawn twice"

    def essence(self, key: Key) -> object:
        return tuple((path, b"" if path.endswith(".new") else data) for path, data in key)
