"""Compressing a frame, plain or against a prefix, and the way back.

A prefix is raw content that the decoder also has: zstd then finds what the frame shares with it.
Every payload is decoded and compared before it is handed out, because encoders have had bugs.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import zstandard

from jbackupd.model.errors import DamageError, InvariantError
from jbackupd.model.records import Encoding, Preset


class Effort(NamedTuple):
    """A zstd level and what differs from its own tables."""

    level: int
    min_match: int | None = None
    search_log: int | None = None
    hash_log: int | None = None

    def parameters(self, window_log: int) -> zstandard.ZstdCompressionParameters:
        """Return zstd's parameters of it."""
        tables = {name: value for name, value in self._asdict().items() if name != "level" and value is not None}
        return zstandard.ZstdCompressionParameters.from_level(self.level, window_log=window_log, **tables)


PLAIN = {
    Preset.FAST: Effort(3, min_match=6),
    Preset.BALANCED: Effort(10, min_match=6, search_log=4, hash_log=20),
    Preset.THIN_LINE: Effort(16),
}
"""Of frames without a base. Rows and records repeat in long pieces. Sizes and MB/s of one core on a register dump: fast
0.329 at 230 (level 3's own tables 0.339), balanced 0.298 at 53 (level 10's own 0.303 at 41), thin-line 0.269 at 3. On
a cluster's pages balanced's large hash table counts: 2^18 is 1.4 % larger."""
DELTA_LEVELS = {Preset.FAST: 9, Preset.BALANCED: 9, Preset.THIN_LINE: 16}
"""Of frames with a base. On the register dump and on exports level 9 gives 0.83 and 0.34 MB a day at 165 MB/s, level
16 0.77 and 0.30 at 4 MB/s; level 6 a tenth more than 9 (its tables are too small), 12 no less at a quarter of the
rate."""
SEARCH_LOG = 6
"""Level 9's own is 5: 4 % more bytes at the same rate."""
OPTIMAL_LEVEL = 16
OPTIMAL_TABLES = {"chain_log": 22, "hash_log": 21, "min_match": 6}
"""Level 16's own for a prefix of megabytes are of 64 MiB, for not a byte less."""
WINDOW_LOG = 21
"""As long as most frames are."""
LOOK = Effort(1)
LOOK_BYTES = 64 * 1024
"""Of the frame's begin, middle and end."""
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
    if _look(data) > WORTH_LOOKING:
        whole = _compressor(LOOK).compress(data)  # a sample does not see what repeats from far
        if len(whole) > WORTH_LOOKING * len(data):
            return whole
    return _compressor(PLAIN[preset]).compress(data)


def _look(data: bytes) -> float:
    """Return what part of a frame's sample is left after a quick compression."""
    quick, view = _compressor(LOOK), memoryview(data)
    begins = {0, max(0, (len(data) - LOOK_BYTES) // 2), max(0, len(data) - LOOK_BYTES)}
    samples = [view[begin : begin + LOOK_BYTES] for begin in sorted(begins)]
    return sum(len(quick.compress(sample)) for sample in samples) / sum(map(len, samples))


def _compress_prefix(data: bytes, prefix: bytes, level: int) -> bytes:
    window_log = max(20, (len(prefix) + len(data)).bit_length())
    tables = {"search_log": SEARCH_LOG} if level < OPTIMAL_LEVEL else OPTIMAL_TABLES
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window_log, source_size=len(data), dict_size=len(prefix), **tables
    )
    raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(data)


def _compressor(effort: Effort) -> zstandard.ZstdCompressor:
    """Return this thread's compressor; making one costs as much as a small frame."""
    made: dict[Effort, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if effort not in made:
        made[effort] = zstandard.ZstdCompressor(compression_params=effort.parameters(WINDOW_LOG))
    return made[effort]


def _decompressor() -> zstandard.ZstdDecompressor:
    made: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if made is None:
        made = _local.decompressor = zstandard.ZstdDecompressor()
    return made
