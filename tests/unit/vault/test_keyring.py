"""The owner's keyring: sealed, saved before use, forgetful on purpose; a new one from shares."""

from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.codec.hpke import RecipientPublic
from jbackupd.format.key import KeyRole, decode_key
from jbackupd.model.errors import KeyMissingError, KeyringError, NoSpaceError, RefusedError
from jbackupd.model.ids import TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.keyring import Keyring, RecoveredKeys, fiscal_year
from jbackupd.vault.keyringfile import load

IMARI = TenantId("imari")
LOCAL = b"l" * 32
NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture
def files(tmp_path):
    return PosixFiles(str(tmp_path))


@pytest.fixture
def made(files):
    return Keyring.create(files, IMARI, local_key=LOCAL, now=NOW)


def reopened(files) -> Keyring:
    return Keyring.open(files, IMARI, local_key=LOCAL)


class FullDisk:
    """A file system that takes no more bytes."""

    def __init__(self, files):
        self._files = files

    def __getattr__(self, name):
        return getattr(self._files, name)

    def create(self, path):
        raise NoSpaceError("unable to create {path}: no space", path=path)


def test_a_session_is_on_disk_before_it_is_handed_out(files, made):
    session = made.keyring.new_session(NOW)
    assert reopened(files).session_key(session.session_id) == session.key
    assert made.keyring.session_key(session.session_id) == session.key


def test_what_could_not_be_saved_was_never_there(files, made):
    keyring = Keyring(FullDisk(files), LOCAL, load(files, IMARI, LOCAL))
    epoch = keyring.epoch_object()
    with pytest.raises(NoSpaceError):
        keyring.new_session(NOW + timedelta(days=365))
    assert keyring.epoch_object() == epoch
    assert reopened(files).epoch_object() == epoch


def test_the_file_tells_nothing_and_opens_with_the_sites_key_only(files, made, tmp_path):
    session = made.keyring.new_session(NOW)
    path = tmp_path / "keyring" / "imari"
    data = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert session.key not in data and session.session_id not in data
    with pytest.raises(KeyringError, match="keyring of imari does not open"):
        Keyring.open(files, IMARI, local_key=b"x" * 32)
    path.with_name("karatsu").write_bytes(data)
    with pytest.raises(KeyringError):
        Keyring.open(files, TenantId("karatsu"), local_key=LOCAL)
    for place in range(0, len(data), 101):
        path.write_bytes(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
        with pytest.raises(KeyringError):
            reopened(files)


def test_a_site_that_only_stores_has_no_keys(files):
    with pytest.raises(KeyMissingError, match="no keys of imari"):
        reopened(files)


def test_keys_are_made_once(files, made):
    with pytest.raises(RefusedError, match="has keys at this site already"):
        Keyring.create(files, IMARI, local_key=LOCAL, now=NOW)


@pytest.mark.parametrize(("moment", "label"), [
    (datetime(2026, 3, 31, 14, 59, 59, tzinfo=UTC), "2025"), (datetime(2026, 3, 31, 15, 0, tzinfo=UTC), "2026"),
    (datetime(2027, 1, 1, tzinfo=UTC), "2026"),
])
def test_a_fiscal_year_begins_on_the_first_of_april_in_japan(moment, label):
    assert fiscal_year(moment) == label


def test_an_epoch_lasts_a_fiscal_year_and_its_private_key_is_not_kept(files, made):
    one, same = made.keyring.new_session(NOW), made.keyring.new_session(NOW + timedelta(days=100))
    old = made.keyring.epoch_object()
    next_ = made.keyring.new_session(NOW + timedelta(days=130))
    new = made.keyring.epoch_object()
    recipients = [decode_key(session.key_object).recipient for session in (one, same, next_)]
    assert recipients == [RecipientPublic(decode_key(epoch).public).fingerprint for epoch in (old, old, new)]
    assert [decode_key(epoch).label for epoch in (old, new)] == ["2026", "2027"]
    keys = RecoveredKeys.from_seed(
        made.recovery_seed, IMARI, [*made.objects, new, one.key_object, same.key_object, next_.key_object]
    )
    assert [keys.session_key(s.session_id) for s in (one, same, next_)] == [one.key, same.key, next_.key]
    saved = load(files, IMARI, LOCAL)
    with pytest.raises(KeyringError):
        RecoveredKeys.from_seed(saved.tenant_secret, IMARI, [*made.objects, new])


def test_a_clock_that_goes_back_over_the_year_opens_no_older_epoch(made):
    later = made.keyring.new_session(NOW + timedelta(days=365))
    earlier = made.keyring.new_session(NOW)
    assert decode_key(earlier.key_object).recipient == decode_key(later.key_object).recipient


def test_sessions_older_than_the_history_are_forgotten_unless_deltas_need_them(files, made):
    days = [made.keyring.new_session(NOW + timedelta(days=day)) for day in range(40)]
    forgotten = made.keyring.prune(NOW + timedelta(days=39), history_days=35, needed={days[0].session_id})
    assert forgotten == 3
    kept = reopened(files)
    assert [kept.session_key(days[i].session_id) for i in (0, 4, 39)] == [days[i].key for i in (0, 4, 39)]
    for gone in (1, 3):
        with pytest.raises(KeyMissingError) as caught:
            kept.session_key(days[gone].session_id)
        assert "--share" in caught.value.hint


def test_a_closed_history_keeps_only_what_new_deltas_need(files, made):
    sessions = [made.keyring.new_session(NOW) for _ in range(3)]
    assert made.keyring.prune(NOW, history_days=0, needed={sessions[1].session_id}) == 2
    assert reopened(files).session_key(sessions[1].session_id) == sessions[1].key
    with pytest.raises(KeyMissingError):
        reopened(files).session_key(sessions[2].session_id)


def test_a_lost_keyring_is_made_anew_with_the_same_secret_and_another_epoch(files, made, tmp_path):
    session = made.keyring.new_session(NOW)
    keys = RecoveredKeys.from_seed(made.recovery_seed, IMARI, [*made.objects, session.key_object])
    with pytest.raises(RefusedError):
        Keyring.adopt(files, IMARI, keys, created_at={}, local_key=LOCAL, now=NOW)

    (tmp_path / "keyring" / "imari").write_bytes(b"torn")
    later = NOW + timedelta(days=10)
    adopted = Keyring.adopt(
        files, IMARI, keys, created_at={session.session_id: NOW}, local_key=LOCAL, now=later
    )
    assert adopted.content_hash().cut_seed == made.keyring.content_hash().cut_seed
    assert adopted.recovery_public.fingerprint == made.keyring.recovery_public.fingerprint
    assert adopted.epoch_object() != made.keyring.epoch_object()
    assert reopened(files).prune(later, history_days=35, needed=()) == 0
    assert reopened(files).session_key(session.session_id) == session.key
    fresh = adopted.new_session(later)
    shares = [*made.objects, adopted.epoch_object(), session.key_object, fresh.key_object]
    assert RecoveredKeys.from_seed(made.recovery_seed, IMARI, shares).session_key(fresh.session_id) == fresh.key


def test_a_session_without_a_point_goes_at_the_first_pruning_of_an_adopted_keyring(files, made, tmp_path):
    session = made.keyring.new_session(NOW)
    keys = RecoveredKeys.from_seed(made.recovery_seed, IMARI, [*made.objects, session.key_object])
    (tmp_path / "keyring" / "imari").unlink()
    adopted = Keyring.adopt(files, IMARI, keys, created_at={}, local_key=LOCAL, now=NOW)
    assert adopted.prune(NOW, history_days=35, needed=()) == 1


def test_nothing_secret_is_printed(files, made):
    session = made.keyring.new_session(NOW)
    saved = load(files, IMARI, LOCAL)
    shown = "".join(map(repr, (made, made.keyring, session, saved, saved.sessions, saved.sessions[0])))
    for secret in (made.recovery_seed, session.key, saved.tenant_secret):
        assert repr(secret) not in shown and secret.hex() not in shown


def test_key_objects_say_who_can_open_them(made):
    roles = {decode_key(data).role: decode_key(data).recipient for data in made.objects}
    recovery = made.keyring.recovery_public.fingerprint
    assert roles == {KeyRole.TENANT: recovery, KeyRole.EPOCH: recovery}
