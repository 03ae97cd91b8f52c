"""Bytes that compress as logs, program text and the reports of an office do."""

from __future__ import annotations

from random import Random

from jbackupd.demo.names import SENTENCES

_WORDS: list[bytes] = []


def prose(random: Random, size: int) -> bytes:
    """Return so many bytes that compress about threefold."""
    if not _WORDS:
        maker = Random(0)
        _WORDS.extend(bytes(maker.choices(b"etaoinshrdlucmfw", k=maker.randint(2, 11))) for _ in range(6000))
    # Squaring draws the first words of the list far more often, as in any language.
    drawn = [_WORDS[int(random.random() ** 2 * len(_WORDS))] for _ in range(size // 7)]
    return b" ".join(drawn)[:size].ljust(size, b"\n")


def report(random: Random, size: int) -> str:
    """Return about so many characters of an office's Japanese; no two lines are the same."""
    lines = [f"{random.choice(SENTENCES)}(第{random.randrange(10**6)}号 {random.randrange(10**4)})"
             for _ in range(size // 45 + 1)]
    return "\r\n".join(lines)
