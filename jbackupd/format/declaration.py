"""A declaration: people say that a site is lost, and who acts for it from now on.

    offset  size  field
    0       8     magic "JBDECL" 0x01 0x00
    8       4     s, little endian u32
    12      s     statement, msgpack array in the order of `_RawStatement`
    12+s    ...   approvals, msgpack array of [officer id, signature] and [officer id, signature, promise, code]

Where lost and acting site are one, it is a return: the site acts for itself again.

An approval is an officer's signature (codec.signing, context APPROVAL_CONTEXT) over the statement's
bytes. One by `site:NAME` is the release of the site that acted until then (context RELEASE_CONTEXT): it
has stopped. So approvals can be made apart, on paper-thin media, without the lost site and without a
network, and put together by anybody: who receives a declaration checks it against its own list of officers.

An approval with a code was given by telephone: the signature is over a promise (format.promise) that the officer
made beforehand, and the code opens it. It counts for a loss, and only for the sites and the epoch of the promise.
Once told, a code is no secret: anybody may put it under another statement with the same sites and epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import blake3
import msgspec

from jbackupd.codec.dictated import is_dictated
from jbackupd.codec.signing import SIGNATURE_BYTES, SiteSigner, SiteVerifier
from jbackupd.format.promise import Promise, SignedPromise, check_promise, decode_promise
from jbackupd.model.errors import ApprovalError, FormatError, IdentityError, RefusedError
from jbackupd.model.ids import SiteId, is_word

MAGIC = b"JBDECL\x01\x00"
APPROVAL_CONTEXT = b"jbackupd 1 loss approval"
RELEASE_CONTEXT = b"jbackupd 1 acting released"
RELEASE_PREFIX = "site:"
"""No officer's name holds a colon."""
DECLARATION_BYTES_MAX = 256 * 1024
APPROVALS_MAX = 32
REASON_CHARACTERS_MAX = 2000
NONCE_BYTES = 16
RETURN_EPOCH_MIN = 3
"""A return follows a loss, whose epoch is at least 2."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is declared.

    Attributes:
        lost: The site that no longer acts.
        epoch: The epoch from which on it does not; one more than the one in force.
        acting: The site that acts for it.
        made_at: When the declaration was begun, aware UTC.
        reason: In the words of who began it.
        evidence: 32 bytes, BLAKE3 of the evidence page that was shown.
        nonce: 16 random bytes.
        planned: It counts only once the site that acts now has released it: a hand-over; a return always is one.
    """

    lost: SiteId
    epoch: int
    acting: SiteId
    made_at: datetime
    reason: str
    evidence: bytes
    nonce: bytes
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """An officer's word.

    Attributes:
        signature: Under the statement; under the promise where there is a code.
        promise: Its bytes; empty for a signature under the statement.
        code: What the officer read out, digits only; empty for a signature under the statement.
    """

    officer: str
    signature: bytes
    promise: bytes = b""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A statement with its approvals so far."""

    statement: Statement
    signed: bytes
    approvals: tuple[Approval, ...] = ()

    @property
    def id(self) -> str:
        """Eight hex digits to name it by: enough among the declarations of a lifetime."""
        return blake3.blake3(self.signed).hexdigest()[:8]

    @property
    def is_return(self) -> bool:
        """Whether the site is to act for itself again."""
        return self.statement.lost == self.statement.acting

    @property
    def needs_release(self) -> bool:
        """Whether it counts only once the site that acts now has signed that it stopped."""
        return self.statement.planned or self.is_return

    @property
    def officers(self) -> tuple[Approval, ...]:
        """The approvals of people."""
        return tuple(a for a in self.approvals if not a.officer.startswith(RELEASE_PREFIX))

    def release_of(self, site: SiteId) -> Approval | None:
        """Return a site's release, unchecked; None if there is none."""
        return next((a for a in self.approvals if a.officer == RELEASE_PREFIX + site), None)

    def with_approval(self, approval: Approval) -> Declaration:
        """Return the declaration with one approval more; one of the same officer is replaced."""
        others = tuple(a for a in self.approvals if a.officer != approval.officer)
        return replace(self, approvals=(*others, approval))


class _RawStatement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    lost: str
    epoch: int
    acting: str
    made_at: int
    reason: str
    evidence: bytes
    nonce: bytes
    planned: bool = False


_statement_decoder = msgspec.msgpack.Decoder(_RawStatement)
class _RawApproval(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    officer: str
    signature: bytes
    promise: bytes = b""
    code: str = ""


_approvals_decoder = msgspec.msgpack.Decoder(list[_RawApproval])


def declare(statement: Statement) -> Declaration:
    """Return a declaration without approvals.

    Raises:
        RefusedError: A site would be declared lost in favour of itself, and it is no return.
    """
    if statement.lost == statement.acting and statement.epoch < RETURN_EPOCH_MIN:
        raise RefusedError("a site cannot declare itself lost", "declare it from the site that takes over")
    raw = _RawStatement(
        statement.lost, statement.epoch, statement.acting, (statement.made_at - _EPOCH) // timedelta(microseconds=1),
        statement.reason[:REASON_CHARACTERS_MAX], statement.evidence, statement.nonce, statement.planned,
    )
    return decode_declaration(_join(msgspec.msgpack.encode(raw), ()))


def encode_declaration(declaration: Declaration) -> bytes:
    """Return a declaration's bytes."""
    return _join(declaration.signed, declaration.approvals)


def decode_declaration(data: bytes) -> Declaration:
    """Decode a declaration without checking its approvals.

    Raises:
        FormatError: The bytes are not a declaration.
    """
    if not data.startswith(MAGIC) or not 12 <= len(data) <= DECLARATION_BYTES_MAX:
        raise FormatError("the bytes are not a declaration")
    (length,) = struct.unpack_from("<I", data, 8)
    signed = data[12 : 12 + length]
    try:
        raw = _statement_decoder.decode(signed)
        approvals = _approvals_decoder.decode(data[12 + length :])
        made_at = _EPOCH + timedelta(microseconds=raw.made_at)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise FormatError("the declaration is malformed") from error
    if (
        not is_word(raw.lost) or not is_word(raw.acting)
        or raw.epoch < (RETURN_EPOCH_MIN if raw.lost == raw.acting else 2)
        or len(raw.evidence) != 32 or len(raw.nonce) != NONCE_BYTES or len(raw.reason) > REASON_CHARACTERS_MAX
        or len(approvals) > APPROVALS_MAX or any(len(approval.signature) != SIGNATURE_BYTES for approval in approvals)
        or any((approval.promise or approval.code) and not is_dictated(approval.code) for approval in approvals)
    ):
        raise FormatError("the declaration is out of range")
    for approval in approvals:
        if approval.code:
            decode_promise(approval.promise)
    statement = Statement(
        SiteId(raw.lost), raw.epoch, SiteId(raw.acting), made_at, raw.reason, raw.evidence, raw.nonce, raw.planned
    )
    given = (Approval(raw.officer, raw.signature, raw.promise, raw.code) for raw in approvals)
    return Declaration(statement, signed, tuple(given))


def approve(declaration: Declaration, officer: str, signer: SiteSigner) -> Approval:
    """Return an officer's approval of a declaration."""
    return Approval(officer, signer.sign(APPROVAL_CONTEXT, declaration.signed))


def approve_by_code(promise: SignedPromise, code: str) -> Approval:
    """Return the approval of the officer who made a promise and told its code."""
    return Approval(promise.promise.officer, promise.signature, promise.signed, code)


def fits(promise: Promise, statement: Statement) -> bool:
    """Tell whether a promise is about what a statement says: a loss, its sites and epoch, begun while it was valid."""
    return (
        (promise.lost, promise.acting, promise.epoch) == (statement.lost, statement.acting, statement.epoch)
        and not statement.planned and statement.made_at <= promise.valid_until
    )


def release(declaration: Declaration, site: SiteId, signer: SiteSigner) -> Approval:
    """Return the release of the site that acted until a declaration: sign it only once that has durably stopped."""
    return Approval(RELEASE_PREFIX + site, signer.sign(RELEASE_CONTEXT, declaration.signed))


def is_released(declaration: Declaration, site: SiteId, verifier: SiteVerifier | None) -> bool:
    """Tell whether a site has released a declaration.

    Raises:
        ApprovalError: What claims to be its release does not fit.
    """
    found = declaration.release_of(site)
    if found is None or verifier is None:
        return False
    try:
        verifier.verify(RELEASE_CONTEXT, declaration.signed, found.signature)
    except IdentityError as error:
        raise ApprovalError(
            "the release of {site} does not fit the declaration {id}: it was altered, or made for another one",
            "let {site} hand it over again", site=site, id=declaration.id,
        ) from error
    return True


def check_approvals(declaration: Declaration, officers: Mapping[str, SiteVerifier], *, needed: int) -> None:
    """Check that enough known officers have approved.

    An officer who is not known here counts for nothing: the lists of two sites may differ for a while, and enough
    others are enough. A known officer's signature that does not fit is always refused.

    Raises:
        RefusedError: There are too few; the message tells how many count, the hint what to do.
        ApprovalError: A signature does not fit, or there are too few and one is of nobody known; the message names
            the officer.
    """
    strangers = [approval.officer for approval in declaration.officers if approval.officer not in officers]
    approved = {approval.officer for approval in declaration.officers if approval.officer in officers}
    for approval in declaration.officers:
        if approval.officer in approved:
            check = _check_code if approval.code else _check_signature
            check(declaration, approval, officers[approval.officer])
    if len(approved) >= needed:
        return
    if strangers:
        raise ApprovalError(
            "{officer} approved the declaration {id} but is no officer here",
            "add the officer's card to the configuration, if that is right",
            officer=", ".join(strangers), id=declaration.id,
        )
    raise RefusedError(
        "the declaration {id} has {given} of {needed} approvals",
        "let another officer approve it with 'jbackupd site approve {id}'",
        id=declaration.id, given=len(approved), needed=needed,
    )


def _check_signature(declaration: Declaration, approval: Approval, verifier: SiteVerifier) -> None:
    try:
        verifier.verify(APPROVAL_CONTEXT, declaration.signed, approval.signature)
    except IdentityError as error:
        raise ApprovalError(
            "the approval of {officer} does not fit the declaration {id}: it was altered, or made for another one",
            "let the officer approve it again", officer=approval.officer, id=declaration.id,
        ) from error


def _check_code(declaration: Declaration, approval: Approval, verifier: SiteVerifier) -> None:
    promise = decode_promise(approval.promise)
    check_promise(approval.promise, approval.signature, verifier)
    # The code last: it costs the most, and only an officer's own promise may ask for it.
    if (
        promise.officer != approval.officer or not fits(promise, declaration.statement)
        or not promise.opened_by(approval.code)
    ):
        raise ApprovalError(
            "the code of {officer} does not approve the declaration {id}: it is for another site or epoch, or wrong",
            "let the officer read the code on the line of these sites and this epoch", officer=approval.officer,
            id=declaration.id,
        )


def _join(signed: bytes, approvals: tuple[Approval, ...]) -> bytes:
    tail = msgspec.msgpack.encode([
        (approval.officer, approval.signature, *((approval.promise, approval.code) if approval.code else ()))
        for approval in approvals
    ])
    return MAGIC + struct.pack("<I", len(signed)) + signed + tail
