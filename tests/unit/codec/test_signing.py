"""Both signatures must fit, for this message and this purpose."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

from jbackupd.codec.signing import PUBLIC_BYTES, SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.model.errors import FormatError, IdentityError

SIGNER = SiteSigner.from_seed(bytes(range(64)))
OTHER = SiteSigner.from_seed(bytes(64))


def test_a_signature_fits_its_message_and_context_only():
    signature = SIGNER.sign(b"point", b"message")
    verifier = SiteVerifier.from_bytes(SIGNER.public.to_bytes())
    verifier.verify(b"point", b"message", signature)
    for context, message, by in (
        (b"receipt", b"message", verifier), (b"point", b"messagf", verifier), (b"point", b"message", OTHER.public),
        (b"pointm", b"essage", verifier), (b"", b"pointmessage", verifier),
    ):
        with pytest.raises(IdentityError):
            by.verify(context, message, signature)


def test_one_of_the_two_signatures_alone_is_not_enough():
    mine, foreign = SIGNER.sign(b"c", b"m"), OTHER.sign(b"c", b"m")
    for mixed in (mine[:64] + foreign[64:], foreign[:64] + mine[64:], mine[:64] + bytes(3309), bytes(64) + mine[64:]):
        with pytest.raises(IdentityError):
            SIGNER.public.verify(b"c", b"m", mixed)


def test_another_program_verifies_each_half_by_itself():
    signature, public = SIGNER.sign(b"ctx", b"message"), SIGNER.public.to_bytes()
    Ed25519PublicKey.from_public_bytes(public[:32]).verify(signature[:64], b"\x03ctxmessage")
    MLDSA65PublicKey.from_public_bytes(public[32:]).verify(signature[64:], b"message", b"ctx")


def test_every_length_but_the_right_one_is_refused():
    signature = SIGNER.sign(b"c", b"m")
    assert len(signature) == SIGNATURE_BYTES
    for wrong in (b"", signature[:-1], signature + b"\0"):
        with pytest.raises(IdentityError):
            SIGNER.public.verify(b"c", b"m", wrong)
    for wrong in (b"", bytes(PUBLIC_BYTES + 1)):
        with pytest.raises(FormatError):
            SiteVerifier(wrong)
    with pytest.raises(FormatError):
        SiteSigner(bytes(63))


def test_verifiers_are_equal_by_their_keys():
    again = SiteVerifier(SIGNER.public.to_bytes())
    assert again == SIGNER.public and hash(again) == hash(SIGNER.public) and again != OTHER.public
    assert repr(SIGNER) == "SiteSigner(...)"
