"""Splitting a recovery seed into k-of-n shares, and getting it back or saying which share is bad.

Each byte of the secret is the constant term of a polynomial of degree k - 1 over GF(256) with
uniformly random other coefficients; share i holds its value at x = i. What makes it safe to use is
the envelope: a set id, the threshold, the index, a commitment to the secret, a check of every line
and of the whole. The text form is

    jbackupd share 1
    for imari: share 2 of 3, 2 needed, set 3f2a91c07b55d1e8
    01 MHQ7-B3XK-...-4CAA 2Z9G       codec.paper
    ...

Only the numbered lines are read; the two above are for people. The lines' bytes are

    offset  size  field
    0       1     version, 1
    1       8     set id
    9       1     threshold k, 1 to 255
    10      1     count n, k to 255
    11      1     index, 1 to n
    12      1     length of the label in bytes
    13      l     label: whose secret it is, printable ASCII
    13+l    1     length of the secret
    14+l    s     the polynomials' values at the index
    ...     32    commitment: keyed BLAKE3 of the secret, key = BLAKE3 of set id and label
    ...     8     check: first bytes of the BLAKE3 of everything before

Source: Shamir, "How to Share a Secret", CACM 1979; RUSTSEC-2024-0398 for why no coefficient is left
out; Shamir alone tells nothing of a wrong share, which is what the commitment is for.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice

import blake3

from jbackupd.codec.gf256 import evaluate, interpolate
from jbackupd.codec.paper import bytes_of, lines_of, text_of
from jbackupd.model.errors import ShareError, UsageError

VERSION = 1
TITLE = "jbackupd share 1"
SET_BYTES = 8
COMMITMENT_BYTES = 32
CHECK_BYTES = 8
SUBSETS_MAX = 5000
"""About ten seconds; enough for any four bad ones among sixteen shares."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of the n parts of a secret.

    Attributes:
        source: Where it was read from, for messages; a file's name.
    """

    set_id: bytes
    threshold: int
    count: int
    index: int
    label: str
    values: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    source: str = ""

    @property
    def title(self) -> str:
        """How messages name this share."""
        return self.source or f"share {self.index}"

    def to_text(self) -> str:
        """Return the share's text; every line is plain ASCII."""
        who = f"for {self.label}: share {self.index} of {self.count}, {self.threshold} needed, set {self.set_id.hex()}"
        return "\n".join((TITLE, who, *lines_of(_encode(self)))) + "\n"

    @classmethod
    def from_file(cls, data: bytes, *, source: str) -> Share:
        """Read a share's file, as it was written or as a person's editor saved it; see `from_text`."""
        return cls.from_text(text_of(data), source=source)

    @classmethod
    def from_text(cls, text: str, *, source: str) -> Share:
        """Read a share's text.

        Args:
            text: As printed; case, hyphens, spaces and what is around it do not matter.
            source: What messages call it.

        Raises:
            ShareError: A line is mistyped or missing; the message names the source and the line.
        """
        data = bytes_of(text, source)
        if not data:
            raise ShareError("{share} holds no share", "give a file as 'jbackupd vault init' wrote it", share=source)
        return _decode(data, source)


def split(
    secret: bytes, *, threshold: int, count: int, label: str, random: Callable[[int], bytes] = secrets.token_bytes
) -> list[Share]:
    """Split a secret so that any `threshold` of `count` shares give it back, and fewer say nothing of it.

    Args:
        secret: 1 to 255 bytes.
        label: Whose secret it is, at most 255 printable ASCII characters; stands on every share.
        random: Gives uniformly random bytes.

    Raises:
        UsageError: The numbers are impossible.
    """
    if not 1 <= threshold <= count <= 255:
        raise UsageError(
            "unable to split into {threshold}-of-{count} shares", "write for example 2-of-3",
            threshold=threshold, count=count,
        )
    if not 1 <= len(secret) <= 255 or len(label) > 255 or not _is_plain(label):
        raise ValueError("the secret or its label is too long to be shared, or the label is not printable ASCII")
    set_id = random(SET_BYTES)
    commitment = _commitment(secret, set_id, label)
    coefficients = [secret, *(random(len(secret)) for _ in range(threshold - 1))]
    return [
        Share(set_id, threshold, count, index, label, evaluate(coefficients, index), commitment)
        for index in range(1, count + 1)
    ]


def combine(shares: Sequence[Share]) -> bytes:
    """Return the secret of which these are shares; never anything else.

    Raises:
        ShareError: There are too few, two are the same, one is of another set, or one is bad; the message
            names it.
    """
    _check_set(shares)
    first = shares[0]
    secret = _secret_of(shares[: first.threshold])
    if _fits(secret, first) and all(_lies_on(share, shares[: first.threshold]) for share in shares):
        return secret
    raise _name_the_bad(shares)


def _check_set(shares: Sequence[Share]) -> None:
    if not shares:
        raise ShareError("no share was given", "give each share's file with --share FILE")
    usual = Counter(map(_set_of, shares)).most_common(1)[0][0]
    first = next(share for share in shares if _set_of(share) == usual)
    seen: dict[int, Share] = {}
    for share in shares:
        if _set_of(share) != usual:
            raise ShareError(
                "{share} is of another set than {first}", "use shares that were made together, for one tenant",
                share=share.title, first=first.title,
            )
        if share.index in seen:
            raise ShareError(
                "{share} is the same share as {other}", "use shares of different holders",
                share=share.title, other=seen[share.index].title,
            )
        seen[share.index] = share
    if len(shares) < first.threshold:
        raise ShareError(
            "{given} of the {needed} shares of {label} that are needed were given",
            "ask another holder for a share", given=len(shares), needed=first.threshold, label=first.label,
        )


def _set_of(share: Share) -> tuple[object, ...]:
    """Return what all shares of one set have in common."""
    return share.set_id, share.label, share.threshold, share.count, share.commitment, len(share.values)


def _name_the_bad(shares: Sequence[Share]) -> ShareError:
    """Find which shares do not belong, by leaving some out; a check line does not stop who forges."""
    first = shares[0]
    for subset in islice(_smaller(shares, first.threshold), SUBSETS_MAX):
        if _fits(_secret_of(subset), first):
            bad = [share.title for share in shares if not _lies_on(share, subset)]
            return ShareError(
                "these shares are bad: {bad}", "use the others; ask the holders of the bad ones for the originals",
                bad=", ".join(bad),
            )
    return ShareError(
        "these shares do not give the key of {label}: at least one of {titles} is bad",
        "ask another holder for a share: with one more, the bad one can be told",
        label=first.label, titles=", ".join(share.title for share in shares),
    )


def _smaller(shares: Sequence[Share], threshold: int) -> Iterator[Sequence[Share]]:
    """Yield what remains when some are left out, as few as possible first, cut down to the threshold."""
    for left in range(len(shares), threshold - 1, -1):
        for subset in combinations(shares, left):
            yield subset[:threshold]


def _secret_of(shares: Sequence[Share]) -> bytes:
    return interpolate([(share.index, share.values) for share in shares])


def _fits(secret: bytes, share: Share) -> bool:
    return hmac.compare_digest(_commitment(secret, share.set_id, share.label), share.commitment)


def _lies_on(share: Share, others: Sequence[Share]) -> bool:
    expected = interpolate([(other.index, other.values) for other in others], at=share.index)
    return hmac.compare_digest(expected, share.values)


def _commitment(secret: bytes, set_id: bytes, label: str) -> bytes:
    return blake3.blake3(secret, key=blake3.blake3(set_id + label.encode()).digest()).digest()


def _is_plain(label: str) -> bool:
    return label.isascii() and label.isprintable()


def _encode(share: Share) -> bytes:
    label = share.label.encode("ascii")
    head = bytes((VERSION,)) + share.set_id + bytes((share.threshold, share.count, share.index, len(label))) + label
    body = head + bytes((len(share.values),)) + share.values + share.commitment
    return body + blake3.blake3(body).digest(CHECK_BYTES)


def _decode(data: bytes, source: str) -> Share:
    body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    label_end = 13 + (body[12] if len(body) > 12 else 0)
    secret_end = label_end + 1 + (body[label_end] if len(body) > label_end else 0)
    whole = len(body) == secret_end + COMMITMENT_BYTES and blake3.blake3(body).digest(CHECK_BYTES) == check
    if whole and body[0] != VERSION:
        raise ShareError(
            "{share} is a share of version {version}; this program knows version {known}",
            "use a newer jbackupd to read it", share=source, version=body[0], known=VERSION,
        )
    label = body[13:label_end].decode("latin-1")
    if not whole or not 1 <= body[9] <= body[10] or not 1 <= body[11] <= body[10] or not _is_plain(label):
        raise ShareError(
            "{share} is not a whole share: a line is missing or it was altered",
            "compare it with the printed sheet, line by line", share=source,
        )
    return Share(
        body[1:9], body[9], body[10], body[11], label, body[label_end + 1 : secret_end], body[secret_end:], source
    )
