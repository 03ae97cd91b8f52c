"""Scenario: a tenant's vault is made, its recovery key handed out in shares, and the first point taken."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

import jbackupd.service.founding
from jbackupd.catalog.database import Catalog
from jbackupd.codec.shares import Share, combine
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import KeyringError
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.service.founding import found_vault
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import create_identity, load_identity
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import rebuild, reconcile
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    SAGA,
    START,
    TENANT,
    Acknowledged,
    Town,
    content,
    restored,
    vault_of,
    without_leftovers,
)
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, key_of


class Part:
    """A folder of a file system as a driver of its own."""

    root = "/"

    def __init__(self, files: MemoryFiles, folder: str = "") -> None:
        self._files, self._folder = files, folder

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._files, name)

        def below(*arguments: Any) -> Any:
            return call(*(posixpath.join(self._folder, a).rstrip("/") if isinstance(a, str) else a for a in arguments))

        return below


class Founding:
    """Makes the vault unless it is there, then takes a point."""

    name = "founding"
    uses_catalog = False
    in_order = False

    @functools.cached_property
    def _before(self) -> Key:
        files = MemoryFiles()
        create_identity(files, SAGA)
        return key_of(files.root)

    def prepare(self) -> Key:
        return self._before

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        return functools.partial(self._work, files, catalog)

    def _work(self, files: MemoryFiles, catalog: Catalog) -> None:
        whole = cast(PosixFiles, Part(files))
        identity = load_identity(files, SAGA)
        store = ObjectStore(files, FOLDER)
        if not store.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(jbackupd.service.founding, "_new_folder", lambda path: _fresh(files))
                found_vault(
                    whole, store, identity, TENANT, threshold=2, count=3, share_folder="shares", sheets=False,
                    clock=ManualClock(START),
                )
        keyring = Keyring.open(files, TENANT, local_key=identity.local_key)
        reconcile(store, catalog, keyring, tenant=TENANT)
        result = _Founded(files, store, catalog, keyring).backup()
        files.mark(Acknowledged(result.header.sequence, result.name))

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        acknowledged = [fact for fact in facts if isinstance(fact, Acknowledged)]
        store = ObjectStore(files, FOLDER)
        if acknowledged:
            assert store.exists(), "the vault is no longer one"
            self._check_by_shares(files, store, acknowledged)
        self._work(files, catalog)
        self._check_by_shares(files, store, acknowledged)

    def _check_by_shares(self, files: MemoryFiles, store: ObjectStore, facts: Sequence[Acknowledged]) -> None:
        keys = _keys_from_shares(files, store)
        catalog = catalog_of(None)
        rebuild(store, catalog, keys, tenant=TENANT)
        vault = vault_of(store, catalog, keys)
        points = vault.points.chain(DATASET)
        assert {fact.name for fact in facts} <= {point.name for point in points}
        for point in points:
            assert restored(vault, point) == content(point.header.sequence)

    def essence(self, key: Key) -> object:
        return without_leftovers(key)


class _Founded(Town):
    def __init__(self, files: MemoryFiles, store: ObjectStore, catalog: Catalog, keyring: Keyring) -> None:
        self.files, self.store, self.keyring = files, store, keyring
        self.vault = vault_of(store, catalog, keyring)


def _fresh(files: MemoryFiles) -> Part:
    """Return a new folder for shares: an officer does not use one that holds something."""
    number = 1
    while files.exists(f"shares-{number}"):
        number += 1
    files.make_folder(f"shares-{number}")
    return Part(files, f"shares-{number}")


def _keys_from_shares(files: MemoryFiles, store: ObjectStore) -> RecoveredKeys:
    """Return the keys that one of the sets of shares opens."""
    objects = [store.read(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)]
    for folder in files.names(""):
        texts = [name for name in files.names(folder) if name.endswith(".txt")] if folder.startswith("shares") else []
        if len(texts) == 3:
            shares = [Share.from_text(files.read(f"{folder}/{name}").decode(), source=name) for name in texts[:2]]
            try:
                return RecoveredKeys.from_seed(combine(shares), TENANT, objects)
            except KeyringError:
                continue
    raise AssertionError("no set of shares opens the vault")
