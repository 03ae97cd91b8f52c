"""A site's identity: made once, read as it was, or not at all."""

import pytest

from jbackupd.format.identity import CardKind, decode_card
from jbackupd.model.errors import KeyringError, NotFoundError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import create_identity, load_identity, load_or_create

SAGA = SiteId("saga")


@pytest.fixture
def files(tmp_path):
    return PosixFiles(str(tmp_path))


def test_it_is_made_once_and_loaded_as_it_was(files):
    made = create_identity(files, SAGA)
    loaded = load_or_create(files, SAGA)
    assert loaded.card == made.card
    assert (loaded.ssh_seed, loaded.local_key) == (made.ssh_seed, made.local_key)
    with pytest.raises(RefusedError):
        create_identity(files, SAGA)


def test_its_card_lies_beside_it_and_the_private_part_is_for_the_owner_alone(files, tmp_path):
    made = create_identity(files, SAGA)
    assert decode_card((tmp_path / "site" / "saga.card").read_bytes(), CardKind.SITE) == made.card
    assert (tmp_path / "site" / "identity.key").stat().st_mode & 0o777 == 0o600


def test_signatures_of_a_loaded_identity_fit_the_card(files):
    card = create_identity(files, SAGA).card
    card.verifier.verify(b"test", b"message", load_identity(files, SAGA).signer.sign(b"test", b"message"))


def test_every_changed_byte_is_found(files, tmp_path):
    create_identity(files, SAGA)
    path = tmp_path / "site" / "identity.key"
    data = path.read_bytes()
    for place in range(len(data)):
        for changed in (data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :], data[:place]):
            path.write_bytes(changed)
            with pytest.raises(KeyringError):
                load_identity(files, SAGA)


def test_the_identity_of_another_site_is_refused(files):
    create_identity(files, SAGA)
    with pytest.raises(KeyringError, match="belongs to the site saga, the configuration is of kyoto"):
        load_identity(files, SiteId("kyoto"))


def test_a_state_folder_without_identity_says_how_to_make_one(files):
    with pytest.raises(NotFoundError) as caught:
        load_identity(files, SAGA)
    assert "site init" in caught.value.hint


def test_nothing_secret_is_printed(files):
    made = create_identity(files, SAGA)
    assert repr(made) == "SiteIdentity(site='saga')"
