"""An expiry: a site's signed statement of what it removes from its own copy of a vault, written before it does.

    offset  size  field
    0       4     magic "JBKP"
    4       1     format version, 1
    5       1     6, expiry
    6       2     reserved, 0
    8       s     statement, msgpack array [tenant, site, epoch, made at, removed, moved]
    8+s     3373  signature over all before it: Ed25519 64, ML-DSA-65 3309 (codec.signing), context SIGNING_CONTEXT

    removed   [[dataset, sequence, name of the point 32, reason], ...]
    moved     [[pack 32, new pack 32], ...]

A removed point stays listed, since the chain needs it; what only removed points need may be gone. A moved pack counts
as gone once the new pack is there: it holds what was still needed, under the same frame ids. Both are true of
the vault that the object lies in and of no other: it is never shipped.

Times are microseconds since 1970, UTC, by the site's clock. Reasons are words of policy.retention.Reason, and
"not-held": the content was removed where it came from before it came here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.format.header import FORMAT_VERSION, HEADER_BYTES, MAGIC
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import OBJECT_NAME_BYTES, DatasetId, ObjectName, SiteId, TenantId, is_word

KIND = 6
"""Follows the kinds of vault objects; not one of them, since no peer takes or gives it."""
NOT_HELD = "not-held"
SIGNING_CONTEXT = b"jbackupd 1 expiry"
_HEADER = MAGIC + bytes((FORMAT_VERSION, KIND, 0, 0))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RemovedPoint:
    """A point whose content is given up at this site."""

    dataset: DatasetId
    sequence: int
    name: ObjectName
    reason: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """What a site removes from its copy of a vault.

    Attributes:
        moved: Packs that are given up, each with the pack that holds what is still needed of it.
    """

    tenant: TenantId
    site: SiteId
    epoch: int
    made_at: datetime
    removed: tuple[RemovedPoint, ...] = ()
    moved: tuple[tuple[ObjectName, ObjectName], ...] = ()


class _Raw(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    tenant: str
    site: str
    epoch: int
    made_at: int
    removed: list[tuple[str, int, bytes, str]]
    moved: list[tuple[bytes, bytes]]


_decoder = msgspec.msgpack.Decoder(_Raw)


def encode_expiry(expiry: Expiry, signer: SiteSigner) -> bytes:
    """Return a signed expiry object."""
    raw = _Raw(
        expiry.tenant, expiry.site, expiry.epoch, (expiry.made_at - _EPOCH) // timedelta(microseconds=1),
        [(point.dataset.name, point.sequence, point.name, point.reason) for point in expiry.removed],
        list(expiry.moved),
    )
    signed = _HEADER + msgspec.msgpack.encode(raw)
    return signed + signer.sign(SIGNING_CONTEXT, signed)


def decode_expiry(data: bytes) -> Expiry:
    """Decode an expiry without checking its signature.

    Raises:
        FormatError: The bytes are not an expiry of format 1.
    """
    if data[:HEADER_BYTES] != _HEADER or len(data) <= HEADER_BYTES + SIGNATURE_BYTES:
        raise FormatError("the expiry object does not begin like one, or is cut off")
    try:
        raw = _decoder.decode(data[HEADER_BYTES:-SIGNATURE_BYTES])
        made_at = _EPOCH + timedelta(microseconds=raw.made_at)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise FormatError("the expiry object is malformed") from error
    names = [point[2] for point in raw.removed] + [name for pair in raw.moved for name in pair]
    words = [raw.tenant, raw.site, *(word for point in raw.removed for word in (point[0], point[3]))]
    if (
        not all(map(is_word, words)) or any(len(name) != OBJECT_NAME_BYTES for name in names)
        or raw.epoch < 0 or any(point[1] < 1 for point in raw.removed)
    ):
        raise FormatError("the expiry object names something impossible")
    tenant = TenantId(raw.tenant)
    return Expiry(
        tenant, SiteId(raw.site), raw.epoch, made_at,
        tuple(RemovedPoint(DatasetId(tenant, d), n, ObjectName(name), why) for d, n, name, why in raw.removed),
        tuple((ObjectName(old), ObjectName(new)) for old, new in raw.moved),
    )


def verify_expiry(data: bytes, verifier: SiteVerifier) -> Expiry:
    """Decode an expiry and check that its site signed it.

    Raises:
        FormatError: The bytes are not an expiry of format 1.
        IdentityError: The signature is not that site's.
    """
    expiry = decode_expiry(data)
    verifier.verify(SIGNING_CONTEXT, data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:])
    return expiry
