"""What a kind of bytes is to the fuzzer.

A kind reads bytes and returns, or raises an error that it may raise. Bytes that a length, a checksum, a digest or a
seal guards have a second door: `inner` takes the guarded part out and `wrap` puts a changed one back so that the
guards fit, because a mutator that never gets past a check tests only the check. What stands behind a seal or a
signature is fuzzed as its plaintext: whoever holds the key may write nonsense too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.model.errors import DamageError
from jbackupd.model.ids import SiteId, TenantId

TENANT = TenantId("imari")
SITE = SiteId("saga")
LOCAL_KEY = b"l" * 32
DAMAGE = (DamageError,)
WORDS = (
    b"imari", b"juki", b"imari/juki", b"../../etc", b"\0", b"\xff", b"n" * 32, b"i" * 16, b"\xc4\x20" + b"n" * 32,
    b"\x90", b"\x91" * 3000, b"\x80", b"\xc0",
    b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xa1\xff", b"\xa3\xed\xa0\x80",
)
"""Names, and msgpack: nesting, lengths beyond the end, the largest and the smallest number, text that is none."""


@dataclass(frozen=True)
class Kind:
    """One decoder.

    Attributes:
        read: Decodes.
        refuses: Errors that it may answer with; anything else is a finding.
        again: Encodes what was read and decodes that; must give the same value. None where there is no encoder.
        inner: Takes out what a check guards; None where nothing does.
        wrap: Makes whole bytes of a guarded part.
        slack_bytes: What it may hold at once, apart from MEMORY_PER_BYTE times its input.
        words: What mutations put in, beside WORDS.
    """

    name: str
    read: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    again: Callable[[Any], Any] | None = None
    inner: Callable[[bytes], bytes] | None = None
    wrap: Callable[[bytes], bytes] | None = None
    slack_bytes: int = 256 * 1024
    words: tuple[bytes, ...] = ()


class Plain:
    """A seal that is open: the plaintext is what is fuzzed."""

    commitment = b"c" * 32

    def open(self, slot: int, sealed: bytes) -> bytes:
        """Return the bytes as they are."""
        return bytes(sealed)

    def seal(self, slot: int, plaintext: bytes) -> bytes:
        """Return the bytes as they are."""
        return bytes(plaintext)


class NoSigner:
    """Signs with zeros: a signature is checked apart from decoding, and making one takes a thousand decodings."""

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Return a signature that fits nothing."""
        return bytes(SIGNATURE_BYTES)
