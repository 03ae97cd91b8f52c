"""Keys from shares: opened lazily, and a damaged key object costs only what is in it."""

from datetime import UTC, datetime

import pytest

from jbackupd.codec.hpke import RecipientSecret
from jbackupd.model.errors import DamageError, KeyMissingError, KeyringError
from jbackupd.model.ids import ObjectKind, ObjectRef, TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keydirectory import KeySurvey
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.recovered import RecoveredKeys
from jbackupd.vault.store import ObjectStore

IMARI = TenantId("imari")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Vault:
    """A store with the keys of three sessions."""

    def __init__(self, folder):
        self.folder = folder
        files = PosixFiles(str(folder))
        self.store = ObjectStore(files, "vaults/imari")
        self.store.create()
        made = Keyring.create(files, IMARI, local_key=b"l" * 32, now=NOW)
        self.seed = made.recovery_seed
        self.sessions = [made.keyring.new_session(NOW) for _ in range(3)]
        self.names = [
            self.store.put(ObjectKind.KEY, data)
            for data in (*made.objects, *(session.key_object for session in self.sessions))
        ]

    def damage(self, number: int) -> str:
        path = self.folder / self.store.path(ObjectRef(ObjectKind.KEY, self.names[number]))
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
        return self.names[number].hex()[:12]

    def keys(self) -> RecoveredKeys:
        return RecoveredKeys.from_store(self.seed, IMARI, self.store)


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path)


def test_the_seed_opens_every_session(vault):
    keys = vault.keys()
    assert [keys.session_key(s.session_id) for s in vault.sessions] == [s.key for s in vault.sessions]
    opened = keys.open_all()
    assert (opened.keys, opened.damaged) == ({s.session_id: s.key for s in vault.sessions}, ())
    assert vault.sessions[0].key.hex() not in repr(opened) and repr(keys) == "RecoveredKeys(...)"


def test_a_damaged_session_costs_that_session_and_is_named(vault):
    name = vault.damage(3)
    keys = vault.keys()
    assert keys.session_key(vault.sessions[0].session_id) == vault.sessions[0].key
    with pytest.raises(DamageError, match=name):
        keys.session_key(vault.sessions[1].session_id)
    opened = keys.open_all()
    assert (len(opened.keys), [name in str(error) for error in opened.damaged]) == (2, [True])


def test_a_damaged_epoch_costs_its_sessions_and_is_named(vault):
    name = vault.damage(1)
    with pytest.raises(DamageError, match=name):
        vault.keys().session_key(vault.sessions[0].session_id)
    opened = vault.keys().open_all()
    assert (len(opened.keys), name in str(opened.damaged[0])) == (0, True)


def test_a_damaged_tenant_key_is_damage_and_not_a_wrong_share(vault):
    name = vault.damage(0)
    with pytest.raises(DamageError, match=name):
        vault.keys()


def test_the_seed_of_another_set_is_a_key_error_even_in_a_damaged_vault(vault):
    vault.damage(4)
    with pytest.raises(KeyringError, match="opens nothing of imari") as caught:
        RecoveredKeys.from_store(bytes(32), IMARI, vault.store)
    assert caught.value.exit_code == 6


def test_a_session_of_which_there_is_no_key_is_missing(vault):
    with pytest.raises(KeyMissingError):
        vault.keys().session_key(bytes(16))


def test_keys_are_opened_when_they_are_asked_for(vault, monkeypatch):
    opened = []
    original = RecipientSecret.open
    monkeypatch.setattr(RecipientSecret, "open", lambda *call: opened.append(call) or original(*call))
    keys = vault.keys()
    assert len(opened) == 1
    keys.session_key(vault.sessions[0].session_id)
    keys.session_key(vault.sessions[1].session_id)
    assert len(opened) == 4


def test_a_survey_counts_keys_and_names_what_is_damaged(vault):
    found = KeySurvey.of(vault.store)
    assert (found.recovery_key, [epoch.name for epoch in found.epochs], found.sessions, found.damaged) == (
        RecipientSecret(vault.seed).public.fingerprint.hex(), ["2026"], 3, ()
    )
    name = vault.damage(4)
    found = KeySurvey.of(vault.store)
    assert (found.sessions, name in str(found.damaged[0])) == (2, True)
