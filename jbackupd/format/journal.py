"""A journal: records that are appended one by one and never changed.

    offset  size  field of a record
    0       4     magic "JBJ1"
    4       4     number of the record, counted from 0, little endian u32
    8       4     n, length of the body, little endian u32, at most 1 MiB
    12      4     CRC-32 (zlib) of bytes 0 to 12
    16      n     body, opaque here
    16+n    16    check: BLAKE3, derive-key context "jbackupd 1 journal record", of the record before's
                  check (16 zero bytes for record 0), then bytes 0 to 16+n; the first 16 bytes

A journal is nothing but its records; an empty file is an empty journal. Header and body are
checked apart: a length that is checked only together with its body turns a flipped bit of the
length into what looks like an interrupted last write, and cutting that drops committed records.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from jbackupd.model.errors import FormatError, UsageError

MAGIC = b"JBJ1"
HEADER_BYTES = 16
CHECK_BYTES = 16
RECORD_BYTES_MAX = 1024 * 1024
"""Largest body: a step's output or a declaration with its approvals is a few kilobytes."""
NO_CHECK = bytes(CHECK_BYTES)
"""What the first record is chained to."""

_FIELDS = struct.Struct("<4sII")


@dataclass(frozen=True, slots=True)
class Scan:
    """What the bytes of a journal hold."""

    records: tuple[bytes, ...]
    check: bytes
    """Check of the last record: what the next one is chained to."""
    length: int
    """Bytes that the whole records take; whatever follows is a torn tail."""
    torn: int
    """Bytes of the torn tail."""


def encode_record(number: int, body: bytes, before: bytes) -> bytes:
    """Return a record; `before` is the check of the record before it.

    Raises:
        UsageError: The body is longer than a record may be.
    """
    if len(body) > RECORD_BYTES_MAX:
        raise UsageError(
            "a journal record of {length} bytes is longer than {most}", length=len(body), most=RECORD_BYTES_MAX
        )
    fields = _FIELDS.pack(MAGIC, number, len(body))
    record = fields + struct.pack("<I", zlib.crc32(fields)) + body
    return record + _check(before, record)


def scan(data: bytes) -> Scan:
    """Read all records of a journal.

    A torn tail is what an append that never returned leaves behind: the last record, cut short.
    A tail of zeros is damage too: file systems that lengthen a file before they fill it are
    not supported, and a zeroed sector over committed records looks the same.

    Raises:
        FormatError: Bytes in front of the tail, or the bytes of a whole record, have changed.
    """
    records: list[bytes] = []
    offset, check = 0, NO_CHECK
    for body, check, offset in _whole_records(data):  # noqa: B007 - the last ones are the answer
        records.append(body)
    return Scan(tuple(records), check, offset, len(data) - offset)


def _whole_records(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield body, check and end offset of each record up to the torn tail."""
    offset, number, check = 0, 0, NO_CHECK
    while len(data) - offset >= HEADER_BYTES:
        end = offset + HEADER_BYTES + _body_length(data[offset : offset + HEADER_BYTES], number) + CHECK_BYTES
        if end > len(data):
            return
        check = _check(check, data[offset : end - CHECK_BYTES])
        if data[end - CHECK_BYTES : end] != check:
            raise FormatError("record {number} of the journal is damaged", _KEEP, number=number)
        yield data[offset + HEADER_BYTES : end - CHECK_BYTES], check, end
        offset, number = end, number + 1


def _body_length(header: bytes, number: int) -> int:
    magic, found, length = _FIELDS.unpack(header[:12])
    intact = zlib.crc32(header[:12]) == int.from_bytes(header[12:], "little")
    if not intact or magic != MAGIC or found != number or length > RECORD_BYTES_MAX:
        raise FormatError("the header of record {number} of the journal is damaged", _KEEP, number=number)
    return int(length)


def _check(before: bytes, record: bytes) -> bytes:
    return blake3(before + record, derive_key_context="jbackupd 1 journal record").digest(CHECK_BYTES)


_KEEP = "keep the file as it is and look into it; nothing of it was changed"
