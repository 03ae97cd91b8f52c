"""Every single flipped bit of a vault is found and named, and none makes a restore hand out wrong bytes."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator

import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.engine.verify import verify_objects
from jbackupd.format.expiry import Expiry, RemovedPoint, encode_expiry
from jbackupd.model.errors import DamageError, IdentityError, JbackupdError, KeyringError
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.vault.expiry import damaged_expiries, put_expiry
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    LOCAL_KEY,
    SAGA,
    START,
    TENANT,
    Town,
    init,
    restored,
    signer,
    vault_of,
)
from tests.crash.memory import File, MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, key_of
from tests.support.onesite import MemorySource

CONTENTS = (
    {b"juki.csv": b"000001,sato\n000002,tanaka\n" * 4, b"empty": b""},
    {b"juki.csv": b"000001,sato\n000002,suzuki\n" * 4, b"empty": b"no longer"},
)


class SmallVault:
    """Two points of a few hundred bytes, and everything that reads them."""

    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.seed = init(self.files)
        town = Town(self.files, catalog_of(None))
        for content in CONTENTS:
            town.backup(MemorySource(content, times={b"juki.csv": len(content[b"empty"])}))
        self.store = town.store
        self.catalog = town.vault.catalog
        self.refs = [ObjectRef(kind, name) for kind in ObjectKind for name in self.store.names(kind)]

    def file(self, path: str) -> File:
        """Return the file at a path."""
        node = self.files._node(path)
        assert isinstance(node, File)
        return node

    def flips(self, ref: ObjectRef, *, one_per_byte: bool) -> Iterator[int]:
        """Damage an object, one bit at a time; yields the bit while it is flipped."""
        yield from flips(self.file(self.store.path(ref)), one_per_byte=one_per_byte)

    def restore_by_owner(self) -> list[dict[bytes, bytes]]:
        """Restore all points with the keyring and the catalog as it was before the damage."""
        keyring = Keyring.open(self.files, TENANT, local_key=LOCAL_KEY)
        vault = vault_of(self.store, self.catalog, keyring)
        return [restored(vault, point) for point in vault.points.chain(DATASET)]

    def restore_by_shares(self) -> list[dict[bytes, bytes]]:
        """Restore all points with nothing but the objects and the recovery seed."""
        store = ObjectStore(self.files, FOLDER)
        objects = [store.read(ObjectRef(ObjectKind.KEY, name)) for name in store.names(ObjectKind.KEY)]
        keys = RecoveredKeys.from_seed(self.seed, TENANT, objects)
        catalog = catalog_of(None)
        rebuild(store, catalog, keys, tenant=TENANT)
        vault = vault_of(store, catalog, keys)
        return [restored(vault, point) for point in vault.points.chain(DATASET)]


def flips(file: File, *, one_per_byte: bool) -> Iterator[int]:
    whole = file.content
    chance = random.Random(1)
    for byte in range(len(whole)):
        for bit in [chance.randrange(8)] if one_per_byte else range(8):
            file.content = whole[:byte] + bytes((whole[byte] ^ 1 << bit,)) + whole[byte + 1 :]
            yield 8 * byte + bit
    file.content = whole


@functools.cache
def _made() -> tuple[SmallVault, Key]:
    vault = SmallVault()
    return vault, key_of(vault.files.root)


@pytest.fixture
def vault() -> Iterator[SmallVault]:
    made, whole = _made()
    yield made
    for path, content in whole:
        if content is not None:
            made.file(path).content = content


KINDS = [kind for kind in ObjectKind if kind is not ObjectKind.RECEIPT]


def test_the_undamaged_vault_restores(vault: SmallVault) -> None:
    assert vault.restore_by_owner() == list(CONTENTS)
    assert vault.restore_by_shares() == list(CONTENTS)
    assert {ref.kind for ref in vault.refs} == set(KINDS)


def test_every_single_bit_of_every_object_is_seen_by_its_name(vault: SmallVault) -> None:
    count = 0
    for ref in vault.refs:
        for _ in vault.flips(ref, one_per_byte=False):
            with pytest.raises(DamageError):
                vault.store.read_checked(ref)
            count += 1
    assert count == 8 * sum(vault.store.size(ref) for ref in vault.refs)


def test_verify_names_the_damaged_object_and_the_points_that_need_it(vault: SmallVault) -> None:
    assert _verified_under_flips(vault, one_per_byte=True, every=97) > 150


@pytest.mark.soak
def test_verify_names_every_object_under_every_single_bit(vault: SmallVault) -> None:
    count = _verified_under_flips(vault, one_per_byte=False, every=1)
    assert count == 8 * sum(vault.store.size(ref) for ref in vault.refs)


def _verified_under_flips(vault: SmallVault, *, one_per_byte: bool, every: int) -> int:
    """Run the whole verify under flips; return under how many."""
    count = 0
    keyring = Keyring.open(vault.files, TENANT, local_key=LOCAL_KEY)
    for ref in vault.refs:
        for number, _ in enumerate(vault.flips(ref, one_per_byte=one_per_byte)):
            if number % every:
                continue
            report = verify_objects(vault.store, vault_of(vault.store, vault.catalog, keyring).points)
            assert [finding.ref for finding in report.findings] == [ref]
            assert ref.kind is ObjectKind.POINT or report.findings[0].points
            count += 1
    return count


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_no_flipped_bit_makes_a_restore_hand_out_wrong_bytes(vault: SmallVault, kind: ObjectKind) -> None:
    _restore_under_flips(vault, kind, one_per_byte=True, every=3 if kind is ObjectKind.PACK else 13)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_no_single_bit_of_any_object_makes_a_restore_hand_out_wrong_bytes(vault: SmallVault, kind: ObjectKind) -> None:
    _restore_under_flips(vault, kind, one_per_byte=False, every=1)


def _restore_under_flips(vault: SmallVault, kind: ObjectKind, *, one_per_byte: bool, every: int) -> None:
    refused = 0
    for ref in (ref for ref in vault.refs if ref.kind is kind):
        for number, _ in enumerate(vault.flips(ref, one_per_byte=one_per_byte)):
            if number % every:
                continue
            for restore in (vault.restore_by_owner, vault.restore_by_shares):
                try:
                    assert restore() == list(CONTENTS)
                except (DamageError, IdentityError, KeyringError) as error:
                    assert isinstance(error, JbackupdError)
                    refused += 1
    # An index is only a short cut: the trailers of the packs say the same.
    assert (refused > 0) is (kind is not ObjectKind.INDEX)


def test_every_single_bit_of_the_keyring_is_seen(vault: SmallVault) -> None:
    for _ in flips(vault.file("keyring/imari"), one_per_byte=False):
        with pytest.raises(KeyringError):
            Keyring.open(vault.files, TENANT, local_key=LOCAL_KEY)


def test_every_single_bit_of_an_expiry_is_seen_and_verify_names_it(vault: SmallVault) -> None:
    keyring = Keyring.open(vault.files, TENANT, local_key=LOCAL_KEY)
    points = vault_of(vault.store, vault.catalog, keyring).points
    name = points.chain(DATASET)[0].name
    expiry = Expiry(TENANT, SAGA, 1, START, (RemovedPoint(DATASET, 1, name, "not-kept"),))
    data = encode_expiry(expiry, signer())
    put_expiry(vault.store, expiry, signer())
    folder = f"{FOLDER}/expiry"
    (stated,) = vault.files.names(folder)
    assert len(data) == vault.files.size(f"{folder}/{stated}")
    try:
        for _ in flips(vault.file(f"{folder}/{stated}"), one_per_byte=False):
            (error,) = damaged_expiries(vault.store)
            assert stated[:12] in str(error)
        for number, _ in enumerate(flips(vault.file(f"{folder}/{stated}"), one_per_byte=True)):
            if number % 500 == 0:
                report = verify_objects(vault.store, points)
                assert [finding.error.exit_code for finding in report.findings] == [4]
        assert damaged_expiries(vault.store) == []
    finally:
        vault.files.remove(f"{folder}/{stated}")


def test_a_truncated_object_is_damage_at_every_length(vault: SmallVault) -> None:
    for ref in vault.refs:
        file = vault.file(vault.store.path(ref))
        whole = file.content
        for length in range(0, len(whole), 37):
            file.content = whole[:length]
            assert name_of(file.content) != ref.name
            with contextlib.suppress(DamageError, IdentityError, KeyringError):
                assert vault.restore_by_shares() == list(CONTENTS)
        file.content = whole


def test_every_object_in_the_place_of_every_other_is_refused(vault: SmallVault) -> None:
    for ref in vault.refs:
        file = vault.file(vault.store.path(ref))
        whole = file.content
        for other in vault.refs:
            if other != ref:
                file.content = vault.store.read(other)
                with pytest.raises(DamageError):
                    vault.store.read_checked(ref)
                with contextlib.suppress(DamageError, IdentityError, KeyringError):
                    assert vault.restore_by_shares() == list(CONTENTS)
                file.content = whole
