"""A record of what was done to a tenant's keys: signed by the site that did it, stored as a key object of role 5.

Where other key objects have something sealed, a record has

    offset  size  field
    0       s     statement, msgpack array [kind, tenant, site, made at, body]
    s       3373  signature over the statement: Ed25519 64, ML-DSA-65 3309 (codec.signing), context SIGNING_CONTEXT

    kind 1, recovery: everything is sealed to another recovery key from now on
        body   [number, recovery key, key before, share set 8, shares needed, shares made]
    kind 2, erased: the private key of an epoch was destroyed
        body   [epoch, label, destroyed, lost points, points kept, packs lost, bytes of packs lost, moved, details]
        destroyed are the names of the key objects that held the private key, 32 bytes each
        a lost point is [dataset, sequence, name 32]
        moved says where what was still needed of a pack is now: [pack 32, [pack 32, ...]], ...; whoever has these
        packs must not read the former any more
        details   nonce 12, then AES-256-GCM under the tenant's record key (codec.hashing), associated data
                  "jbackupd 1 record " ‖ tenant, of a msgpack array
                  [asked by, reason, share set 8, share numbers, [[dataset, sequence, files, source bytes], ...]]

The id of the key object is the first 16 bytes of the BLAKE3 of the statement. Keys are named by their 16-byte
fingerprints. Times are microseconds since 1970, UTC. The number of a recovery record counts from 2: it is that of
the recovery key. What a holder without keys sees anyway is clear; who, why, and how much is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, TypeVar

import blake3
import msgspec

from jbackupd.codec.hpke import FINGERPRINT_BYTES
from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.codec.shares import SET_BYTES
from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.format.header import encode_header
from jbackupd.format.key import ID_BYTES, LABEL_CHARACTERS_MAX, NO_RECIPIENT, KeyObject, KeyRole
from jbackupd.model.errors import DamageError, FormatError
from jbackupd.model.ids import OBJECT_NAME_BYTES, DatasetId, ObjectKind, ObjectName, SiteId, TenantId, is_word

SIGNING_CONTEXT = b"jbackupd 1 key record"
TEXT_CHARACTERS_MAX = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T", bound=msgspec.Struct)


class RecordKind(IntEnum):
    """What was done; numbers are part of format 1."""

    RECOVERY = 1
    ERASED = 2


@dataclass(frozen=True, slots=True)
class RecoveryChange:
    """Everything is sealed to another recovery key.

    Attributes:
        number: Of the recovery key, from 2; the first one has no record.
        recovery: Fingerprint of the new key.
        before: Fingerprint of the one that it follows.
        set_id: Of the new shares.
    """

    number: int
    recovery: bytes
    before: bytes
    set_id: bytes
    threshold: int
    count: int


@dataclass(frozen=True, slots=True)
class LostPoint:
    """A point that was made unreadable."""

    dataset: DatasetId
    sequence: int
    name: ObjectName

    def __str__(self) -> str:
        return f"{self.dataset}@{self.sequence}"


@dataclass(frozen=True, slots=True)
class Erasure:
    """The private key of an epoch was destroyed.

    Attributes:
        epoch: Its fingerprint.
        destroyed: The key objects that held it; copies of them elsewhere hold it still.
        lost: Points of the vault that nobody can read any more.
        points_kept: Points of that epoch that stay readable.
        packs: Packs that nobody can read any more.
        pack_bytes: Their bytes.
        moved: For each pack of which a part was still needed, the packs that hold this part now. They are needed as
            long as a point needs the pack.
        details: Sealed; see `open_details`.
    """

    epoch: bytes
    label: str
    destroyed: tuple[ObjectName, ...]
    lost: tuple[LostPoint, ...]
    points_kept: int
    packs: int
    pack_bytes: int
    moved: tuple[tuple[ObjectName, tuple[ObjectName, ...]], ...]
    details: bytes


@dataclass(frozen=True, slots=True)
class LostContent:
    """What a lost point held; None where nobody could open it any more to count."""

    dataset: DatasetId
    sequence: int
    files: int | None
    source_bytes: int | None


@dataclass(frozen=True, slots=True)
class Details:
    """Who wanted an erasure and why, and how much it took.

    Attributes:
        set_id: Of the shares that were given.
        shares: Their numbers, sorted.
    """

    asked_by: str
    reason: str
    set_id: bytes
    shares: tuple[int, ...]
    contents: tuple[LostContent, ...]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A decoded record; its signature is not checked yet, see `verify_record`."""

    tenant: TenantId
    site: SiteId
    made_at: datetime
    what: RecoveryChange | Erasure
    signed: bytes
    signature: bytes


class _RawRecovery(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    number: int
    recovery: bytes
    before: bytes
    set_id: bytes
    threshold: int
    count: int


class _RawErasure(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    epoch: bytes
    label: str
    destroyed: list[bytes]
    lost: list[tuple[str, int, bytes]]
    points_kept: int
    packs: int
    pack_bytes: int
    moved: list[tuple[bytes, list[bytes]]]
    details: bytes


class _RawDetails(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    asked_by: str
    reason: str
    set_id: bytes
    shares: list[int]
    contents: list[tuple[str, int, int | None, int | None]]


_statement_decoder = msgspec.msgpack.Decoder(tuple[int, str, str, int, msgspec.Raw])


def encode_record(
    what: RecoveryChange | Erasure, *, tenant: TenantId, site: SiteId, made_at: datetime, signer: SiteSigner
) -> bytes:
    """Return a signed record as a key object."""
    kind = RecordKind.RECOVERY if isinstance(what, RecoveryChange) else RecordKind.ERASED
    microseconds = (made_at - _EPOCH) // timedelta(microseconds=1)
    signed = msgspec.msgpack.encode((int(kind), tenant, site, microseconds, _raw(what)))
    return encode_header(ObjectKind.KEY) + msgspec.msgpack.encode((
        int(KeyRole.RECORD), tenant, _digest(signed), kind.name.lower(), b"", NO_RECIPIENT,
        signed + signer.sign(SIGNING_CONTEXT, signed),
    ))


def decode_record(key: KeyObject) -> KeyRecord:
    """Decode what a key object of role 5 holds, without checking its signature.

    Raises:
        FormatError: It is not a record.
    """
    signed, signature = key.sealed[:-SIGNATURE_BYTES], key.sealed[-SIGNATURE_BYTES:]
    if key.role is not KeyRole.RECORD or len(signature) != SIGNATURE_BYTES or _digest(signed) != key.id:
        raise FormatError("a record of the keys is malformed")
    try:
        kind, tenant, site, made_at, body = _statement_decoder.decode(signed)
        moment = _EPOCH + timedelta(microseconds=made_at)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise FormatError("a record of the keys is malformed") from error
    if tenant != key.tenant or not is_word(site):
        raise FormatError("a record of the keys is out of range")
    what: RecoveryChange | Erasure
    if kind == RecordKind.RECOVERY:
        what = _recovery(_decoded(body, _RawRecovery))
    elif kind == RecordKind.ERASED:
        what = _erasure(_decoded(body, _RawErasure))
    else:
        raise FormatError("a record of the keys is of a kind that is not known here")
    return KeyRecord(TenantId(tenant), SiteId(site), moment, what, signed, signature)


def verify_record(record: KeyRecord, verifier: SiteVerifier) -> None:
    """Check that a site signed a record.

    Raises:
        IdentityError: It did not, or a bit has changed.
    """
    verifier.verify(SIGNING_CONTEXT, record.signed, record.signature)


def moved_packs(records: Iterable[KeyRecord]) -> dict[ObjectName, frozenset[ObjectName]]:
    """Return for each pack that does not count any more the packs that hold what is still needed of it.

    A frame that moved may be encoded otherwise, and what it was a delta against before may be gone: a reader that has
    the new packs must not look into the old one, wherever it still opens.
    """
    found: dict[ObjectName, set[ObjectName]] = {}
    for record in records:
        if isinstance(record.what, Erasure):
            for pack, new in record.what.moved:
                found.setdefault(pack, set()).update(new)
    return {pack: frozenset(_last_places(pack, found)) for pack in found}


def _last_places(pack: ObjectName, moved: Mapping[ObjectName, set[ObjectName]]) -> set[ObjectName]:
    """Follow packs that moved more than once; a hostile record may lead in circles."""
    seen, level, found = {pack}, moved[pack], set[ObjectName]()
    while level:
        found |= {name for name in level if name not in moved}
        seen |= level
        level = {new for name in level if name in moved for new in moved[name]} - seen
    return found


def seal_details(details: Details, record_key: bytes, *, tenant: TenantId) -> bytes:
    """Return details sealed to who has the tenant's secret."""
    raw = _RawDetails(
        details.asked_by[:TEXT_CHARACTERS_MAX], details.reason[:TEXT_CHARACTERS_MAX], details.set_id,
        list(details.shares), [(str(c.dataset), c.sequence, c.files, c.source_bytes) for c in details.contents],
    )
    return seal_blob(record_key, msgspec.msgpack.encode(raw), context=_context(tenant))


def open_details(sealed: bytes, record_key: bytes, *, tenant: TenantId) -> Details:
    """Return the details of an erasure.

    Raises:
        KeyringError: They were sealed for another tenant, or a bit has changed.
        FormatError: They are malformed.
    """
    raw = _decoded(msgspec.Raw(open_blob(record_key, sealed, context=_context(tenant))), _RawDetails)
    try:
        contents = tuple(
            LostContent(_dataset(name), sequence, files, size) for name, sequence, files, size in raw.contents
        )
    except DamageError as error:
        raise FormatError("the details of a record are out of range") from error
    return Details(raw.asked_by, raw.reason, raw.set_id, tuple(raw.shares), contents)


def _raw(what: RecoveryChange | Erasure) -> Any:
    if isinstance(what, RecoveryChange):
        return _RawRecovery(what.number, what.recovery, what.before, what.set_id, what.threshold, what.count)
    lost = [(str(point.dataset), point.sequence, bytes(point.name)) for point in what.lost]
    return _RawErasure(
        what.epoch, what.label, list(what.destroyed), lost, what.points_kept, what.packs, what.pack_bytes,
        [(pack, list(new)) for pack, new in what.moved], what.details,
    )


def _recovery(raw: _RawRecovery) -> RecoveryChange:
    if (
        raw.number < 2 or len(raw.recovery) != FINGERPRINT_BYTES or len(raw.before) != FINGERPRINT_BYTES
        or len(raw.set_id) != SET_BYTES or not 1 <= raw.threshold <= raw.count <= 255
    ):
        raise FormatError("a record of the keys is out of range")
    return RecoveryChange(raw.number, raw.recovery, raw.before, raw.set_id, raw.threshold, raw.count)


def _erasure(raw: _RawErasure) -> Erasure:
    if (
        len(raw.epoch) != FINGERPRINT_BYTES or len(raw.label) > LABEL_CHARACTERS_MAX
        or min(raw.points_kept, raw.packs, raw.pack_bytes) < 0
        or any(len(name) != OBJECT_NAME_BYTES for name in raw.destroyed)
        or any(len(name) != OBJECT_NAME_BYTES for pack, new in raw.moved for name in (pack, *new))
        or any(sequence < 1 or len(name) != OBJECT_NAME_BYTES for _, sequence, name in raw.lost)
    ):
        raise FormatError("a record of the keys is out of range")
    lost = tuple(LostPoint(_dataset(dataset), sequence, ObjectName(name)) for dataset, sequence, name in raw.lost)
    return Erasure(
        raw.epoch, raw.label, tuple(map(ObjectName, raw.destroyed)), lost, raw.points_kept, raw.packs, raw.pack_bytes,
        tuple((ObjectName(pack), tuple(map(ObjectName, new))) for pack, new in raw.moved), raw.details,
    )


def _dataset(text: str) -> DatasetId:
    tenant, slash, name = text.partition("/")
    if not slash or not is_word(tenant) or not is_word(name):
        raise FormatError("a record of the keys is out of range")
    return DatasetId(TenantId(tenant), name)


def _decoded(data: msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("a record of the keys is malformed") from error


def _digest(signed: bytes) -> bytes:
    return blake3.blake3(signed).digest(ID_BYTES)


def _context(tenant: TenantId) -> bytes:
    return b"jbackupd 1 record " + tenant.encode()
