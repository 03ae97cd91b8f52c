"""Compressing a frame, plain or against a prefix, and the way back.

A prefix is raw content that the decoder also has: zstd then finds what the frame shares with it.
Every payload is decoded and compared before it is handed out, because encoders have had bugs.
"""

from __future__ import annotations

import threading

import zstandard

from jbackupd.model.errors import DamageError, InvariantError
from jbackupd.model.records import Encoding

PLAIN_LEVEL = 3
"""On a register dump 190 MB/s of one core; level 5 halves that for not a byte less, level 6 saves 3 % at 75 MB/s."""
DELTA_LEVEL = 9
"""On the register dump 0.50 MB a day; level 6 needs 1.35 (its tables are too small), 12 saves 5 % at half the rate."""
WORTH_IT = 0.98
"""Compressed to more than this part, a frame is stored as it is: it decodes faster."""

_local = threading.local()


def compress(data: bytes, prefix: bytes = b"", *, plain_level: int = PLAIN_LEVEL) -> tuple[Encoding, bytes]:
    """Return an encoding and a payload that was decoded and found equal.

    Args:
        data: The frame's plaintext, not empty.
        prefix: Content that resembles it; empty for none.
        plain_level: zstd level where there is no prefix.

    Raises:
        InvariantError: The encoder's output does not decode to its input.
    """
    if prefix:
        encoding, payload = Encoding.ZSTD_PREFIX, _compress_prefix(data, prefix)
    else:
        encoding, payload = Encoding.ZSTD, _compressor(plain_level).compress(data)
        if len(payload) > WORTH_IT * len(data):
            return Encoding.STORED, data
    if decompress(encoding, payload, len(data), prefix) != data:
        raise InvariantError("zstd produced a frame that does not decode to its input")
    return encoding, payload


def decompress(encoding: Encoding, payload: bytes, plain_length: int, prefix: bytes | memoryview = b"") -> bytes:
    """Return a frame's plaintext.

    The size that the payload declares is checked before anything is allocated: a payload of 16
    bytes can declare 8 GiB.

    Raises:
        DamageError: The payload is not what the encoding says.
    """
    if encoding is Encoding.STORED:
        if len(payload) != plain_length:
            raise DamageError("a stored frame has the wrong length")
        return payload
    try:
        declared = zstandard.get_frame_parameters(payload).content_size
        if declared != plain_length:
            raise DamageError("a frame declares another size than its record")
        if encoding is Encoding.ZSTD:
            return _decompressor().decompress(payload, max_output_size=plain_length)
        raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdDecompressor(dict_data=raw).decompress(payload, max_output_size=plain_length)
    except zstandard.ZstdError as error:
        raise DamageError("a frame does not decompress") from error


def _compress_prefix(data: bytes, prefix: bytes) -> bytes:
    window_log = max(20, (len(prefix) + len(data)).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        DELTA_LEVEL, window_log=window_log, source_size=len(data), dict_size=len(prefix)
    )
    raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(data)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor; making one costs as much as a small frame."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in made:
        made[level] = zstandard.ZstdCompressor(level=level)
    return made[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    made: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if made is None:
        made = _local.decompressor = zstandard.ZstdDecompressor()
    return made
