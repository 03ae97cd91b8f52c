"""Bugs by which backup tools have really lost data, put into our code for one test: the rig must see each.

The shipped code has no switches; every mutant replaces a function while it is tested. Mutants
of collection (deleting packs) are in test_reclaim.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import jbackupd.vault.keyringfile
import jbackupd.vault.store
import jbackupd.vault.writer
from jbackupd.catalog.database import Catalog
from jbackupd.codec import seal
from jbackupd.codec.hashing import name_of
from jbackupd.codec.hpke import RecipientPublic
from jbackupd.continuity.authority import Verdict, taken
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import RunEvent, RunRecord, StepNote
from jbackupd.format.declaration import decode_declaration
from jbackupd.format.index import IndexedPack
from jbackupd.format.key import KeyRole, seal_key
from jbackupd.format.point import decode_point
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef
from jbackupd.storage.durable import rename_durably, write_durably
from jbackupd.storage.files import Files, Handle
from jbackupd.vault.incoming import Incoming
from jbackupd.vault.keyring import Keyring, Session
from jbackupd.vault.keyringfile import SavedSession
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.writer import PackWriter
from tests.crash.journals import Append, InForce, OpenSessions, RaiseEpochs
from tests.crash.local_backup import Acknowledged, LocalBackup
from tests.crash.memory import MemoryFiles, MemoryHandle
from tests.crash.recovery import Recovery
from tests.crash.rig import Scenario, Score, cut_everywhere, kill_everywhere, kill_then_cut
from tests.crash.transfer import Transfer

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A bug.

    Attributes:
        history: Whose bug it was.
        scenario: What shows it.
        sweep: Which sweep shows it.
    """

    name: str
    history: str
    scenario: Callable[[], Scenario]
    patch: Patch
    sweep: Callable[..., Score] = cut_everywhere

    def score(self, *, enough: int = 0) -> Score:
        """Run the sweep with the bug in place; the disk before the run is made without it."""
        scenario = self.scenario()
        scenario.prepare()
        with self._in_place():
            return self.sweep(scenario, enough=enough)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            self.patch(monkeypatch)
            yield


# --- bugs ----------------------------------------------------------------------------------------


def _write(files: Files, data: bytes, temporary: str) -> Handle:
    if files.exists(temporary):
        files.remove(temporary)
    handle = files.create(temporary)
    handle.write(data)
    return handle


def _write_unsynced(files: Files, path: str, data: bytes, *, temporary: str) -> None:
    _write(files, data, temporary).close()
    rename_durably(files, temporary, path)


def _write_and_forget_the_name(files: Files, path: str, data: bytes, *, temporary: str) -> None:
    _write(files, data, temporary).sync()
    files.rename(temporary, path)


def _writing(how: Callable[..., None], folder: str) -> Patch:
    """Return a patch that writes the objects of one folder in another way."""

    def write(files: Files, path: str, data: bytes, *, temporary: str) -> None:
        (how if f"/{folder}/" in path else write_durably)(files, path, data, temporary=temporary)

    return lambda patch: patch.setattr(jbackupd.vault.store, "write_durably", write)


def _no_folder_is_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryFiles, "sync_folder", lambda self, path: None)


def _point_before_packs(patch: pytest.MonkeyPatch) -> None:
    put = ObjectStore.put
    waiting: list[tuple[ObjectStore, bytes]] = []

    def late(self: ObjectStore, kind: ObjectKind, data: bytes) -> ObjectName:
        if kind is ObjectKind.PACK:
            waiting.append((self, data))
            return name_of(data)
        name = put(self, kind, data)
        if kind is ObjectKind.POINT:
            while waiting:
                store, pack = waiting.pop(0)
                put(store, ObjectKind.PACK, pack)
        return name

    patch.setattr(ObjectStore, "put", late)


def _acknowledged_before_the_point(patch: pytest.MonkeyPatch) -> None:
    put = ObjectStore.put

    def early(self: ObjectStore, kind: ObjectKind, data: bytes) -> ObjectName:
        if kind is ObjectKind.POINT and isinstance(self.files, MemoryFiles):
            self.files.mark(Acknowledged(decode_point(data).header.sequence, name_of(data)))
        return put(self, kind, data)

    patch.setattr(ObjectStore, "put", early)


def _catalog_told_early_and_believed(patch: pytest.MonkeyPatch) -> None:
    def write(self: PackWriter, builder: Any) -> IndexedPack:
        data = builder.finish()
        pack = IndexedPack(name_of(data), len(data), self._session_id, tuple(builder.frames))
        self._catalog.add_packs([pack])
        self._store.put(ObjectKind.PACK, data)
        return pack

    patch.setattr(PackWriter, "_write", write)
    patch.setattr(Catalog, "forget_packs", lambda self, names: None)


def _found_names_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ObjectStore, "settle", lambda self, refs: None)
    patch.setattr(ObjectStore, "settle_all", lambda self: None)


def _session_key_is_kept_late(patch: pytest.MonkeyPatch) -> None:
    def unsynced(files: Files, path: str, data: bytes, *, temporary: str) -> None:
        _write_and_forget_the_name(files, path, data, temporary=temporary)

    patch.setattr(jbackupd.vault.keyringfile, "write_durably", unsynced)


def _sessions_are_counted_in_memory(patch: pytest.MonkeyPatch) -> None:
    def new_session(self: Keyring, now: Any) -> Session:
        number = len(self._saved.sessions)
        session = SavedSession(number.to_bytes(16, "big"), number.to_bytes(32, "big"), now)
        self._saved = msgspec.structs.replace(self._saved, sessions=(*self._saved.sessions, session))
        return Session(session.id, session.key, b"")

    patch.setattr(Keyring, "new_session", new_session)


def _session_goes_on_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """A run after a crash takes up the last session, and counts its objects from the beginning."""
    first = Keyring.new_session
    count = itertools.count()

    def new_session(self: Keyring, now: Any) -> Session:
        nonlocal count
        count = itertools.count()
        if not self._saved.sessions:
            return first(self, now)
        epoch = RecipientPublic(self._saved.epoch_public)
        last = self._saved.sessions[-1]
        return Session(
            last.id, last.key, seal_key(KeyRole.SESSION, last.key, epoch, tenant=self.tenant, key_id=last.id)
        )

    patch.setattr(Keyring, "new_session", new_session)
    counted = SimpleNamespace(token_bytes=lambda length: next(count).to_bytes(length, "big"))
    patch.setattr(jbackupd.vault.writer, "secrets", counted)


def repeated_nonces(scenario: Scenario, *, enough: int = 0) -> Score:
    """Kill at every call and go on; a violation is a key that sealed two things under one nonce."""
    score = Score()
    seen: set[tuple[bytes, bytes]] = set()

    def observe(key: bytes, nonce: bytes) -> None:
        score.states += 1
        if (key, nonce) in seen:
            score.note(AssertionError("a key sealed two things under one nonce"), f"sealing {score.states}")
        seen.add((key, nonce))

    before, seal.observe_nonce = seal.observe_nonce, observe
    try:
        score.checked = kill_everywhere(scenario, every=5).checked
    finally:
        seal.observe_nonce = before
    return score


def _partial_is_renamed_unsynced(patch: pytest.MonkeyPatch) -> None:
    def check(self: Incoming, ref: ObjectRef, partial: Any, size: int) -> None:
        assert self._is_right(ref, size)
        self._close(partial)

    patch.setattr(Incoming, "_check", check)


def _offset_is_the_length(patch: pytest.MonkeyPatch) -> None:
    def length(self: Incoming, ref: ObjectRef, size: int = 0) -> int:
        if self._store.has(ref):
            return size
        with self._use(ref) as partial:
            return partial.length

    patch.setattr(Incoming, "offset", length)
    patch.setattr(Incoming, "flush", length)


def _appends_are_not_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryHandle, "sync", lambda self: None)


def _epoch_is_answered_before_it_is_kept(patch: pytest.MonkeyPatch) -> None:
    def learn(self: Epochs, data: bytes) -> None:
        declaration = decode_declaration(data)
        home = declaration.statement.lost
        self._lineages[home] = taken(self.lineage(home), declaration, Verdict.TAKE)
        files = self._journal._files
        assert isinstance(files, MemoryFiles)
        files.mark(InForce(declaration.statement.lost, declaration.statement.epoch))
        self._journal.append(data)

    patch.setattr(Epochs, "learn", learn)


def _steps_begin_unnoted(patch: pytest.MonkeyPatch) -> None:
    note = RunRecord._note

    def late(self: RunRecord, event: RunEvent) -> None:
        if isinstance(event, StepNote) and event.do is StepEvent.BEGIN:
            self._fold(event)
        else:
            note(self, event)

    patch.setattr(RunRecord, "_note", late)


MUTANTS = (
    Mutant("no sync of a pack", "kopia #5150", LocalBackup, _writing(_write_unsynced, "packs")),
    Mutant("no sync of an index", "kopia #5292", LocalBackup, _writing(_write_unsynced, "indexes")),
    Mutant("no sync of the point", "kopia #5292", LocalBackup, _writing(_write_unsynced, "points")),
    Mutant("no sync of any folder", "restic #3436", LocalBackup, _no_folder_is_synced),
    Mutant("no sync of the folder after the point", "restic #3436", LocalBackup,
           _writing(_write_and_forget_the_name, "points")),
    Mutant("the point before its packs", "restic #1589", LocalBackup, _point_before_packs),
    Mutant("acknowledged before the point is durable", "prototype", LocalBackup, _acknowledged_before_the_point),
    Mutant("the catalog told early, and believed", "borg #9748", LocalBackup, _catalog_told_early_and_believed),
    Mutant("packs sealed before the session key is kept", "Tarsnap 1.0.22", LocalBackup, _session_key_is_kept_late),
    Mutant("sessions counted in memory", "borg #4883", OpenSessions, _sessions_are_counted_in_memory),
    Mutant("a session goes on after a restart", "Tarsnap 1.0.22, borg #4883", lambda: LocalBackup(0),
           _session_goes_on_after_a_restart, repeated_nonces),
    Mutant("built upon what a killed run left", "this rig, 2026-11", LocalBackup, _found_names_are_not_settled,
           kill_then_cut),
    Mutant("a partial renamed before it is synced", "kopia #5150", Transfer, _partial_is_renamed_unsynced),
    Mutant("the offset is the unsynced length", "duplicity LP#613244", Transfer, _offset_is_the_length),
    Mutant("a received point without a synced folder", "restic #3436", Transfer,
           _writing(_write_and_forget_the_name, "points")),
    Mutant("a receipt for what a killed holder left", "this rig, 2026-11", lambda: Transfer(1),
           _found_names_are_not_settled, kill_then_cut),
    Mutant("a journal acknowledges without sync", "borgstore #10", Append, _appends_are_not_synced),
    Mutant("an epoch answered before it is kept", "GHSA-66x3-6cw3-v5gj", RaiseEpochs,
           _epoch_is_answered_before_it_is_kept),
    Mutant("a deed before its intent is kept", "pattern 1: do, then record", Recovery, _steps_begin_unnoted),
)
