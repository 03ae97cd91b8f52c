"""Making a vault never costs the keys of one that is there, even if it has lost a folder."""

import os
import pathlib

import pytest

from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import RefusedError
from jbackupd.model.ids import ObjectKind, SiteId, TenantId
from jbackupd.service.founding import Founded, found_vault
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import create_identity, load_identity
from jbackupd.vault.store import ObjectStore

TENANT = TenantId("imari")


def found(folder: pathlib.Path, shares: str) -> Founded:
    files = PosixFiles(str(folder / "state"))
    if not files.exists("site/identity.key"):
        create_identity(files, SiteId("saga"))
    return found_vault(
        files, ObjectStore(files, "vaults/imari"), load_identity(files, SiteId("saga")), TENANT, threshold=2, count=3,
        share_folder=str(folder / shares), sheets=False, clock=SystemClock(),
    )


def test_an_interrupted_founding_is_begun_again(tmp_path: pathlib.Path) -> None:
    found(tmp_path, "first")
    os.rmdir(tmp_path / "state/vaults/imari/receipts")
    assert len(found(tmp_path, "second").shares) == 3


def test_a_vault_with_objects_that_lost_an_empty_folder_keeps_its_keys(tmp_path: pathlib.Path) -> None:
    found(tmp_path, "first")
    store = ObjectStore(PosixFiles(str(tmp_path / "state")), "vaults/imari")
    store.put(ObjectKind.PACK, b"a pack")
    os.rmdir(tmp_path / "state/vaults/imari/receipts")
    keys = store.names(ObjectKind.KEY)
    keyring = store.files.read("keyring/imari")
    with pytest.raises(RefusedError, match="pack objects"):
        found(tmp_path, "second")
    assert store.names(ObjectKind.KEY) == keys
    assert store.files.read("keyring/imari") == keyring
