"""A receipt: a site's signed statement that it holds a point and all that the point needs.

    offset  size  field
    0       8     object header, kind 5 (format.header)
    8       1     t, 1 to 32
    9       t     tenant, ASCII
    ..      1     d, 1 to 32
    ..      d     dataset, ASCII
    ..      8     sequence, unsigned little endian, 1 or more
    ..      32    name of the point
    ..      1     s, 1 to 32
    ..      s     site that holds it, ASCII
    ..      8     received at, by the holder's clock: microseconds since 1970, UTC, signed little endian
    ..      4     number of objects that the point needs, unsigned little endian
    ..      3373  signature over all bytes before it: Ed25519 64, ML-DSA-65 3309 (codec.signing)

The object ends there. A receipt never expires; it says what was held when it was given. Two receipts for one sequence
and different points prove a fork; one for a higher sequence than a site shows proves a step back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.format.header import HEADER_BYTES, check_header, encode_header
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import (
    OBJECT_NAME_BYTES,
    DatasetId,
    ObjectKind,
    ObjectName,
    SiteId,
    TenantId,
    is_word,
)

SIGNING_CONTEXT = b"jbackupd 1 receipt"
RECEIPT_BYTES_MAX = HEADER_BYTES + 3 * 33 + 8 + OBJECT_NAME_BYTES + 8 + 4 + SIGNATURE_BYTES
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a holder states.

    Attributes:
        received_at: When all was there, by the holder's own clock.
        objects: How many objects the point needs; all of them were there, whole.
    """

    dataset: DatasetId
    sequence: int
    point: ObjectName
    holder: SiteId
    received_at: datetime
    objects: int


def encode_receipt(receipt: Receipt, signer: SiteSigner) -> bytes:
    """Return a signed receipt object."""
    microseconds = (receipt.received_at - _EPOCH) // timedelta(microseconds=1)
    signed = b"".join((
        encode_header(ObjectKind.RECEIPT),
        _word(receipt.dataset.tenant), _word(receipt.dataset.name),
        struct.pack("<Q", receipt.sequence), receipt.point,
        _word(receipt.holder), struct.pack("<qI", microseconds, receipt.objects),
    ))
    return signed + signer.sign(SIGNING_CONTEXT, signed)


def decode_receipt(data: bytes) -> Receipt:
    """Decode a receipt without checking its signature.

    Raises:
        FormatError: The bytes are not a receipt of format 1.
    """
    check_header(data, ObjectKind.RECEIPT)
    reader = _Reader(data, HEADER_BYTES)
    tenant, dataset = reader.word(), reader.word()
    (sequence,) = struct.unpack("<Q", reader.take(8))
    point = reader.take(OBJECT_NAME_BYTES)
    holder = reader.word()
    microseconds, objects = struct.unpack("<qI", reader.take(12))
    reader.take(SIGNATURE_BYTES)
    if reader.position != len(data) or sequence < 1:
        raise FormatError("the receipt has bytes behind its end, or counts from 0")
    moment = _moment(microseconds)
    return Receipt(DatasetId(TenantId(tenant), dataset), sequence, ObjectName(point), SiteId(holder), moment, objects)


def verify_receipt(data: bytes, verifier: SiteVerifier) -> Receipt:
    """Decode a receipt and check that its holder signed it.

    Args:
        data: The receipt object.
        verifier: The pinned public key of the site that it names.

    Raises:
        FormatError: The bytes are not a receipt of format 1.
        IdentityError: The signature is not that site's.
    """
    receipt = decode_receipt(data)
    verifier.verify(SIGNING_CONTEXT, data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:])
    return receipt


class _Reader:
    """Takes bytes one after the other; knows where they end."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def take(self, length: int) -> bytes:
        begin, self.position = self.position, self.position + length
        if self.position > len(self._data):
            raise FormatError("the receipt is cut off")
        return bytes(self._data[begin : self.position])

    def word(self) -> str:
        text = self.take(self.take(1)[0])
        if not text.isascii() or not is_word(text.decode("ascii")):
            raise FormatError("the receipt names something impossible")
        return text.decode("ascii")


def _word(text: str) -> bytes:
    return bytes((len(text),)) + text.encode("ascii")


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise FormatError("the receipt's time is out of range") from error
