"""A seeded mutator of bytes: what it makes depends on nothing but its seed, the examples and the words."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

LENGTH_MAX = 64 * 1024
"""An input never grows beyond this, so that memory is bounded by the decoder and not by the fuzzer."""
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


class Mutator:
    """Makes bytes out of examples.

    Args:
        examples: Valid bytes; at least one.
        words: What is put in as it is.
    """

    def __init__(self, chance: random.Random, examples: Sequence[bytes], words: Sequence[bytes]) -> None:
        self._chance = chance
        self._examples = examples
        self._words = words
        self._ways: tuple[Callable[[bytearray], bytes | bytearray], ...] = (
            self._flip, self._set, self._cut, self._remove, self._insert, self._word, self._number, self._repeat,
            self._swap, self._splice,
        )

    def next(self, example: bytes | None = None) -> bytes:
        """Return other bytes than an example: one change, or a few; one time in sixty bytes out of nowhere."""
        if self._chance.random() < 1 / 60:
            return self._chance.randbytes(self._chance.randrange(200))
        data: bytes | bytearray = self._chance.choice(self._examples) if example is None else example
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))):
            data = self._chance.choice(self._ways)(bytearray(data))[:LENGTH_MAX]
        return bytes(data)

    def _place(self, data: bytes | bytearray) -> int:
        # Heads and tails hold lengths and kinds; half of all changes go there.
        size = len(data) + 1
        near = min(size, 48)
        where = self._chance.random()
        if where < 0.35:
            return self._chance.randrange(near)
        return size - 1 - self._chance.randrange(near) if where < 0.5 else self._chance.randrange(size)

    def _flip(self, data: bytearray) -> bytearray:
        if data:
            data[self._place(data) % len(data)] ^= 1 << self._chance.randrange(8)
        return data

    def _set(self, data: bytearray) -> bytearray:
        if data:
            data[self._place(data) % len(data)] = self._chance.randrange(256)
        return data

    def _cut(self, data: bytearray) -> bytearray:
        return data[: self._place(data)]

    def _remove(self, data: bytearray) -> bytearray:
        at = self._place(data)
        del data[at : at + self._chance.choice((1, 1, 2, 4, 16, 64))]
        return data

    def _insert(self, data: bytearray) -> bytearray:
        at = self._place(data)
        data[at:at] = self._chance.randbytes(self._chance.choice((1, 1, 2, 4, 16)))
        return data

    def _word(self, data: bytearray) -> bytearray:
        at, word = self._place(data), self._chance.choice(self._words)
        data[at : at + self._chance.choice((0, 0, 1, len(word)))] = word
        return data

    def _number(self, data: bytearray) -> bytearray:
        form = self._chance.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
        size = struct.calcsize(form)
        at = self._place(data)
        data[at : at + size] = struct.pack(form, self._chance.choice(INTERESTING) % (1 << 8 * size))
        return data

    def _repeat(self, data: bytearray) -> bytearray:
        at, length = self._place(data), self._chance.choice((1, 4, 16, 64))
        data[at:at] = data[at : at + length] * self._chance.choice((1, 2, 50))
        return data

    def _swap(self, data: bytearray) -> bytes:
        one, two = sorted((self._place(data), self._place(data)))
        return bytes(data[two:] + data[one:two] + data[:one])

    def _splice(self, data: bytearray) -> bytes:
        other = self._chance.choice(self._examples)
        return bytes(data[: self._place(data)]) + other[self._place(other) :]
