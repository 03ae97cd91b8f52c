"""Splitting a recovery seed into k-of-n shares, and getting it back or saying which share is bad.

Each byte of the secret is the constant term of a polynomial of degree k - 1 over GF(256) with
uniformly random other coefficients; share i holds its value at x = i. Multiplication is by
shifts, without a table that the secret would index. What makes it safe to use is the envelope: a
set id, the threshold, the index, a commitment to the secret, a check of every line and of the whole.

Text form, to be printed, typed and read over the telephone:

    jbackupd share 1
    for imari: share 2 of 3, 2 needed
    01 MHQ7-B3XK-... 4CAA        line number, up to eight groups of four, a check of the line
    ...

The letters are Crockford's base32 (no I, L, O, U; these are read as 1, 1, 0, V). The bytes are

    offset  size  field
    0       1     version, 1
    1       8     set id
    9       1     threshold k, 1 to 255
    10      1     count n, k to 255
    11      1     index, 1 to n
    12      1     length of the label in bytes
    13      l     label: whose secret it is
    13+l    1     length of the secret
    14+l    s     the polynomials' values at the index
    ...     32    commitment: keyed BLAKE3 of the secret, key = BLAKE3 of set id and label
    ...     8     check: first bytes of the BLAKE3 of everything before

Source: Shamir, "How to Share a Secret", CACM 1979; SLIP-0039 for what goes wrong on paper.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import blake3

from jbackupd.model.errors import ShareError, UsageError

VERSION = 1
TITLE = "jbackupd share 1"
SET_BYTES = 8
COMMITMENT_BYTES = 32
CHECK_BYTES = 8
LINE_BYTES = 20
LINE_CHECK_BYTES = 2
"""With the line's number in it: two exchanged lines are found too."""
SUBSETS_MAX = 5000
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})


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
        data = _encode(self)
        lines = [TITLE, f"for {self.label}: share {self.index} of {self.count}, {self.threshold} needed"]
        for number, begin in enumerate(range(0, len(data), LINE_BYTES), 1):
            part = data[begin : begin + LINE_BYTES]
            letters = _letters(part)
            groups = "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))
            lines.append(f"{number:02d} {groups} {_letters(_line_check(number, part))}")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str, *, source: str) -> Share:
        """Read a share's text.

        Args:
            text: As printed; case, hyphens, spaces and what is around it do not matter.
            source: What messages call it.

        Raises:
            ShareError: A line is mistyped or missing; the message names the source and the line.
        """
        return _decode(_bytes_of(text, source), source)


def split(
    secret: bytes, *, threshold: int, count: int, label: str, random: Callable[[int], bytes] = secrets.token_bytes
) -> list[Share]:
    """Split a secret so that any `threshold` of `count` shares give it back, and fewer say nothing of it.

    Args:
        secret: 1 to 255 bytes.
        label: Whose secret it is, ASCII; printed on every share.
        random: Gives uniformly random bytes.

    Raises:
        UsageError: The numbers are impossible.
    """
    if not 1 <= threshold <= count <= 255:
        raise UsageError(
            "unable to split into {threshold}-of-{count} shares", "write for example 2-of-3",
            threshold=threshold, count=count,
        )
    set_id = random(SET_BYTES)
    commitment = _commitment(secret, set_id, label)
    coefficients = [secret, *(random(len(secret)) for _ in range(threshold - 1))]
    return [
        Share(set_id, threshold, count, index, label, _evaluate(coefficients, index), commitment)
        for index in range(1, count + 1)
    ]


def combine(shares: Sequence[Share]) -> bytes:
    """Return the secret of which these are shares.

    Raises:
        ShareError: There are too few, two are the same, one is of another set, or one is bad; the message
            names it.
    """
    _check_set(shares)
    first = shares[0]
    secret = _interpolate(shares[: first.threshold])
    if _fits(secret, first) and all(_lies_on(share, shares[: first.threshold]) for share in shares):
        return secret
    raise _name_the_bad(shares)


def _check_set(shares: Sequence[Share]) -> None:
    if not shares:
        raise ShareError("no share was given", "give each share's file with --share FILE")
    first = shares[0]
    seen: dict[int, Share] = {}
    for share in shares:
        if (share.set_id, share.label, share.threshold, share.count, share.commitment) != (
            first.set_id, first.label, first.threshold, first.count, first.commitment
        ):
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


def _name_the_bad(shares: Sequence[Share]) -> ShareError:
    """Find which shares do not belong, by trying subsets; a check line does not stop who forges."""
    first = shares[0]
    for tried, subset in enumerate(combinations(shares, first.threshold)):
        if tried >= SUBSETS_MAX:
            break
        if _fits(_interpolate(subset), first):
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


def _fits(secret: bytes, share: Share) -> bool:
    return hmac.compare_digest(_commitment(secret, share.set_id, share.label), share.commitment)


def _lies_on(share: Share, others: Sequence[Share]) -> bool:
    return hmac.compare_digest(_interpolate(others, at=share.index), share.values)


def _commitment(secret: bytes, set_id: bytes, label: str) -> bytes:
    return blake3.blake3(secret, key=blake3.blake3(set_id + label.encode()).digest()).digest()


def _multiply(a: int, b: int) -> int:
    """Multiply in GF(256) modulo x^8 + x^4 + x^3 + x + 1, in the same steps for all operands."""
    product = 0
    for _ in range(8):
        product ^= a & -(b & 1)
        a = (a << 1) ^ (0x11B & -(a >> 7))
        b >>= 1
    return product & 0xFF


def _inverse(a: int) -> int:
    """Return a^254, which is 1/a; a is an index or a difference of indices, never secret."""
    result, power = 1, a
    for bit in (0, 1, 1, 1, 1, 1, 1, 1):
        if bit:
            result = _multiply(result, power)
        power = _multiply(power, power)
    return result


def _evaluate(coefficients: Sequence[bytes], x: int) -> bytes:
    """Evaluate one polynomial per byte at x, by Horner's rule."""
    result = bytes(len(coefficients[0]))
    for row in reversed(coefficients):
        result = bytes(_multiply(value, x) ^ term for value, term in zip(result, row, strict=True))
    return result


def _interpolate(shares: Sequence[Share], *, at: int = 0) -> bytes:
    """Evaluate at a place the polynomials that the shares lie on."""
    result = bytes(len(shares[0].values))
    for share in shares:
        weight = 1
        for other in shares:
            if other.index != share.index:
                weight = _multiply(weight, _multiply(at ^ other.index, _inverse(share.index ^ other.index)))
        result = bytes(total ^ _multiply(value, weight) for total, value in zip(result, share.values, strict=True))
    return result


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
    if not whole or body[0] != VERSION or not 1 <= body[9] <= body[10] or not 1 <= body[11] <= body[10]:
        raise ShareError(
            "{share} is not a whole share: a line is missing or it was altered",
            "compare it with the printed sheet, line by line", share=source,
        )
    return Share(
        body[1:9], body[9], body[10], body[11], body[13:label_end].decode("ascii", "replace"),
        body[label_end + 1 : secret_end], body[secret_end:], source,
    )


def _bytes_of(text: str, source: str) -> bytes:
    """Return the bytes of a share's numbered lines, each checked."""
    parts: list[bytes] = []
    for line in text.splitlines():
        words = line.strip().upper().split()
        if len(words) < 3 or not words[0].isascii() or not words[0].isdigit():
            continue
        number = int(words[0])
        part = _bytes_of_letters("".join(words[1:-1]))
        check = _bytes_of_letters(words[-1])
        if part is None or check != _line_check(number, part):
            raise ShareError(
                "line {line} of {share} is mistyped", "compare the line with the printed sheet", line=number,
                share=source,
            )
        if number != len(parts) + 1:
            raise ShareError(
                "line {line} of {share} is missing or in the wrong place", "type every line in order",
                line=len(parts) + 1, share=source,
            )
        parts.append(part)
    if not parts:
        raise ShareError("{share} holds no share", "give a file as 'jbackupd vault init' wrote it", share=source)
    return b"".join(parts)


def _line_check(number: int, part: bytes) -> bytes:
    return blake3.blake3(bytes((number & 0xFF,)) + part).digest(LINE_CHECK_BYTES)


def _letters(data: bytes) -> str:
    """Return base32 letters, the last one filled with zero bits."""
    count = -(-len(data) * 8 // 5)
    value = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range((count - 1) * 5, -1, -5))


def _bytes_of_letters(text: str) -> bytes | None:
    """Return the bytes of base32 letters; None where it is not what `_letters` makes."""
    letters = text.replace("-", "").translate(_MISREAD)
    value = 0
    for letter in letters:
        digit = _ALPHABET.find(letter)
        if digit < 0:
            return None
        value = value << 5 | digit
    size = len(letters) * 5 // 8
    spare = len(letters) * 5 - size * 8
    if spare >= 5 or value & ((1 << spare) - 1):
        return None
    return (value >> spare).to_bytes(size, "big")
