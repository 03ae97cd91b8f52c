"""Encoding closed drafts: choose bases, compress, seal, in order, on worker threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jbackupd.codec.compress import compress
from jbackupd.engine.bases import Like, choose_bases
from jbackupd.engine.closure import Budget, Closures
from jbackupd.engine.draft import Draft
from jbackupd.model.errors import DamageError, KeyMissingError
from jbackupd.model.records import Encoding, Extent, Preset
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.writer import EncodedFrame, PackWriter

WORKERS = 2
AHEAD = 2
"""Closed drafts that may wait: at most 4 MiB each, with their bases."""
POOR_PART = 0.5
BASES_WORTH = 0.95
"""Bases that save less than a twentieth are not worth it: as long as the frame is there they cannot go. Looked at only
where a delta is long, so what resembles its base costs nothing more."""


@dataclass(slots=True)
class EncoderCounts:
    """What an encoder has made so far."""

    frames: int = 0
    delta_frames: int = 0
    plain_bytes: int = 0


class Encoder:
    """Turns closed drafts into sealed frames of a vault, in the order they were closed.

    Args:
        reader: Reads the bases.
        writer: Receives the frames.
        closures: Knows what each base needs.
        budget: What a frame may need.
        like: Returns contents that resemble a frame.
        preset: How much effort compressing is worth.
    """

    def __init__(
        self, reader: FrameReader, writer: PackWriter, closures: Closures, budget: Budget, *,
        like: Like, preset: Preset,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._closures = closures
        self._budget = budget
        self._like = like
        self._preset = preset
        self._workers = ThreadPoolExecutor(WORKERS, "encoder")
        self._waiting: deque[Future[EncodedFrame]] = deque()
        self.counts = EncoderCounts()

    def submit(self, draft: Draft) -> None:
        """Encode a closed draft; waits while too many are under way."""
        self._waiting.append(self._workers.submit(self._encode, draft))
        while len(self._waiting) > AHEAD:
            self._settle_oldest()

    def settle(self) -> None:
        """Wait until every submitted draft is encoded."""
        while self._waiting:
            self._settle_oldest()

    def flush(self) -> None:
        """Wait until every submitted draft is durable in a pack."""
        self.settle()
        self._writer.flush()

    def close(self) -> None:
        """Stop the workers; what was not flushed is thrown away."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _settle_oldest(self) -> None:
        frame = self._waiting.popleft().result()
        self.counts.frames += 1
        self.counts.delta_frames += frame.encoding is Encoding.ZSTD_PREFIX
        self.counts.plain_bytes += frame.plain_length
        self._writer.add(frame)

    def _encode(self, draft: Draft) -> EncodedFrame:
        assert draft.frame is not None
        data = bytes(draft.content)
        draft.content = bytearray()
        bases = choose_bases(draft, like=self._like, closure_of=self._closures.of, budget=self._budget)
        prefix = self._prefix(bases)
        encoding, payload = compress(data, prefix, preset=self._preset)
        if encoding is Encoding.ZSTD_PREFIX and len(payload) > POOR_PART * len(data):
            alone = compress(data, preset=self._preset)
            if len(alone[1]) * BASES_WORTH <= len(payload):
                encoding, payload = alone
        if encoding is not Encoding.ZSTD_PREFIX:
            bases = ()
        chunks = tuple(draft.chunks)
        draft.let_go()
        return EncodedFrame(draft.frame, payload, len(data), encoding, bases, chunks)

    def _prefix(self, bases: tuple[Extent, ...]) -> bytes:
        """Return the bytes of the bases; none if one cannot be read: a frame without a base is always right."""
        try:
            return b"".join(self._reader.view(extent) for extent in bases)
        except (DamageError, KeyMissingError):
            return b""
