"""A keyring that changes: each change is one write, and what follows it is finished by whoever comes next."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.codec.hpke import RecipientSecret
from jbackupd.codec.seal import object_key, seal_blob
from jbackupd.codec.signing import SiteSigner
from jbackupd.format.key import decode_key
from jbackupd.format.keyrecord import RecoveryChange, encode_record
from jbackupd.model.errors import DamageError, KeyMissingError, KeyringError, RefusedError
from jbackupd.model.ids import ObjectKind, ObjectRef, SiteId, TenantId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.keyringfile import load
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore

IMARI = TenantId("imari")
LOCAL = b"l" * 32
NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SIGNER = SiteSigner(b"s" * 64)


@pytest.fixture
def files(tmp_path):
    return PosixFiles(str(tmp_path))


@pytest.fixture
def made(files):
    return Keyring.create(files, IMARI, local_key=LOCAL, now=NOW)


def reopened(files) -> Keyring:
    return Keyring.open(files, IMARI, local_key=LOCAL)


class Vault:
    """A vault's key objects beside a keyring."""

    def __init__(self, files, made) -> None:
        self.files, self.keyring, self.seed = files, made.keyring, made.recovery_seed
        self.store = ObjectStore(files, "vaults/imari")
        self.store.create()
        for data in made.objects:
            self.store.put(ObjectKind.KEY, data)

    def session(self, now=NOW):
        session = self.keyring.new_session(now)
        for data in (self.keyring.epoch_object(), session.key_object):
            self.store.put(ObjectKind.KEY, data)
        return session

    def opened(self, seed=None, **options):
        return RecoveredKeys.from_store(seed or self.seed, IMARI, self.store, **options)

    def change(self, seed: bytes, number: int = 2):
        keys = self.opened()
        recovery = RecipientSecret(seed).public
        record = encode_record(
            RecoveryChange(number, recovery.fingerprint, keys.recovery_public.fingerprint, b"s" * 8, 2, 3),
            tenant=IMARI, site=SiteId("saga"), made_at=NOW, signer=SIGNER,
        )
        self.keyring.follow(keys, recovery, record, NOW)
        return keys


@pytest.fixture
def vault(files, made):
    return Vault(files, made)


def test_a_rotation_is_in_force_before_its_key_object_is_in_the_vault_and_settles_later(vault, files):
    before = vault.session()
    assert vault.keyring.rotate(NOW) == "2026-2"
    again = reopened(files)
    assert again.epoch == "2026-2"
    again.settle(vault.store)
    vault.keyring = again
    after = vault.session()
    assert decode_key(before.key_object).recipient != decode_key(after.key_object).recipient
    keys = vault.opened()
    assert [keys.session_key(s.session_id) for s in (before, after)] == [before.key, after.key]


def test_a_wish_for_a_rotation_is_granted_once_and_one_that_comes_back_not_again(vault, files, tmp_path):
    vault.keyring.ask_rotation()
    vault.keyring.ask_rotation()
    wish = (tmp_path / "keyring" / "imari.rotate").read_bytes()
    again = reopened(files)
    again.new_session(NOW)
    assert again.epoch == "2026-2" and not (tmp_path / "keyring" / "imari.rotate").exists()
    (tmp_path / "keyring" / "imari.rotate").write_bytes(wish)
    again.new_session(NOW)
    assert again.epoch == "2026-2"


def test_a_year_begins_in_the_sites_own_time(files, made):
    evening = datetime(2027, 3, 31, 20, 0, tzinfo=UTC)
    for zone, name in ((ZoneInfo("Pacific/Honolulu"), "2026"), (ZoneInfo("Asia/Tokyo"), "2027")):
        keyring = Keyring.open(files, IMARI, local_key=LOCAL, zone=zone)
        keyring.new_session(evening)
        assert keyring.epoch == name


def test_another_recovery_key_opens_all_and_the_old_one_nothing_new(vault, files):
    before = vault.session()
    vault.change(b"n" * 32)
    assert vault.opened().successor is None, "nothing is in the vault before it settles"
    vault.keyring = reopened(files)
    vault.keyring.settle(vault.store)
    vault.keyring.settle(vault.store)
    after = vault.session()
    new, old = vault.opened(b"n" * 32), vault.opened()
    assert [new.session_key(s.session_id) for s in (before, after)] == [before.key, after.key]
    assert new.successor is None and old.session_key(before.session_id) == before.key
    with pytest.raises(KeyMissingError, match="earlier recovery key: since 2026-11-23"):
        old.session_key(after.session_id)
    with pytest.raises(KeyMissingError, match="earlier recovery key"):
        old.require_in_force()
    with pytest.raises(KeyringError, match="not of the recovery key in force"):
        vault.keyring.follow(old, RecipientSecret(b"x" * 32).public, b"", NOW)


def test_old_keys_are_not_adopted(vault, files, tmp_path):
    vault.change(b"n" * 32)
    vault.keyring.settle(vault.store)
    (tmp_path / "keyring" / "imari").unlink()
    with pytest.raises(RefusedError, match="earlier recovery key"):
        Keyring.adopt(files, IMARI, vault.opened(), created_at={}, local_key=LOCAL, now=NOW)
    adopted = Keyring.adopt(files, IMARI, vault.opened(b"n" * 32), created_at={}, local_key=LOCAL, now=NOW)
    assert adopted.epoch == "2026-3"


def test_a_record_that_nobody_known_has_signed_explains_nothing(vault):
    vault.change(b"n" * 32)
    vault.keyring.settle(vault.store)
    for verifiers, successor in (
        (None, True), ({SiteId("saga"): SIGNER.public}, True), ({SiteId("kyoto"): SIGNER.public}, False),
        ({SiteId("saga"): SiteSigner(b"x" * 64).public}, False),
    ):
        assert (vault.opened(verifiers=verifiers).successor is not None) == successor


def test_with_a_damaged_key_object_there_is_no_other_recovery_key(vault, tmp_path):
    vault.session()
    (tmp_path / "vaults" / "imari" / "keys" / ("0" * 64)).write_bytes(b"JBKP")
    with pytest.raises(DamageError):
        vault.change(b"n" * 32)
    assert vault.keyring.epoch == "2026"


def test_an_erasure_forgets_destroys_and_keeps_what_is_needed_alone(vault, files, tmp_path):
    lost, kept = vault.session(), vault.session()
    old = vault.keyring.epoch_object()
    vault.keyring.rotate(NOW)
    vault.keyring.settle(vault.store)
    session = vault.keyring.draw_session()
    needed = [(kept.session_id, ObjectKind.POINT, b"p" * 16)]
    before = (tmp_path / "keyring" / "imari").read_bytes()
    vault.keyring.erase(
        {lost.session_id, kept.session_id}, doomed=[name_of(old)], objects=[b"JBKP record"], session=session,
        kept=needed, now=NOW,
    )
    again = reopened(files)
    for key in (lost, kept, session):
        with pytest.raises(KeyMissingError):
            again.session_key(key.session_id)
    again.settle(vault.store)
    assert again.session_key(session.session_id) == session.key
    wanted = object_key(kept.key, b"p" * 16, ObjectKind.POINT)
    assert again.object_key(kept.session_id, b"p" * 16, ObjectKind.POINT) == wanted
    with pytest.raises(KeyMissingError):
        again.object_key(kept.session_id, b"q" * 16, ObjectKind.PACK)
    assert not vault.store.has(ObjectRef(ObjectKind.KEY, name_of(old)))
    assert vault.store.has(ObjectRef(ObjectKind.KEY, name_of(b"JBKP record")))
    assert [path.name for path in (tmp_path / "keyring").iterdir()] == ["imari"]
    assert (tmp_path / "keyring" / "imari").read_bytes() != before

    vault.store.put(ObjectKind.KEY, old)
    reopened(files).settle(vault.store)
    assert not vault.store.has(ObjectRef(ObjectKind.KEY, name_of(old))), "a copy that came back is destroyed again"
    assert again.prune(NOW, history_days=0, needed={kept.session_id}) >= 0
    assert reopened(files).object_key(kept.session_id, b"p" * 16, ObjectKind.POINT) == wanted
    again.prune(NOW, history_days=0, needed=())
    with pytest.raises(KeyMissingError):
        reopened(files).object_key(kept.session_id, b"p" * 16, ObjectKind.POINT)


def test_a_keyring_of_an_earlier_version_is_read(files, made):
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(load(files, IMARI, LOCAL)))
    data = seal_blob(LOCAL, msgspec.msgpack.encode(raw[:7]), context=b"jbackupd 1 keyring imari")
    write_durably(files, "keyring/imari", data, temporary="keyring/imari.new")
    assert reopened(files).epoch == made.keyring.epoch
