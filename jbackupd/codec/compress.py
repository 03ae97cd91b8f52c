"""Compressing a frame, plain or against a prefix, and the way back.

A prefix is raw content that the decoder also has: zstd then finds what the frame shares with it.
Every payload is decoded and compared before it is handed out, because encoders have had bugs.
"""

from __future__ import annotations

import threading

import zstandard

from jbackupd.model.errors import DamageError, InvariantError
from jbackupd.model.records import Encoding, Preset

PLAIN_LEVELS = {Preset.FAST: 3, Preset.BALANCED: 10, Preset.THIN_LINE: 16}
"""zstd levels of frames without a base, with the tables below. On a register dump, of its size and at so many MB/s of
one core: fast 0.343 at 234, balanced 0.313 at 65, thin-line 0.291 at 4."""
PLAIN_TABLES: dict[Preset, dict[str, int]] = {
    Preset.FAST: {"min_match": 6},
    Preset.BALANCED: {"min_match": 6, "search_log": 4, "hash_log": 18},
    Preset.THIN_LINE: {},
}
"""Rows and records repeat in long pieces. Level 10's own tables (matches from 5 bytes, 32 places looked at, 4 MiB) give
0.319 at 37 MB/s on the dump and are 1.5 % smaller on a cluster's pages; level 3's own 0.351."""
DELTA_LEVELS = {Preset.FAST: 9, Preset.BALANCED: 9, Preset.THIN_LINE: 16}
"""Of frames with a base. On the register dump and on exports level 9 gives 0.83 and 0.34 MB a day at 165 MB/s, level
16 0.80 and 0.31 at 4 MB/s; level 6 a tenth more than 9 (its tables are too small), 12 no less at a quarter of the
rate."""
SEARCH_LOG = 6
"""Level 9's own is 5: 4 % more bytes at the same rate."""
OPTIMAL_LEVEL = 16
OPTIMAL_TABLES = {"chain_log": 22, "hash_log": 21}
"""Level 16's own for a prefix of megabytes are of 64 MiB, for not a byte less."""
WINDOW_LOG = 21
"""As long as most frames are."""
LOOK_LEVEL = 1
LOOK_BYTES = 64 * 1024
"""Of the frame's begin, middle and end: one that gets smaller is reason enough to compress."""
WORTH_LOOKING = 0.95
"""What a quick look makes no smaller than this, compressed already or encrypted, is not worth more effort."""
WORTH_IT = 0.98
"""Compressed to more than this part, a frame is stored as it is: it decodes faster."""

_local = threading.local()


def compress(data: bytes, prefix: bytes = b"", *, preset: Preset = Preset.BALANCED) -> tuple[Encoding, bytes]:
    """Return an encoding and a payload that was decoded and found equal.

    Args:
        data: The frame's plaintext, not empty.
        prefix: Content that resembles it; empty for none.
        preset: How much effort it is worth.

    Raises:
        InvariantError: The encoder's output does not decode to its input.
    """
    if prefix:
        encoding, payload = Encoding.ZSTD_PREFIX, _compress_prefix(data, prefix, DELTA_LEVELS[preset])
    else:
        encoding, payload = Encoding.ZSTD, _compress_plain(data, preset)
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


def _compress_plain(data: bytes, preset: Preset) -> bytes:
    if not _looks_worth_it(data):
        looked = _compressor(LOOK_LEVEL).compress(data)
        if len(looked) > WORTH_LOOKING * len(data):
            return looked
    return _compressor(PLAIN_LEVELS[preset], **PLAIN_TABLES[preset]).compress(data)


def _looks_worth_it(data: bytes) -> bool:
    """Tell whether a sample of a frame gets smaller; what does not may still repeat from far."""
    quick, view = _compressor(LOOK_LEVEL), memoryview(data)
    for begin in sorted({0, max(0, (len(data) - LOOK_BYTES) // 2), max(0, len(data) - LOOK_BYTES)}):
        sample = view[begin : begin + LOOK_BYTES]
        if len(quick.compress(sample)) <= WORTH_LOOKING * len(sample):
            return True
    return False


def _compress_prefix(data: bytes, prefix: bytes, level: int) -> bytes:
    window_log = max(20, (len(prefix) + len(data)).bit_length())
    tables = {"search_log": SEARCH_LOG} if level < OPTIMAL_LEVEL else OPTIMAL_TABLES
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window_log, source_size=len(data), dict_size=len(prefix), **tables
    )
    raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(data)


def _compressor(level: int, **tables: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor; making one costs as much as a small frame."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in made:
        parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=WINDOW_LOG, **tables)
        made[level] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    made: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if made is None:
        made = _local.decompressor = zstandard.ZstdDecompressor()
    return made
