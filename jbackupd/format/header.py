"""The first eight bytes of every object of a vault.

    offset size field
    0      4    magic "JBKP"
    4      1    format version, 1
    5      1    object kind (model.ids.ObjectKind)
    6      2    reserved, 0
"""

from __future__ import annotations

from jbackupd.model.errors import FormatError, VersionError
from jbackupd.model.ids import ObjectKind

MAGIC = b"JBKP"
FORMAT_VERSION = 1
HEADER_BYTES = 8


def encode_header(kind: ObjectKind) -> bytes:
    """Return the header of an object of this kind."""
    return MAGIC + bytes((FORMAT_VERSION, kind, 0, 0))


def check_header(data: bytes | memoryview, kind: ObjectKind) -> None:
    """Check that bytes begin as an object of this kind must.

    Raises:
        VersionError: The format version is not 1.
        FormatError: Anything else is wrong.
    """
    head = bytes(data[:HEADER_BYTES])
    if len(head) < HEADER_BYTES or head[:4] != MAGIC:
        raise FormatError("the {kind} object does not begin like an object of a vault", kind=kind.name.lower())
    if head[4] != FORMAT_VERSION:
        raise VersionError(
            "the {kind} object has format version {version}; this program knows version {known}",
            "use a newer jbackupd to read it",
            kind=kind.name.lower(), version=head[4], known=FORMAT_VERSION,
        )
    if head[5] != kind or head[6:] != b"\0\0":
        raise FormatError("the object is not a {kind}, or its header is damaged", kind=kind.name.lower())
