"""Sealed to a recipient: the recipient opens it, nobody else, and for nothing else."""

import pytest

from jbackupd.codec.hpke import OVERHEAD_BYTES, PUBLIC_BYTES, RecipientPublic, RecipientSecret, new_seed
from jbackupd.model.errors import FormatError, KeyringError

SEED = bytes(range(32))


def test_the_recipient_opens_what_was_sealed_to_its_public_bytes():
    secret = RecipientSecret.from_seed(SEED)
    public = RecipientPublic.from_bytes(secret.public.to_bytes())
    sealed = public.seal(b"k" * 32, b"context")
    assert (secret.open(sealed, b"context"), len(sealed)) == (b"k" * 32, 32 + OVERHEAD_BYTES)
    assert public.seal(b"k" * 32, b"context") != sealed


def test_a_seed_always_makes_the_same_recipient():
    # Were this to change, no shares of old would open anything.
    assert RecipientSecret(SEED).public.fingerprint.hex() == "ece5aac3e2fc9dfbd6a9bafe80edf198"


def test_another_recipient_another_context_and_changed_bytes_do_not_open():
    secret = RecipientSecret(SEED)
    sealed = secret.public.seal(b"secret", b"context")
    with pytest.raises(KeyringError):
        RecipientSecret(new_seed()).open(sealed, b"context")
    with pytest.raises(KeyringError):
        secret.open(sealed, b"other")
    for place in (*range(0, len(sealed), 97), len(sealed) - 1):
        with pytest.raises(KeyringError):
            secret.open(sealed[:place] + bytes((sealed[place] ^ 1,)) + sealed[place + 1 :], b"context")
    for length in (0, 10, OVERHEAD_BYTES - 1, len(sealed) - 1):
        with pytest.raises(KeyringError):
            secret.open(sealed[:length], b"context")


def test_bytes_that_are_no_key_are_told():
    for data in (b"", bytes(PUBLIC_BYTES - 1), b"\xff" * PUBLIC_BYTES):
        with pytest.raises(FormatError):
            RecipientPublic(data)
    with pytest.raises(FormatError):
        RecipientSecret(bytes(31))


def test_nothing_secret_is_printed():
    assert repr(RecipientSecret(SEED)) == "RecipientSecret(...)"
