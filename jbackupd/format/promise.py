"""An officer's promises: signed beforehand, each opened by a code that he reads out over the telephone.

A promise says: whoever tells the code of this commitment speaks for me, and says that `acting` acts for `lost` from
`epoch` on. It is worth nothing for another site or epoch, and nothing without its code.

A file of promises (a book) holds no secret:

    offset  size  field
    0       8     magic "JBCODE" 0x01 0x00
    8       ...   msgpack array of arrays [promise, signature]
                    promise    bytes: msgpack array in the order of `_RawPromise`
                    signature  codec.signing over these bytes, context PROMISE_CONTEXT

The commitment is Argon2id (RFC 9106) of the code's digits in ASCII: 3 iterations, 64 MiB, one lane, 32 bytes, the
promise's salt, associated data PROMISE_CONTEXT.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import blake3
import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.model.errors import ApprovalError, FormatError, IdentityError
from jbackupd.model.ids import SiteId, is_word

MAGIC = b"JBCODE\x01\x00"
PROMISE_CONTEXT = b"jbackupd 1 approval promise"
PROMISE_BYTES_MAX = 512
PROMISES_MAX = 128
BOOK_BYTES_MAX = 512 * 1024
SALT_BYTES = 16
COMMITMENT_BYTES = 32
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 1, 64 * 1024
"""As for officers' keys: 0.2 s a guess. Fixed, so that no file of a stranger asks for more."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise.

    Attributes:
        officer: Whose it is.
        lost, acting, epoch: All that it approves.
        number: Its line on the officer's page.
        made_at: When the book was made, aware UTC: all promises of a book have the same.
        valid_until: A declaration begun later is not approved by it; aware UTC.
        salt, commitment: What the code is compared with.
    """

    officer: str
    lost: SiteId
    acting: SiteId
    epoch: int
    number: int
    made_at: datetime
    valid_until: datetime
    salt: bytes
    commitment: bytes

    def opened_by(self, code: str) -> bool:
        """Tell whether a code is the one; takes 0.2 s and 64 MiB.

        Args:
            code: Digits only.
        """
        return hmac.compare_digest(self.commitment, commitment_of(code, self.salt))


@dataclass(frozen=True, slots=True)
class SignedPromise:
    """A promise as it stands in a book.

    Attributes:
        signed: The bytes that the signature is over.
    """

    promise: Promise
    signed: bytes
    signature: bytes

    @property
    def id(self) -> bytes:
        """16 bytes that stand for it."""
        return blake3.blake3(self.signed).digest()[:16]


class _RawPromise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    officer: str
    lost: str
    acting: str
    epoch: int
    number: int
    made_at: int
    valid_until: int
    salt: bytes
    commitment: bytes


_promise_decoder = msgspec.msgpack.Decoder(_RawPromise)
_book_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


def commitment_of(code: str, salt: bytes) -> bytes:
    """Return what is published of a code."""
    return Argon2id(
        salt=salt, length=COMMITMENT_BYTES, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB,
        ad=PROMISE_CONTEXT,
    ).derive(code.encode("ascii"))


def sign_promise(promise: Promise, signer: SiteSigner) -> SignedPromise:
    """Return a promise with its officer's signature."""
    signed = msgspec.msgpack.encode(_RawPromise(
        promise.officer, promise.lost, promise.acting, promise.epoch, promise.number,
        _micros(promise.made_at), _micros(promise.valid_until), promise.salt, promise.commitment,
    ))
    return SignedPromise(decode_promise(signed), signed, signer.sign(PROMISE_CONTEXT, signed))


def decode_promise(signed: bytes) -> Promise:
    """Decode a promise without checking its signature.

    Raises:
        FormatError: The bytes are not a promise.
    """
    if len(signed) > PROMISE_BYTES_MAX:
        raise FormatError("the promise of an approval is too long")
    try:
        raw = _promise_decoder.decode(signed)
        made_at, valid_until = (_EPOCH + timedelta(microseconds=value) for value in (raw.made_at, raw.valid_until))
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise FormatError("the promise of an approval is malformed") from error
    if (
        not (is_word(raw.officer) and is_word(raw.lost) and is_word(raw.acting)) or raw.lost == raw.acting
        or not 2 <= raw.epoch <= 2**53 or not 1 <= raw.number <= PROMISES_MAX or valid_until <= made_at
        or len(raw.salt) != SALT_BYTES or len(raw.commitment) != COMMITMENT_BYTES
    ):
        raise FormatError("the promise of an approval is out of range")
    return Promise(
        raw.officer, SiteId(raw.lost), SiteId(raw.acting), raw.epoch, raw.number, made_at, valid_until, raw.salt,
        raw.commitment,
    )


def check_promise(signed: bytes, signature: bytes, verifier: SiteVerifier) -> None:
    """Check that an officer made a promise.

    Raises:
        ApprovalError: The signature does not fit.
    """
    try:
        verifier.verify(PROMISE_CONTEXT, signed, signature)
    except IdentityError as error:
        raise ApprovalError(
            "a promise of an approval does not fit its officer's card: it was altered, or the card is another one",
            "let the officer make new codes with 'jbackupd officer codes'",
        ) from error


def encode_book(promises: Sequence[SignedPromise]) -> bytes:
    """Return the file that goes to the sites."""
    return MAGIC + msgspec.msgpack.encode([(each.signed, each.signature) for each in promises])


def decode_book(data: bytes) -> tuple[SignedPromise, ...]:
    """Decode a file of promises, at least one, all of one officer and moment; signatures are not checked.

    Raises:
        FormatError: The bytes are no such file.
    """
    if not data.startswith(MAGIC) or len(data) > BOOK_BYTES_MAX:
        raise FormatError("the file holds no promises of an officer", "use the file that 'jbackupd officer codes' made")
    try:
        raw = _book_decoder.decode(data[len(MAGIC) :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the file of promises is malformed") from error
    found = tuple(SignedPromise(decode_promise(signed), signed, signature) for signed, signature in raw)
    if (
        not 1 <= len(found) <= PROMISES_MAX or len({each.id for each in found}) != len(found)
        or len({(each.promise.officer, each.promise.made_at) for each in found}) != 1
        or any(len(each.signature) != SIGNATURE_BYTES for each in found)
    ):
        raise FormatError("the file of promises is out of range")
    return found


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
