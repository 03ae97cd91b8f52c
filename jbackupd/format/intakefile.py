"""An intake journal as a file that is carried: sealed under a passphrase, complete or refused.

    offset  size  field
    0       8     magic "JBINTK1" NUL
    8       4     n, length of the head, little endian u32, at most 4096
    12      4     CRC-32 (zlib) of bytes 0 to 12
    16      n     head: msgpack array [tenant, desk, label, salt 16, scrypt n, r, p, sealed]
    16+n    ...   the journal's bytes as they are at the desk (format.journal), each body sealed under its own key

    sealed  nonce 12, then AES-256-GCM under scrypt(passphrase, salt), associated data "jbackupd 1 intake file" ‖
            msgpack of the head's other seven, of a msgpack array
            [journal id 16, journal key 32, records, BLAKE3-256 of the journal's bytes, exported at]

Who is told the passphrase has everything; the file alone tells the tenant, the desk and how long the records are.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import unicodedata
import zlib
from dataclasses import dataclass, field
from datetime import datetime

import blake3
import msgspec

from jbackupd.codec.seal import SESSION_KEY_BYTES, open_blob, seal_blob
from jbackupd.format.journal import scan
from jbackupd.model.errors import FormatError, KeyringError

MAGIC = b"JBINTK1\0"
HEAD_BYTES_MAX = 4096
SALT_BYTES = 16
_FIELDS = struct.Struct("<8sI")
_START_BYTES = _FIELDS.size + 4
_N, _R, _P = 1 << 15, 8, 1
"""32 MiB and a tenth of a second for each guess; passphrases of ours have 114 bits anyway."""
_MEMORY_BYTES = 64 * 1024 * 1024


class _Head(msgspec.Struct, array_like=True, frozen=True):
    tenant: str
    desk: str
    label: str
    salt: bytes
    n: int
    r: int
    p: int
    sealed: bytes = b""

    @property
    def context(self) -> bytes:
        clear = (self.tenant, self.desk, self.label, self.salt, self.n, self.r, self.p)
        return b"jbackupd 1 intake file" + msgspec.msgpack.encode(clear)


class _Inside(msgspec.Struct, array_like=True, frozen=True):
    journal: bytes
    key: bytes
    records: int
    digest: bytes
    exported_at: datetime


@dataclass(frozen=True, slots=True)
class IntakeFile:
    """A carried journal.

    Attributes:
        journal_id: 16 bytes.
        key: Of its records, 32 bytes.
        journal: Its bytes; whole records only.
        exported_at: Aware.
    """

    tenant: str
    desk: str
    label: str
    journal_id: bytes
    key: bytes = field(repr=False)
    journal: bytes = field(repr=False)
    exported_at: datetime

    @property
    def records(self) -> int:
        """How many records it holds, the beginning among them."""
        return len(scan(self.journal).records)


def seal_intake(file: IntakeFile, passphrase: str) -> bytes:
    """Return the bytes of a carried journal."""
    head = _Head(file.tenant, file.desk, file.label, secrets.token_bytes(SALT_BYTES), _N, _R, _P)
    inside = _Inside(
        file.journal_id, file.key, file.records, blake3.blake3(file.journal).digest(), file.exported_at
    )
    sealed = seal_blob(_stretched(passphrase, head), msgspec.msgpack.encode(inside), context=head.context)
    whole = msgspec.msgpack.encode(msgspec.structs.replace(head, sealed=sealed))
    start = _FIELDS.pack(MAGIC, len(whole))
    return start + struct.pack("<I", zlib.crc32(start)) + whole + file.journal


def tenant_of(data: bytes) -> str:
    """Return whose journal a file says it is; proved only by `open_intake`.

    Raises:
        FormatError: It is no such file.
    """
    return _head(data)[0].tenant


def open_intake(data: bytes, passphrase: str) -> IntakeFile:
    """Read a carried journal.

    Raises:
        FormatError: It is no such file, or not the whole of it.
        KeyringError: The passphrase is another one, or the head was changed.
    """
    head, journal = _head(data)
    try:
        plain = open_blob(_stretched(passphrase, head), head.sealed, context=head.context)
    except KeyringError as error:
        raise KeyringError(
            "the journal does not open: the passphrase is another one, or the file was changed",
            "type the passphrase again, letter by letter, as it was printed when the journal was written",
        ) from error
    try:
        inside = msgspec.msgpack.decode(plain, type=_Inside)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed() from error
    if blake3.blake3(journal).digest() != inside.digest:
        raise FormatError(
            "the journal of desk {label} is not whole: its bytes are not those that were written",
            "copy the file again, or write it again at the desk", label=head.label,
        )
    found = IntakeFile(
        head.tenant, head.desk, head.label, inside.journal, inside.key, journal, inside.exported_at
    )
    if len(inside.key) != SESSION_KEY_BYTES or found.records != inside.records or not inside.exported_at.tzinfo:
        raise _malformed()
    return found


def _head(data: bytes) -> tuple[_Head, bytes]:
    if len(data) < _START_BYTES:
        raise _malformed()
    magic, length = _FIELDS.unpack(data[: _FIELDS.size])
    check = int.from_bytes(data[_FIELDS.size : _START_BYTES], "little")
    if magic != MAGIC or zlib.crc32(data[: _FIELDS.size]) != check or length > HEAD_BYTES_MAX:
        raise _malformed()
    try:
        head = msgspec.msgpack.decode(data[_START_BYTES : _START_BYTES + length], type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed() from error
    power_of_two = head.n >= 2 and head.n & (head.n - 1) == 0
    if not power_of_two or not 1 <= head.r <= 64 or not 1 <= head.p <= 4 or 130 * head.n * head.r > _MEMORY_BYTES:
        raise _malformed()
    return head, data[_START_BYTES + length :]


def _stretched(passphrase: str, head: _Head) -> bytes:
    # Typed with blanks, in capitals or full width, it is the same passphrase.
    plain = "".join(unicodedata.normalize("NFKC", passphrase).split()).replace("-", "").casefold()
    return hashlib.scrypt(
        plain.encode("utf-8", "backslashreplace"), salt=head.salt, n=head.n, r=head.r, p=head.p,
        maxmem=_MEMORY_BYTES + (1 << 20), dklen=SESSION_KEY_BYTES,
    )


def _malformed() -> FormatError:
    return FormatError("this is not a journal of a desk", "name the file that 'jbackupd desk journal export' wrote")
